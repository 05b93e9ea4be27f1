/**
 * Weight processing as in TransformerLens and ViT-Prisma: the same function in other coordinates. Off unless asked for, and recorded in the
 * model's description, because hook points change their values:
 *
 *   fold-layer-norm          the weights of ln1, ln2, SoLU's norm and ln_final move into the layers that read them, whose weights are then
 *                            centred; `ln*.hook_normalized` no longer has w and b. ln_pre stays, and so does ln_final in a model without
 *                            a head: nothing after it could take its weights, and the output would change.
 *   centre-writing-weights   what positions, attention and MLP write has mean zero over dModel (a layer scale is folded in first); the
 *                            residual stream shifts by a constant for each token, which every LayerNorm removes.
 *   fold-value-biases        b_O takes b_V W_O; `hook_v`, `hook_z` and `hook_result` lose it. Attention rows sum to 1, so `hook_attn_out` stays.
 *
 * Sums are in float64.
 */

import { EngineError } from '../errors.js'
import { isVision, type TowerConfig } from '../hook-points.js'
import { type Tensor, zeros } from '../tensor.js'
import { weightSize, weightStrides } from './linear.js'
import type { WeightProcessing } from './model.js'

type Weights = Record<string, Tensor<'float32'>>

const order: readonly WeightProcessing[] = ['fold-layer-norm', 'centre-writing-weights', 'fold-value-biases']

/** Each once, in the order in which they are applied, whatever order they were asked in. */
export function inProcessingOrder(processing: readonly WeightProcessing[]): WeightProcessing[] {
  return order.filter((step) => processing.includes(step))
}

/**
 * The configuration that processed weights have: folding makes biases where there were none.
 * @throws MODEL_UNSUPPORTED when a step would change what the model computes
 */
export function processConfig<C extends TowerConfig>(config: C, processing: readonly WeightProcessing[]): C {
  return processing.reduce((before, step) => configAfter(before, step), config)
}

/** Changes `weights` in place. @param config  of the weights as they came */
export function processWeights(config: TowerConfig, weights: Weights, processing: readonly WeightProcessing[]): void {
  let before = config
  for (const step of processing) {
    const after = configAfter(before, step)
    addMissingBiases(after, weights)
    steps[step](before, weights)
    before = after
  }
}

const steps: Readonly<Record<WeightProcessing, (config: TowerConfig, weights: Weights) => void>> = {
  'fold-layer-norm': foldLayerNorms,
  'centre-writing-weights': centreWritingWeights,
  'fold-value-biases': foldValueBiases,
}

function configAfter<C extends TowerConfig>(config: C, step: WeightProcessing): C {
  const { biases, head } = config
  switch (step) {
    case 'fold-layer-norm': {
      if (config.normalization !== 'layerNorm') return config
      const hasFoldedHead = foldsFinalNorm(config)
      return { ...config, biases: { ...biases, qkv: true, mlp: true }, head: { ...head, bias: head.bias || hasFoldedHead } }
    }
    case 'centre-writing-weights':
      requireReadByNorms(config)
      return config
    case 'fold-value-biases':
      return biases.qkv ? { ...config, biases: { ...biases, attnOut: true } } : config
    default:
      return step satisfies never
  }
}

function foldsFinalNorm(config: TowerConfig): boolean {
  return config.head.kind !== 'none' && !(isVision(config) && config.finalNorm === 'none')
}

function requireReadByNorms(config: TowerConfig): void {
  const isNormalised = config.normalization !== 'none' && !(isVision(config) && config.finalNorm === 'none')
  if (isNormalised) return
  const supported = 'It keeps the output only where every reader of the residual stream is a LayerNorm.'
  throw new EngineError('MODEL_UNSUPPORTED', { what: 'centre-writing-weights for a model without LayerNorms (or a final one)', supported })
}

/** Zeros for the biases that a step will fill. */
function addMissingBiases(config: TowerConfig, weights: Weights): void {
  const add = (name: string, length: number) => {
    weights[name] ??= zeros('float32', [length])
  }
  for (const block of blocks(config)) {
    if (config.biases.qkv) for (const letter of 'QKV') add(`${block}.attn.b_${letter}`, config.nHeads * config.dHead)
    if (config.biases.attnOut) add(`${block}.attn.b_O`, config.dModel)
    if (config.biases.mlp && config.dMlp !== undefined) {
      add(`${block}.mlp.b_in`, config.dMlp)
      add(`${block}.mlp.b_out`, config.dModel)
    }
  }
  if (config.head.bias) add('head.b_H', config.head.dOut)
}

const blocks = ({ nLayers }: TowerConfig) => Array.from({ length: nLayers }, (_, index) => `blocks.${index}`)

// --- fold-layer-norm

