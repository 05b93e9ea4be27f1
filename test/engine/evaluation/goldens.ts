/** The golden evaluations and index of test/fixtures/evaluation: SAEs of models/hf-clip, as PyTorch and numpy compute them. */

import fs from 'node:fs'
import path from 'node:path'
import type { Classes } from '../../../src/engine/evaluation/class-scores.js'
import type { EvaluatedBatch } from '../../../src/engine/evaluation/evaluate-saes.js'
import type { Positions, StudiedSae } from '../../../src/engine/evaluation/studied-sae.js'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { readSafetensor, readSafetensorsHeader } from '../../../src/engine/io/safetensors.js'
import { type LoadedModel, loadModel } from '../../../src/engine/models/load.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { type Tensor, tensor } from '../../../src/engine/tensor.js'

const fixtures = path.resolve(import.meta.dirname, '../../fixtures')

interface GoldenCase {
  readonly hookPoint: string
  readonly out?: string
  readonly positions: Positions
  readonly norm?: boolean
  readonly k?: number
  readonly metrics: Readonly<Record<string, { readonly value: number; readonly half: number }>>
}

export interface GoldenFeature {
  readonly top: readonly (readonly [item: number, score: number, position: number])[]
  readonly negative: readonly (readonly [item: number, score: number])[]
  readonly neighbours: readonly (readonly [index: number, value: number])[]
  readonly coactive: readonly (readonly [index: number, value: number])[]
  readonly classEffects: readonly number[]
  readonly histogram: Readonly<Record<string, number>>
  readonly [statistic: string]: unknown
}

export const golden = JSON.parse(fs.readFileSync(path.join(fixtures, 'evaluation/expected.json'), 'utf8')) as {
  readonly batches: readonly number[]
  readonly logitScale: number
  readonly cases: Readonly<Record<string, GoldenCase>>
  readonly index: readonly GoldenFeature[]
}

export interface GoldenData {
  readonly model: LoadedModel
  readonly config: VisionConfig
  readonly tensors: Readonly<Record<string, Tensor>>
  readonly saes: readonly StudiedSae[]
  readonly classes: Classes & { readonly kind: 'texts' }
  readonly labels: readonly number[]
  readonly batches: readonly EvaluatedBatch[]
}

export async function goldenData(): Promise<GoldenData> {
  const model = await loadModel(path.join(fixtures, 'models/hf-clip'))
  const file = 'evaluation.safetensors'
  const source = await openFileSource(path.join(fixtures, 'evaluation', file), file)
  const header = await readSafetensorsHeader(source, file)
  const tensors: Record<string, Tensor> = {}
  for (const name of header.entries.keys()) tensors[name] = await readSafetensor(source, header, name)
  await source.close()
  const labels = Array.from(tensors.labels!.data, Number)
  return {
    model,
    config: model.description.vision.config as VisionConfig,
    tensors,
    saes: Object.entries(golden.cases).map(([id, each]) => ({
      id,
      config: saeConfig(each, tensors[`${id}/W_enc`]!.shape as [number, number]),
      positions: each.positions,
      weights: Object.fromEntries(
        Object.entries(tensors)
          .filter(([name]) => name.startsWith(`${id}/`))
          .map(([name, value]) => [name.slice(id.length + 1), value]),
      ),
    })),
    classes: {
      kind: 'texts',
      embeddings: tensors.texts as Tensor<'float32'>,
      bareEmbeddings: tensors.bare as Tensor<'float32'>,
      logitScale: golden.logitScale,
    },
    labels,
    batches: batchesOf(tensors.pixels!, labels, golden.batches),
  }
}

function saeConfig({ hookPoint, out, norm, k }: GoldenCase, [dIn, dSae]: [number, number]): SaeConfig {
  return {
    architecture: k ? 'topk' : 'standard',
    activation: k ? 'topk' : 'relu',
    ...(k && { k }),
    dIn,
    dOut: dIn,
    dSae,
    normalization: norm ? 'layer_norm' : 'none',
    subtractsDecoderBias: true,
    hookPoint,
    ...(out && { transcoder: { hookPointOut: out, skip: 'linear', denormalizes: true } }),
  }
}

/** Pictures in batches of these sizes, one after the other. */
export function batchesOf(pixels: Tensor, labels: readonly number[], sizes: readonly number[]): (EvaluatedBatch & { items: number[] })[] {
  const width = pixels.data.length / pixels.shape[0]!
  let from = 0
  return sizes.map((size, batch) => {
    const items = Array.from({ length: size }, (_, at) => from + at)
    const data = (pixels.data as Float32Array).slice(from * width, (from + size) * width)
    from += size
    return { batch, items, pixels: tensor('float32', [size, ...pixels.shape.slice(1)], data), labels: items.map((item) => labels[item]!) }
  })
}
