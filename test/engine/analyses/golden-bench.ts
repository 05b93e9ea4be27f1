/** Workbenches with the golden models of test/fixtures/models. */

import path from 'node:path'
import { ProgramShelf } from '../../../src/engine/analyses/program-shelf.js'
import { type AttachedWeights, openWorkbench, type Workbench } from '../../../src/engine/analyses/workbench.js'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { builtTowers } from '../../../src/engine/interventions/built-towers.js'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
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

const known = new Map<string, Promise<{ loaded: LoadedModel; pixels: Tensor<'float32'> }>>()

function opened(name: string) {
  const found = known.get(name) ?? open(name)
  known.set(name, found)
  return found
}

async function open(name: string) {
  const expected = await expectedOf(name)
  return { loaded: await loadModel(folderOf(name)), pixels: expected.get('vision/pixels') as Tensor<'float32'> }
}

export async function goldenBench(backend: Backend, name: string, saes: readonly BenchSae[] = []): Promise<GoldenBench> {
  const { loaded, pixels } = await opened(name)
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
  return { ...bench, loaded, pixels, backend, compiled: () => nCompiled }
}

/** What PyTorch computed of lenses and attention, by the names of make/lens_attention.py. */
export async function readGolden(): Promise<Record<string, Tensor<'float32'>>> {
  const file = 'expected.safetensors'
  const opened = await openWeights(
    await openFileSource(path.resolve(import.meta.dirname, '../../fixtures/lens-attention', file), file),
    file,
  )
  try {
    const entries = await Promise.all([...opened.entries.keys()].map(async (key) => [key, await opened.read(key)] as const))
    return Object.fromEntries(entries) as Record<string, Tensor<'float32'>>
  } finally {
    await opened.close()
  }
}