function foldLayerNorms(config: TowerConfig, weights: Weights): void {
  if (config.normalization !== 'layerNorm') return
  for (const block of blocks(config)) {
    for (const letter of 'QKV') foldNorm(weights, `${block}.ln1`, `${block}.attn.W_${letter}`, `${block}.attn.b_${letter}`)
    forget(weights, `${block}.ln1`)
    if (config.dMlp === undefined) continue
    foldNorm(weights, `${block}.ln2`, `${block}.mlp.W_in`, `${block}.mlp.b_in`)
    forget(weights, `${block}.ln2`)
    if (config.activation !== 'solu_ln') continue
    foldNorm(weights, `${block}.mlp.ln`, `${block}.mlp.W_out`, `${block}.mlp.b_out`)
    forget(weights, `${block}.mlp.ln`)
  }
  if (!foldsFinalNorm(config)) return
  foldNorm(weights, 'ln_final', 'head.W_H', 'head.b_H')
  forget(weights, 'ln_final')
}

/**
 * b += W ln.b; W *= ln.w; then every row of W loses its mean. A head over CLS and mean side by side reads the same norm twice: once for each
 * part of the norm's length.
 */
function foldNorm(weights: Weights, norm: string, weight: string, bias: string): void {
  const w = weights[`${norm}.w`]!.data
  const b = weights[`${norm}.b`]!.data
  const { data, dIn, dOut, strides } = matrix(weights, weight)
  const length = w.length
  const biasData = weights[bias]!.data
  for (let out = 0; out < dOut; out++) {
    let fromBias = 0
    for (let part = 0; part < dIn; part += length) {
      let sum = 0
      for (let i = 0; i < length; i++) {
        const at = out * strides.out + (part + i) * strides.in
        fromBias += data[at]! * b[i]!
        data[at] = data[at]! * w[i]!
        sum += data[at]!
      }
      const mean = sum / length
      for (let i = 0; i < length; i++) data[out * strides.out + (part + i) * strides.in]! -= mean
    }
    biasData[out]! += fromBias
  }
}

/** The norm keeps its place with weights that do nothing. */
function forget(weights: Weights, norm: string): void {
  weights[`${norm}.w`]!.data.fill(1)
  weights[`${norm}.b`]!.data.fill(0)
}

// --- centre-writing-weights

function centreWritingWeights(config: TowerConfig, weights: Weights): void {
  centreRows(weights['pos_embed.W_pos']!, config.dModel)
  for (const block of blocks(config)) {
    centreWriter(weights, `${block}.attn.W_O`, { bias: `${block}.attn.b_O`, layerScale: `${block}.ls1` })
    if (config.dMlp !== undefined) centreWriter(weights, `${block}.mlp.W_out`, { bias: `${block}.mlp.b_out`, layerScale: `${block}.ls2` })
  }
}

/** The outputs of a layer lose their mean: each column of W, and the bias. */
function centreWriter(weights: Weights, name: string, { bias, layerScale }: { bias: string; layerScale: string }): void {
  const { data, dIn, dOut, strides } = matrix(weights, name)
  const scale = weights[layerScale]?.data
  const biasTensor = weights[bias]
  for (let out = 0; scale && out < dOut; out++) {
    for (let i = 0; i < dIn; i++) data[out * strides.out + i * strides.in]! *= scale[out]!
    if (biasTensor) biasTensor.data[out]! *= scale[out]!
  }
  scale?.fill(1)
  for (let i = 0; i < dIn; i++) {
    let sum = 0
    for (let out = 0; out < dOut; out++) sum += data[out * strides.out + i * strides.in]!
    for (let out = 0; out < dOut; out++) data[out * strides.out + i * strides.in]! -= sum / dOut
  }
  if (biasTensor) centreRows(biasTensor, dOut)
}

function centreRows({ data }: Tensor<'float32'>, length: number): void {
  for (let row = 0; row < data.length; row += length) {
    const values = data.subarray(row, row + length)
    const mean = values.reduce((sum, value) => sum + value, 0) / length
    for (let i = 0; i < length; i++) values[i]! -= mean
  }
}

// --- fold-value-biases

function foldValueBiases(config: TowerConfig, weights: Weights): void {
  if (!config.biases.qkv) return
  for (const block of blocks(config)) {
    const { data, dIn, dOut, strides } = matrix(weights, `${block}.attn.W_O`)
    const valueBias = weights[`${block}.attn.b_V`]!.data
    const outBias = weights[`${block}.attn.b_O`]!.data
    for (let out = 0; out < dOut; out++) {
      let sum = 0
      for (let i = 0; i < dIn; i++) sum += data[out * strides.out + i * strides.in]! * valueBias[i]!
      outBias[out]! += sum
    }
    valueBias.fill(0)
  }
}

function matrix(weights: Weights, name: string) {
  const { data, shape } = weights[name]!
  const size = weightSize(shape)
  return { data, ...size, strides: weightStrides(size) }
}
