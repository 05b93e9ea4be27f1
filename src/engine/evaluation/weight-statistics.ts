/**
 * What the weights alone say of features: lengths, neighbours, and what a decoder row does to the model's answer by the shortest way, through
 * the final LayerNorm's gain and the projection.
 */

import type { Backend } from '../backends/backend.js'
import { GraphBuilder } from '../graph/builder.js'
import { wholes } from '../graph/expressions.js'
import type { LoadedTower } from '../models/load.js'
import type { VisionConfig } from '../models/model.js'
import type { SaeConfig } from '../saes/sae.js'
import { type Tensor, tensor } from '../tensor.js'
import type { Classes } from './class-scores.js'
import type { WeightedIndex } from './feature-record.js'
import type { StudiedSae } from './studied-sae.js'

/** Features whose products are computed at once: of 49,152 others, 100 MB. */
const ROWS = 512

export interface WeightStatistics {
  readonly decoderNorm: Float64Array
  readonly encoderNorm: Float64Array
  readonly encoderDecoderCosine: Float64Array | undefined
  readonly neighbours: readonly (readonly WeightedIndex[])[]
  /** Most raised first, then most lowered; none where the decoder does not write to the residual stream. */
  readonly classEffects: readonly (readonly WeightedIndex[])[]
  readonly wordEffects: readonly (readonly WeightedIndex[])[]
}

export interface WeightStatisticsOptions {
  readonly backend: Backend
  readonly sae: StudiedSae
  /** What the residual stream is read by, `[n, dModel]` (`readout`). */
  readonly classes?: Tensor<'float32'> | undefined
  readonly words?: Tensor<'float32'> | undefined
  readonly nNeighbours?: number
  /** In each direction. */
  readonly nEffects?: number
}

export async function weightStatistics({
  backend,
  sae,
  classes,
  words,
  nNeighbours = 5,
  nEffects = 10,
}: WeightStatisticsOptions): Promise<WeightStatistics> {
  const { dSae, dIn, dOut } = sae.config
  const decoder = sae.weights.W_dec as Tensor<'float32'>
  const encoder = transposed(sae.weights.W_enc as Tensor<'float32'>)
  const decoderNorm = norms(decoder.data, dOut)
  const encoderNorm = norms(encoder, dIn)
  const unit = decoder.data.map((value, at) => value / (decoderNorm[Math.floor(at / dOut)]! || 1))
  const isWriter = writesToResidual(sae.config)
  const effects = async (directions: Tensor<'float32'> | undefined): Promise<WeightedIndex[][]> => {
    if (!directions || !isWriter) return Array.from({ length: dSae }, () => [])
    const n = directions.shape[0]!
    const most = Math.min(nEffects, n)
    const best = await strongest(backend, decoder.data, directions, { dSae, most, ends: 'both' })
    // With few classes the ends meet.
    return best.map(({ largest, smallest }) => [
      ...largest,
      ...smallest.filter(({ index }) => !largest.some((other) => other.index === index)),
    ])
  }
  const near = await strongest(backend, unit, tensor('float32', [dSae, dOut], unit), {
    dSae,
    most: Math.min(nNeighbours + 1, dSae),
    ends: 'largest',
  })
  return {
    decoderNorm,
    encoderNorm,
    encoderDecoderCosine:
      dIn === dOut && !sae.config.transcoder
        ? Float64Array.from(
            { length: dSae },
            (_, latent) => dot(encoder, decoder.data, latent, dIn) / (encoderNorm[latent]! * decoderNorm[latent]!),
          )
        : undefined,
    neighbours: near.map(({ largest }, latent) => largest.filter(({ index }) => index !== latent).slice(0, nNeighbours)),
    classEffects: await effects(classes),
    wordEffects: await effects(words),
  }
}

/**
 * What each class reads of the residual stream, `[nClasses, dModel]`: how much its logit changes along each direction, for a stream of standard
 * deviation 1 and an embedding of length 1. The LayerNorm's own scale, which depends on the picture, is left out.
 * @returns undefined where the model's answer is no projection of one token or of their mean
 */
