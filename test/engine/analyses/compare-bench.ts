/** Workbenches with golden models of test/fixtures/models, processed or not, and the SAEs of test/fixtures/features. */

import path from 'node:path'
import { ProgramShelf } from '../../../src/engine/analyses/program-shelf.js'
import { openWorkbench, type Workbench } from '../../../src/engine/analyses/workbench.js'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { builtTowers } from '../../../src/engine/interventions/built-towers.js'
import { loadModel } from '../../../src/engine/models/load.js'
import type { VisionConfig, WeightProcessing } from '../../../src/engine/models/model.js'
import { loadSae } from '../../../src/engine/saes/load-sae.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { folderOf } from '../models/fixtures.js'
import { featureFolder } from '../saes/feature-goldens.js'

export interface BenchSae {
  readonly config: SaeConfig
  readonly weights: Readonly<Record<string, Tensor<'float32'>>>
}

export async function goldenSae(name: string): Promise<BenchSae> {
  const { description, weights } = await loadSae(path.join(featureFolder, name))
  return { config: description.config, weights }
}

export async function compareBench(
  backend: Backend,
  model: string,
  {
    saes = [],
    processing = [],
  }: { readonly saes?: readonly (string | BenchSae)[]; readonly processing?: readonly WeightProcessing[] } = {},
): Promise<Workbench> {
  const { description, towers } = await loadModel(folderOf(model), { processing })
  const attached = saes.map(async (sae, index) => {
    const { config, weights } = typeof sae === 'string' ? await goldenSae(sae) : sae
    return { key: typeof sae === 'string' ? sae : `sae ${index}`, config, weights: await backend.upload(weights) }
  })
  return openWorkbench({
    backend,
    model: {
      key: model,
      description,
      config: description.vision.config as VisionConfig,
      build: builtTowers(description.vision, towers.vision.buildGraph),
      weights: await backend.upload(towers.vision.weights),
    },
    saes: await Promise.all(attached),
    programs: new ProgramShelf(backend),
  })
}

/** Random pictures as `hf-clip` takes them, `[n, 3, 13, 13]`. */
export function randomPixels(n: number, random: { normal(): number }): Tensor<'float32'> {
  return float32(
    [n, 3, 13, 13],
    Array.from({ length: n * 3 * 13 * 13 }, () => random.normal()),
  )
}
