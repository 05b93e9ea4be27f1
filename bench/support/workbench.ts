/** CLIP ViT-B/32 (random weights) as analyses are asked about it, and how many graphs were compiled for them. */

import { ProgramShelf } from '../../src/engine/analyses/program-shelf.js'
import { openWorkbench, type Workbench } from '../../src/engine/analyses/workbench.js'
import type { Backend, ResidentWeights } from '../../src/engine/backends/backend.js'
import type { Graph } from '../../src/engine/graph/graph.js'
import { hookPointsOf, outputAxes, shapeOfAxes } from '../../src/engine/hook-points.js'
import { builtTowers } from '../../src/engine/interventions/built-towers.js'
import type { ModelDescription } from '../../src/engine/models/model.js'
import { visionGraph } from '../../src/engine/models/vit.js'
import { benchBackend } from './backend.js'
import { randomWeights, shapesOf, vitB32 } from './vit-b-32.js'

const graph = visionGraph(vitB32)
const axes = outputAxes(vitB32)
const vision = { config: vitB32, hookPoints: hookPointsOf(vitB32), output: { axes, shape: shapeOfAxes(axes, vitB32) }, nParameters: 0 }

export interface BenchedModel {
  /** One that counts what it compiles. */
  readonly backend: Backend
  readonly nCompiled: () => number
  /** What its plain forward pass takes: this graph and these weights. */
  readonly graph: Graph
  readonly weights: ResidentWeights
  /** A workbench with these SAEs; all of them share their programs. */
  open(saes?: Workbench['saes']): Workbench
}

export async function benchedModel(): Promise<BenchedModel> {
  const plain = await benchBackend()
  let nCompiled = 0
  const backend: Backend = {
    ...plain,
    compile: (...given) => {
      nCompiled++
      return plain.compile(...given)
    },
  }
  const weights = await backend.upload(randomWeights(shapesOf(graph)))
  const model: Workbench['model'] = {
    key: 'vit-b-32',
    description: { vision, logitScale: 100 } as unknown as ModelDescription,
    config: vitB32,
    build: builtTowers(vision, (wanted) => visionGraph(vitB32, wanted)),
    weights,
  }
  const programs = new ProgramShelf(backend)
  return { backend, nCompiled: () => nCompiled, graph, weights, open: (saes = []) => openWorkbench({ backend, model, saes, programs }) }
}
