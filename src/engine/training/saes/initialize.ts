/** The weights that an SAE begins with. */

import type { Random } from '../../random.js'
import { checkSaeConfig, type SaeConfig, saeParameters } from '../../saes/sae.js'
import { scalar, type Tensor, tensor, zeros } from '../../tensor.js'
import { geometricMedian, meanOfRows } from './geometric-median.js'

export interface SaeInitialization {
  /** A transcoder's encoder is always independent. Default `decoder-transposed`. */
  readonly encoder?: 'decoder-transposed' | 'independent'
  /** Of the decoder's rows. Default 1. */
  readonly decoderNorm?: number
  /**
   * Of normalised activations, as the bias is used, or (`prisma-...`) of activations as they come, which is the same without a normalisation.
   * Default `geometric-median`.
   */
  readonly decoderBias?: 'geometric-median' | 'mean' | 'zeros' | 'prisma-geometric-median' | 'prisma-mean'
  /** A JumpReLU SAE's thresholds. Default 0.01. */
  readonly threshold?: number
}

/** Activations to begin with, row-major. */
export interface SampleRows {
  /** `[n, dIn]` */
  readonly inputs: Float32Array
  /** `[n, dOut]`, of a transcoder. */
  readonly targets?: Float32Array
}

type Weights = Record<string, Tensor<'float32'>>

/**
 * Decoder rows in random directions (Kaiming-uniform, then scaled to one length), the encoder its transpose or made alike, biases 0 but for
 * the decoder's.
 */
export function initializeSae(
  config: SaeConfig,
  { inputs, targets }: SampleRows,
  random: Random,
  options: SaeInitialization = {},
): Weights {
  checkSaeConfig(config)
  const { encoder = 'decoder-transposed', decoderNorm = 1, threshold = 0.01 } = options
  const { dIn, dOut, dSae, transcoder, normalization } = config
  const weights: Weights = Object.fromEntries(Object.entries(saeParameters(config)).map(([name, shape]) => [name, zeros('float32', shape)]))
  const W_dec = randomRows(random.fork('W_dec'), dSae, dOut)
  // Before it is scaled: the encoder's columns have length 1 whatever the decoder's rows have.
  weights.W_enc = transcoder || encoder === 'independent' ? randomRows(random.fork('W_enc'), dIn, dSae) : transposed(W_dec)
  weights.W_dec = scaled(W_dec, decoderNorm)
  if (weights.W_skip) weights.W_skip = randomRows(random.fork('W_skip'), dOut, dIn)
  if (weights.threshold) weights.threshold.data.fill(threshold)
  if (normalization === 'expected_average_only_in') weights.input_scale = scalar(averageScale(inputs, dIn))
  const scale = weights.input_scale?.data[0] ?? 1
  if (weights.b_dec) setBias(weights.b_dec, inputs, { statistics: inputs, config, options, scale })
  if (weights.b_dec_out && targets) {
    const isNormalized = transcoder?.denormalizes === true
    const own: SaeConfig = isNormalized ? config : { ...config, normalization: 'none' }
    setBias(weights.b_dec_out, targets, { statistics: inputs, config: own, options, scale: isNormalized ? scale : 1 })
  }
  return weights
}

interface BiasSetting {
  /** The rows whose statistics the normalisation uses. */
  readonly statistics: Float32Array
  readonly config: SaeConfig
  readonly options: SaeInitialization
  readonly scale: number
}

function setBias(bias: Tensor<'float32'>, rows: Float32Array, { statistics, config, options, scale }: BiasSetting): void {
  const { decoderBias = 'geometric-median' } = options
  if (decoderBias === 'zeros') return
  const width = bias.shape[0]!
  const used = decoderBias.startsWith('prisma-') ? rows : normalizedBy(rows, width, { statistics, config, scale })
  bias.data.set(decoderBias.endsWith('geometric-median') ? geometricMedian(used, width) : meanOfRows(used, width))
}

/** Kaiming-uniform, each row then of length 1. */
function randomRows(random: Random, nRows: number, width: number): Tensor<'float32'> {
  const data = new Float32Array(nRows * width)
  for (let at = 0; at < data.length; at++) data[at] = 2 * random.uniform() - 1
  for (let row = 0; row < nRows; row++) {
    const values = data.subarray(row * width, (row + 1) * width)
    const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)) || 1
    for (let column = 0; column < width; column++) values[column]! /= norm
  }
  return tensor('float32', [nRows, width], data)
}

function transposed({ shape, data }: Tensor<'float32'>): Tensor<'float32'> {
  const [nRows, nColumns] = shape as [number, number]
  const result = new Float32Array(data.length)
  for (let row = 0, at = 0; row < nRows; row++)
    for (let column = 0; column < nColumns; column++, at++) result[column * nRows + row] = data[at]!
  return tensor('float32', [nColumns, nRows], result)
}

const scaled = ({ shape, data }: Tensor<'float32'>, factor: number) =>
  tensor(
    'float32',
    shape,
    data.map((value) => value * factor),
  )

/** What makes the mean length of the rows sqrt(width). */
function averageScale(rows: Float32Array, width: number): number {
  const nRows = rows.length / width
  let total = 0
  for (let row = 0; row < nRows; row++) total += statisticsOf(rows.subarray(row * width, (row + 1) * width)).norm
  return total === 0 ? 1 : (Math.sqrt(width) * nRows) / total
}

/** (row - shift) / scale, as the graph normalises it, with the statistics of the rows at the same places. */
function normalizedBy(
  rows: Float32Array,
  width: number,
  { statistics, config, scale }: Pick<BiasSetting, 'statistics' | 'config' | 'scale'>,
): Float32Array {
  const { normalization, dIn } = config
  if (normalization === 'none') return rows
  const result = new Float32Array(rows.length)
  for (let row = 0; row < rows.length / width; row++) {
    const { mean, deviation, norm } = statisticsOf(statistics.subarray(row * dIn, (row + 1) * dIn))
    const shift = normalization === 'layer_norm' ? mean : 0
    const factor =
      normalization === 'layer_norm' ? 1 / (deviation + 1e-5) : normalization === 'constant_norm_rescale' ? Math.sqrt(dIn) / norm : scale
    for (let at = row * width; at < (row + 1) * width; at++) result[at] = (rows[at]! - shift) * factor
  }
  return result
}

function statisticsOf(values: Float32Array): { readonly mean: number; readonly deviation: number; readonly norm: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
  return { mean, deviation: Math.sqrt(squares / Math.max(1, values.length - 1)), norm }
}
