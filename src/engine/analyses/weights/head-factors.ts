/**
 * What attention heads read and write, as small matrices in float64 whose norms and products say everything of the large ones:
 *
 *   OV = O V    `[dModel, dModel]`, what a head writes of what it looks at: O `[dModel, dHead]`, V `[dHead, dModel]`
 *   QK = Q' K   `[dModel, dModel]`, how it chooses where to look: score = x_query' Q' K x_key, not divided by sqrt(dHead)
 *
 * of which neither is ever made. What a head reads is the residual stream x through LayerNorm 1. Its gain and its taking of the mean are part of
 * Q, K and V here, which makes folded and unfolded models the same; its scale, which depends on the token, and its bias are left out. What
 * it writes includes the layer scale.
 * Elhage et al. (2021), "A Mathematical Framework for Transformer Circuits".
 */

import { EngineError } from '../../errors.js'
import { weightSize, weightStrides } from '../../models/linear.js'
import type { VisionConfig } from '../../models/model.js'
import type { Workbench } from '../workbench.js'
import { type Matrix, matrix } from './linear-algebra/matrix.js'

/** The maps of one head, in the residual stream as it is before LayerNorm 1. */
export interface HeadFactors {
  /** Each `[dHead, dModel]`. */
  readonly q: Matrix
  readonly k: Matrix
  readonly v: Matrix
  /** `[dModel, dHead]` */
  readonly o: Matrix
}

/** Of all heads of a layer. */
export async function headFactors(bench: Workbench, layer: number): Promise<HeadFactors[]> {
  const { config } = bench.model
  const { nHeads, dHead, dModel } = config
  const block = `blocks.${layer}`
  const gain = await gainOf(bench, `${block}.ln1`)
  const scale = config.layerScale ? await numbersOf(bench, `${block}.ls1`) : undefined
  const reading = async (letter: 'Q' | 'K' | 'V') => {
    const rows = await outputRows(bench, `${block}.attn.W_${letter}`)
    return Array.from({ length: nHeads }, (_, head) => throughNorm(slice(rows, head * dHead, dHead), { config, gain }))
  }
  const [q, k, v] = [await reading('Q'), await reading('K'), await reading('V')]
  const written = await outputRows(bench, `${block}.attn.W_O`)
  return Array.from({ length: nHeads }, (_, head) => {
    const o = matrix(dModel, dHead)
    for (let out = 0; out < dModel; out++) {
      const factor = scale?.[out] ?? 1
      for (let at = 0; at < dHead; at++) o.data[out * dHead + at] = factor * written.data[out * written.columns + head * dHead + at]!
    }
    return { q: q[head]!, k: k[head]!, v: v[head]!, o }
  })
}

/** A LayerNorm's gain; undefined where it has none of its own. */
export async function gainOf(bench: Workbench, norm: string): Promise<Float32Array | undefined> {
  return bench.model.weights.names.has(`${norm}.w`) ? numbersOf(bench, `${norm}.w`) : undefined
}

/** A weight of the model. @throws FILE_INVALID, as `outputRows` does */
export async function numbersOf(bench: Workbench, name: string): Promise<Float32Array> {
  return requireNumbers(bench, name, (await bench.weight(name)).data)
}

/** @throws FILE_INVALID of a weight that is infinite or no number: no decomposition of it would end */
function requireNumbers(bench: Workbench, name: string, data: Float32Array): Float32Array {
  if (data.every(Number.isFinite)) return data
  throw new EngineError('FILE_INVALID', {
    file: bench.model.key,
    problem: `its weight "${name}" has elements that are infinite or no numbers.`,
  })
}

/** A linear layer's weights with a row for each output, `[dOut, dIn]`. */
export async function outputRows(bench: Workbench, name: string): Promise<Matrix> {
  const weight = await bench.weight(name)
  const data = requireNumbers(bench, name, weight.data)
  const size = weightSize(weight.shape)
  const strides = weightStrides(size)
  const rows = matrix(size.dOut, size.dIn)
  for (let out = 0; out < size.dOut; out++) {
    for (let at = 0; at < size.dIn; at++) rows.data[out * size.dIn + at] = data[out * strides.out + at * strides.in]!
  }
  return rows
}

/**
 * Rows that read what leaves a LayerNorm, as rows that read what enters it: times the gain, less their mean, which the LayerNorm takes from the
 * stream and which may as well be taken from its readers.
 */
export function throughNorm(
  { rows, columns, data }: Matrix,
  { config, gain }: { readonly config: Pick<VisionConfig, 'normalization'>; readonly gain: Float32Array | undefined },
): Matrix {
  const result = matrix(rows, columns, data.slice())
  if (config.normalization === 'none') return result
  for (let row = 0; row < rows; row++) {
    const own = result.data.subarray(row * columns, (row + 1) * columns)
    if (gain) for (let at = 0; at < columns; at++) own[at]! *= gain[at]!
    const mean = own.reduce((sum, value) => sum + value, 0) / columns
    for (let at = 0; at < columns; at++) own[at]! -= mean
  }
  return result
}

function slice({ columns, data }: Matrix, from: number, rows: number): Matrix {
  return matrix(rows, columns, data.slice(from * columns, (from + rows) * columns))
}
