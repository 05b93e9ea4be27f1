/** Workbenches with the golden models of test/fixtures/models. */

import { ProgramShelf } from '../../../src/engine/analyses/program-shelf.js'
import { type AttachedWeights, openWorkbench, type Workbench } from '../../../src/engine/analyses/workbench.js'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { builtTowers } from '../../../src/engine/interventions/built-towers.js'
import { type LoadedModel, loadModel } from '../../../src/engine/models/load.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import { expectedOf, folderOf } from '../models/fixtures.js'

export interface GoldenBench extends Workbench {
  readonly loaded: LoadedModel
  /** What the fixture's library was given. */
  readonly pixels: Tensor<'float32'>
  readonly backend: Backend
  /** How many graphs were compiled for it. */
  compiled(): number
}

export interface BenchSae {
  readonly config: SaeConfig
  readonly weights: Readonly<Record<string, Tensor<'float32'>>>
}

export async function goldenBench(backend: Backend, name: string, saes: readonly BenchSae[] = []): Promise<GoldenBench> {
  const loaded = await loadModel(folderOf(name))
  const { vision } = loaded.description
  let nCompiled = 0
  const counting: Backend = Object.assign(Object.create(backend) as Backend, {
    compile: async (...args: Parameters<Backend['compile']>) => {
      nCompiled++
      return backend.compile(...args)
    },
  })
  const attached: AttachedWeights[] = []
  for (const [index, { config, weights }] of saes.entries()) {
    attached.push({ key: `sae ${index}`, config, weights: await backend.upload(weights) })
  }
  const bench = openWorkbench({
    backend: counting,
    model: {
      key: name,
      description: loaded.description,
      config: vision.config as VisionConfig,
      build: builtTowers(vision, loaded.towers.vision.buildGraph),
      weights: await backend.upload(loaded.towers.vision.weights),
    },
    saes: attached,
    programs: new ProgramShelf(counting),
  })
  const pixels = (await expectedOf(name)).get('vision/pixels') as Tensor<'float32'>
  return { ...bench, loaded, pixels, backend, compiled: () => nCompiled }
}
