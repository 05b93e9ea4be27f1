/** Random SAEs of every architecture for the tiny towers, and their formulas in plain arithmetic. */

import type { EditingSae } from '../../../src/engine/interventions/technique.js'
import { createRandom } from '../../../src/engine/random.js'
import { type SaeConfig, saeParameters } from '../../../src/engine/saes/sae.js'
import { elementCount, float32, type Tensor } from '../../../src/engine/tensor.js'

export const saeConfig: SaeConfig = {
  architecture: 'standard',
  activation: 'relu',
  dIn: 8,
  dOut: 8,
  dSae: 24,
  normalization: 'none',
  subtractsDecoderBias: true,
  hookPoint: 'blocks.0.hook_resid_post',
}

const transcoder: NonNullable<SaeConfig['transcoder']> = { hookPointOut: 'blocks.0.hook_mlp_out', skip: 'none', denormalizes: true }
const reads = { hookPoint: 'blocks.0.ln2.hook_normalized' }

export const saeConfigs: Readonly<Record<string, SaeConfig>> = {
  standard: saeConfig,
  'standard, layer_norm': { ...saeConfig, normalization: 'layer_norm' },
  'standard, constant norm': { ...saeConfig, normalization: 'constant_norm_rescale' },
  'standard, one factor': { ...saeConfig, normalization: 'expected_average_only_in' },
  tanh: { ...saeConfig, activation: 'tanh-relu' },
  topk: { ...saeConfig, architecture: 'topk', activation: 'topk', k: 5 },
  'topk, layer_norm': { ...saeConfig, architecture: 'topk', activation: 'topk', k: 5, normalization: 'layer_norm' },
  'batch-topk': { ...saeConfig, architecture: 'batch-topk', activation: 'batch-topk', k: 5 },
  gated: { ...saeConfig, architecture: 'gated' },
  'gated topk': { ...saeConfig, architecture: 'gated', activation: 'topk', k: 6 },
  jumprelu: { ...saeConfig, architecture: 'jumprelu' },
  matryoshka: { ...saeConfig, architecture: 'matryoshka', widths: [6, 24] },
  transcoder: { ...saeConfig, ...reads, transcoder },
  'transcoder, layer_norm': { ...saeConfig, ...reads, normalization: 'layer_norm', transcoder },
  'transcoder with skip': {
    ...saeConfig,
    ...reads,
    normalization: 'layer_norm',
    transcoder: { ...transcoder, skip: 'linear', denormalizes: false },
  },
  'of one head': { ...saeConfig, dIn: 4, dOut: 4, hookPoint: 'blocks.0.attn.hook_z', headIndex: 1 },
  'of all heads': { ...saeConfig, hookPoint: 'blocks.0.attn.hook_z', flattensHeads: true },
}

export interface TinySae extends EditingSae {
  /** By their own names. */
  readonly own: Readonly<Record<string, Tensor<'float32'>>>
  /** By the names that the graph knows them by. */
  readonly weights: Readonly<Record<string, Tensor<'float32'>>>
}

export function tinySae(config: SaeConfig, index = 0): TinySae {
  const prefix = `saes[${index}].`
  const own = Object.fromEntries(
    Object.entries(saeParameters(config)).map(([name, shape]) => [name, randomTensor(`${index} ${name}`, shape)]),
  )
  const weights = Object.fromEntries(Object.entries(own).map(([name, weight]) => [`${prefix}${name}`, weight]))
  return { config, prefix, name: `tiny ${index}`, own, weights }
}

/** Thresholds and scales are above 0; the other numbers are of either sign. */
function randomTensor(name: string, shape: readonly number[]): Tensor<'float32'> {
  const random = createRandom(5).fork(name)
  const isPositive = /threshold|input_scale/.test(name)
  const draw = () => (isPositive ? 0.1 + 0.4 * random.uniform() : 0.5 * random.normal())
  return float32(shape, Array.from({ length: elementCount(shape) }, draw))
}