export function readout(classes: Classes, config: VisionConfig, weights: LoadedTower['weights']): Tensor<'float32'> | undefined {
  const { dModel, pooling, finalNorm, normalization } = config
  const head = weights['head.W_H']
  if (!(pooling === 'cls' || pooling === 'mean' || pooling === 'meanAll')) return undefined
  const isNormed = finalNorm !== 'none' && normalization !== 'none'
  const gain = isNormed ? weights['ln_final.w'] : undefined
  const nClasses = classes.kind === 'texts' ? classes.embeddings.shape[0]! : config.head.dOut
  const rows = new Float32Array(nClasses * dModel)
  for (let c = 0; c < nClasses; c++) {
    const row = new Float64Array(dModel)
    if (classes.kind === 'logits') for (let d = 0; d < dModel; d++) row[d] = head ? head.data[c * dModel + d]! : 0
    else {
      const width = classes.embeddings.shape[1]!
      for (let e = 0; e < width; e++) {
        const factor = classes.logitScale * classes.embeddings.data[c * width + e]!
        if (!head) row[e]! += factor
        else for (let d = 0; d < dModel; d++) row[d]! += factor * head.data[e * dModel + d]!
      }
    }
    if (gain) for (let d = 0; d < dModel; d++) row[d]! *= gain.data[d]!
    // The LayerNorm takes the mean from the stream; taking it from what reads the stream is the same.
    const mean = isNormed ? row.reduce((sum, value) => sum + value, 0) / dModel : 0
    rows.set(
      row.map((value) => value - mean),
      c * dModel,
    )
  }
  return tensor('float32', [nClasses, dModel], rows)
}

function writesToResidual({ hookPoint, transcoder }: SaeConfig): boolean {
  return /\.(hook_resid_(pre|mid|post)|hook_attn_out|hook_mlp_out)$/.test(transcoder?.hookPointOut ?? hookPoint)
}

interface Ends {
  readonly largest: WeightedIndex[]
  readonly smallest: WeightedIndex[]
}

/** For each row the columns with the largest, and where wanted the smallest, products. */
async function strongest(
  backend: Backend,
  rows: Float32Array,
  columns: Tensor<'float32'>,
  { dSae, most, ends }: { dSae: number; most: number; ends: 'largest' | 'both' },
): Promise<Ends[]> {
  const width = columns.shape[1]!
  const b = new GraphBuilder('strongest products')
  const products = b.op('Gemm', [b.input('rows', 'float32', ['batch', width]), b.parameter('columns', columns.shape)], { transB: 1 })
  const top = (largest: 0 | 1) => b.opMany('TopK', [products, wholes(b, [most])], { nOutputs: 2, attributes: { axis: -1, largest } })
  const graph = b.build([...top(1), ...(ends === 'both' ? top(0) : [])])
  const [program, weights] = await Promise.all([backend.compile(graph), backend.upload({ columns })])
  const found: Ends[] = []
  try {
    for (let from = 0; from < dSae; from += ROWS) {
      const n = Math.min(ROWS, dSae - from)
      const inputs = { rows: tensor('float32', [n, width], rows.subarray(from * width, (from + n) * width)) }
      const made = await program.run({ inputs, weights, fetch: graph.outputs })
      const [values, indices, low, lowIndices] = graph.outputs.map((name) => made[name]!)
      for (let row = 0; row < n; row++) {
        found.push({ largest: pairs(values!, indices!, row, most), smallest: low ? pairs(low, lowIndices!, row, most) : [] })
      }
    }
  } finally {
    await Promise.all([program.dispose(), weights.dispose()])
  }
  return found
}

function pairs(values: Tensor, indices: Tensor, row: number, k: number): WeightedIndex[] {
  return Array.from({ length: k }, (_, at) => ({ index: Number(indices.data[row * k + at]), value: Number(values.data[row * k + at]) }))
}

/** `[dSae, dIn]` of `[dIn, dSae]` */
function transposed({ shape, data }: Tensor<'float32'>): Float32Array {
  const [nRows, nColumns] = shape as [number, number]
  const made = new Float32Array(data.length)
  for (let row = 0; row < nRows; row++)
    for (let column = 0; column < nColumns; column++) made[column * nRows + row] = data[row * nColumns + column]!
  return made
}

function norms(rows: Float32Array, width: number): Float64Array {
  return Float64Array.from({ length: rows.length / width }, (_, row) => Math.sqrt(dot(rows, rows, row, width)))
}

/** Of row `row` of both. */
function dot(a: Float32Array, b: Float32Array, row: number, width: number): number {
  let sum = 0
  for (let d = row * width; d < (row + 1) * width; d++) sum += a[d]! * b[d]!
  return sum
}
