/**
 * Exact rewritings of an SAE's weights: what one layout says by a field, another says by other weights. Each leaves every latent and every
 * reconstruction as it was, up to rounding. Nothing given is changed.
 */

import { invariant } from '../errors.js'
import type { Tensor } from '../tensor.js'
import type { SaeConfig } from './sae.js'

type Weights = Readonly<Record<string, Tensor<'float32'>>>
type Matrix = Tensor<'float32'>

export interface ConfiguredWeights {
  readonly config: SaeConfig
  readonly weights: Weights
}

/** `expected_average_only_in` without its factor: the encoder takes it in, the decoder out again. */
export function foldInputScale({ config, weights }: ConfiguredWeights): ConfiguredWeights {
  if (config.normalization !== 'expected_average_only_in') return { config, weights }
  const { input_scale, ...rest } = weights
  const scale = input_scale!.data[0]!
  const undone = config.transcoder && !config.transcoder.denormalizes ? [] : ['W_dec', 'W_skip', 'b_dec_out']
  const folded = config.transcoder?.denormalizes ? foldIdentityIntoSkip({ config, weights: rest }) : { config, weights: rest }
  const factorOf = (name: string) => (name === 'W_enc' ? scale : name === 'b_dec' || undone.includes(name) ? 1 / scale : 1)
  return {
    config: { ...folded.config, normalization: 'none' },
    weights: Object.fromEntries(
      Object.entries(folded.weights).map(([name, tensor]) => {
        const factor = factorOf(name)
        return [name, factor === 1 ? tensor : mapped(tensor, (value) => value * factor)]
      }),
    ),
  }
}

/** x (I + W') as x W'. */
export function foldIdentityIntoSkip({ config, weights }: ConfiguredWeights): ConfiguredWeights {
  if (config.transcoder?.skip !== 'linear-and-identity') return { config, weights }
  const skip = weights.W_skip!
  const width = skip.shape[1]!
  return {
    config: { ...config, transcoder: { ...config.transcoder, skip: 'linear' } },
    weights: { ...weights, W_skip: mapped(skip, (value, at) => value + (Math.floor(at / width) === at % width ? 1 : 0)) },
  }
}

/**
 * The same latents with, or without, the decoder's bias taken from the input: the encoder's biases take up b_dec W_enc. A transcoder
 * without the bias has no `b_dec`.
 */
export function withDecoderBiasSubtracted(subtracts: boolean, { config, weights }: ConfiguredWeights): ConfiguredWeights {
  if (config.subtractsDecoderBias === subtracts) return { config, weights }
  const { b_dec, ...rest } = weights
  const result = { ...config, subtractsDecoderBias: subtracts }
  if (config.transcoder && subtracts) {
    return { config: result, weights: { ...weights, b_dec: { dtype: 'float32', shape: [config.dIn], data: new Float32Array(config.dIn) } } }
  }
  const through = vectorTimesMatrix(b_dec!, weights.W_enc!)
  const sign = subtracts ? 1 : -1
  const shifted = (name: string, scale?: Matrix) =>
    weights[name] && {
      [name]: mapped(weights[name], (value, at) => value + sign * through[at]! * (scale ? Math.exp(scale.data[at]!) : 1)),
    }
  return {
    config: result,
    weights: {
      ...rest,
      ...(!config.transcoder && { b_dec: b_dec! }),
      ...shifted('b_enc'),
      ...shifted('b_gate'),
      ...shifted('b_mag', weights.r_mag),
    },
  }
}

/**
 * Decoder rows of norm 1, their norms in the encoder. Of an SAE whose latents are scaled by these norms before they are selected, and
 * unscaled before they are decoded, this is the same SAE without the scaling.
 */
export function foldDecoderNorms(weights: Weights): Weights {
  const { W_dec, W_enc, b_enc } = weights
  invariant(W_dec && W_enc && b_enc, 'decoder norms are folded into W_enc and b_enc')
  const width = W_dec.shape[1]!
  const norms = rowNorms(W_dec)
  const nLatents = norms.length
  return {
    ...weights,
    W_dec: mapped(W_dec, (value, at) => value / norms[Math.floor(at / width)]!),
    W_enc: mapped(W_enc, (value, at) => value * norms[at % nLatents]!),
    b_enc: mapped(b_enc, (value, at) => value * norms[at]!),
  }
}

/** Decoder rows, each times a factor of its own. */
export function scaleDecoderRows(W_dec: Matrix, factors: Matrix): Matrix {
  const width = W_dec.shape[1]!
  return mapped(W_dec, (value, at) => value * factors.data[Math.floor(at / width)]!)
}

function rowNorms({ shape, data }: Matrix): Float64Array {
  const [rows, width] = shape as [number, number]
  const norms = new Float64Array(rows)
  for (let row = 0, at = 0; row < rows; row++) {
    let sum = 0
    for (const end = at + width; at < end; at++) sum += data[at]! ** 2
    norms[row] = Math.max(Math.sqrt(sum), 1e-8)
  }
  return norms
}

function vectorTimesMatrix(vector: Matrix, { shape, data }: Matrix): Float64Array {
  const [rows, columns] = shape as [number, number]
  const product = new Float64Array(columns)
  for (let row = 0, at = 0; row < rows; row++) {
    const factor = vector.data[row]!
    for (let column = 0; column < columns; column++, at++) product[column]! += factor * data[at]!
  }
  return product
}

function mapped({ shape, data }: Matrix, map: (value: number, at: number) => number): Matrix {
  const result = new Float32Array(data.length)
  for (let at = 0; at < data.length; at++) result[at] = map(data[at]!, at)
  return { dtype: 'float32', shape, data: result }
}
