/** A workbench with a tiny tower on it. */

import { ProgramShelf } from '../../../src/engine/analyses/program-shelf.js'
import { openWorkbench, type Workbench } from '../../../src/engine/analyses/workbench.js'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { outputAxes, shapeOfAxes } from '../../../src/engine/hook-points.js'
import { builtTowers } from '../../../src/engine/interventions/built-towers.js'
import type { ModelDescription, VisionConfig } from '../../../src/engine/models/model.js'
import { visionGraph } from '../../../src/engine/models/vit.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { type TinyTower, visionTower } from '../interventions/tiny-towers.js'

export interface TinyBench {
  readonly bench: Workbench
  readonly tower: TinyTower
  /** How many graphs were compiled so far. */
  readonly nCompiled: () => number
  close(): Promise<void>
}

export interface TinyParts {
  /** A tower with weights; a tiny one of random weights unless given. */
  readonly tower?: TinyTower
  readonly logitScale?: number
  readonly saes?: readonly { readonly config: SaeConfig; readonly weights: Readonly<Record<string, Tensor>> }[]
  readonly signal?: AbortSignal
}

export async function tinyBench(
  backend: Backend,
  { tower = visionTower(), logitScale = 10, saes = [], signal }: TinyParts = {},
): Promise<TinyBench> {
  let compiled = 0
  const counting: Backend = {
    ...backend,
    compile: (graph, options) => {
      compiled++
      return backend.compile(graph, options)
    },
  }
  const config = tower.config as VisionConfig
  const axes = outputAxes(config)
  const description: ModelDescription = {
    layout: 'toy',
    vision: { config, hookPoints: tower.hookPoints, output: { axes, shape: shapeOfAxes(axes, config) }, nParameters: 0 },
    preprocessing: { size: config.imageSize, resize: { kind: 'none' } } as never,
    logitScale,
    processing: [],
  }
  const weights = await backend.upload(tower.weights)
  const attached = await Promise.all(
    saes.map(async ({ config: sae, weights: own }, index) => ({ key: `sae ${index}`, config: sae, weights: await backend.upload(own) })),
  )
  const programs = new ProgramShelf(counting)
  const build = builtTowers(description.vision, (wanted) => visionGraph(config, wanted))
  const bench = openWorkbench({
    backend: counting,
    model: { key: 'tiny', description, config, build, weights },
    saes: attached,
    programs,
    signal,
  })
  return {
    bench,
    tower,
    nCompiled: () => compiled,
    async close() {
      await programs.dispose()
      await Promise.all([weights, ...attached.map((sae) => sae.weights)].map((each) => each.dispose()))
    },
  }
}

/** Pictures as a tower takes them, of numbers between -1 and 1. */
export function pixels(tower: TinyTower, seeds: readonly number[]): Tensor<'float32'> {
  const each = seeds.map((seed) => tower.input(seed) as Tensor<'float32'>)
  const data = each.flatMap((picture) => [...picture.data])
  return float32([seeds.length, ...each[0]!.shape.slice(1)], data)
}
