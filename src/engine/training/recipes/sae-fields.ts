/** SAEs as a training configuration writes them: one section each. Widths are known when the model is. */

import {
  type Architecture,
  architectures,
  type InputNormalization,
  type SaeActivation,
  type SaeConfig,
  type TranscoderConfig,
} from '../../saes/sae.js'
import type { StrictFields } from '../../strict-fields.js'
import type { HookRead } from '../saes/activation-source.js'
import type { SaeInitialization } from '../saes/initialize.js'
import type { SaeLossOptions, SparsityLoss } from '../saes/loss-options.js'
import type { SaePlan } from '../saes/train-saes.js'
import { readOptimizer } from './run-fields.js'

const normalizations = [
  'none',
  'layer_norm',
  'constant_norm_rescale',
  'expected_average_only_in',
] as const satisfies readonly InputNormalization[]
const width = { min: 1, max: 2 ** 24, integer: true } as const

export interface SaeFields {
  readonly name: string
  /** The input, and of a transcoder the output. */
  readonly reads: readonly HookRead[]
  /** @param widths  of the reads, in their order */
  plan(widths: readonly number[]): SaePlan
}

export function readSae(section: StrictFields): SaeFields {
  const name = section.string('name')
  if (!/^[\w.-]+$/.test(name)) section.problem('name', `"${name}" may have letters, digits, ".", "_" and "-"`)
  const hookPoint = section.string('hookPoint')
  const headIndex = section.has('headIndex') ? section.number('headIndex', { min: 0, max: 4096, integer: true }) : undefined
  const architecture = section.choice('architecture', architectures)
  const activation = readActivation(section, architecture)
  const [hasWidth, hasFactor] = [section.has('dSae'), section.has('expansionFactor')]
  if (hasWidth === hasFactor)
    section.problem('dSae', hasWidth ? 'excludes expansionFactor' : 'is missing; expected dSae or expansionFactor')
  const dSae = hasWidth ? section.number('dSae', width) : undefined
  const expansionFactor = hasFactor ? section.number('expansionFactor', { min: 0.001, max: 4096 }) : 1
  const widths = section.has('widths') ? section.numbers('widths', width) : undefined
  const isTopK = activation === 'topk' || activation === 'batch-topk'
  const k = isTopK || section.has('k') ? section.number('k', { min: 0.001, max: 2 ** 24 }) : undefined
  const transcoder = readTranscoder(section.section('transcoder'))
  const optimizerSection = section.section('optimizer')
  const { optimizer, clipNorm } = readOptimizer(optimizerSection, { kind: 'adam', learningRate: 0, kinds: ['adam', 'adamw'] })
  if (optimizerSection?.has('learningRate')) {
    optimizerSection.problem('learningRate', 'is one for all SAEs, at the top; learningRateFactor makes it another for this one')
  }
  const shared = {
    architecture,
    activation,
    ...(k !== undefined && { k }),
    ...(widths && { widths }),
    normalization: section.choice('normalization', normalizations, 'none'),
    subtractsDecoderBias: section.boolean('subtractsDecoderBias', !transcoder),
    hookPoint,
    ...(headIndex !== undefined && { headIndex }),
    ...(transcoder && { transcoder }),
  }
  const plan = {
    name,
    loss: readLoss(section.section('loss'), { architecture, isTopK }),
    initialization: readInitialization(section.section('initialization')),
    optimizer,
    ...(clipNorm !== undefined && { clipNorm }),
    decoderRows: section.choice('decoderRows', ['unit', 'unit-without-projection', 'free'], 'unit'),
    ...(section.has('sparsityCoefficient') && { sparsityCoefficient: section.number('sparsityCoefficient', { min: 0, max: 1e9 }) }),
    sparsityWarmupSteps: section.number('sparsityWarmupSteps', { min: 0, max: 1e9, integer: true, fallback: 0 }),
    learningRateFactor: section.number('learningRateFactor', { min: 0, max: 1e6, fallback: 1 }),
  }
  if (!isTopK && plan.sparsityCoefficient === undefined)
    section.problem('sparsityCoefficient', `is missing; ${architecture} is sparse by its loss`)
  return {
    name,
    reads: [{ hookPoint, ...(headIndex !== undefined && { headIndex }) }, ...(transcoder ? [{ hookPoint: transcoder.hookPointOut }] : [])],
    plan: ([dIn = 0, dOut = dIn]) => {
      const config: SaeConfig = { ...shared, dIn, dOut, dSae: dSae ?? Math.max(1, Math.round(dIn * expansionFactor)) }
      return { ...plan, config }
    },
  }
}

function readActivation(section: StrictFields, architecture: Architecture): SaeActivation {
  const usual: SaeActivation = architecture === 'topk' || architecture === 'batch-topk' ? architecture : 'relu'
  return section.choice('activation', ['relu', 'tanh-relu', 'topk', 'batch-topk'], architecture === 'matryoshka' ? 'batch-topk' : usual)
}

function readTranscoder(section: StrictFields | undefined): TranscoderConfig | undefined {
  if (section === undefined) return undefined
  return {
    hookPointOut: section.string('hookPointOut'),
    skip: section.choice('skip', ['none', 'linear', 'linear-and-identity'], 'linear'),
    denormalizes: section.boolean('denormalizes', false),
  }
}

function readLoss(
  section: StrictFields | undefined,
  { architecture, isTopK }: { architecture: Architecture; isTopK: boolean },
): SaeLossOptions {
  const sparsity = readSparsity(section?.section('sparsity')) ?? (isTopK ? undefined : usualSparsity(architecture))
  const auxK = section?.section('auxK')
  const given = auxK && {
    coefficient: auxK.number('coefficient', { min: 0, max: 1e6, fallback: 1 / 32 }),
    ...(auxK.has('k') && { k: auxK.number('k', width) }),
  }
  // Without it, most latents of a top-k SAE die (Gao et al. 2024).
  const usual = isTopK && architecture !== 'gated' ? { coefficient: 1 / 32 } : undefined
  const chosen = section?.raw('auxK') === null ? undefined : (given ?? usual)
  return {
    reconstruction: section?.choice('reconstruction', ['mse', 'sum-of-squares', 'mse-over-centred-norm'], 'mse') ?? 'mse',
    ...(sparsity && { sparsity }),
    ...(section?.has('gateTarget') && { gateTarget: section.choice('gateTarget', ['normalized-input', 'encoder-input']) }),
    ...(section?.has('ghostGradients') && { ghostGradients: section.boolean('ghostGradients', false) }),
    ...(chosen && { auxK: chosen }),
  }
}

function usualSparsity(architecture: Architecture): SparsityLoss {
  return architecture === 'jumprelu' ? { kind: 'l0', bandwidth: 0.001, toInput: false } : { kind: 'lp', p: 1, weightedByDecoderNorm: false }
}

function readSparsity(section: StrictFields | undefined): SparsityLoss | undefined {
  if (section === undefined) return undefined
  const estimator = () => ({
    bandwidth: section.number('bandwidth', { min: 1e-9, max: 1e3, fallback: 0.001 }),
    toInput: section.boolean('toInput', false),
  })
  const kind = section.choice('kind', ['lp', 'l0', 'tanh'])
  if (kind === 'l0') return { kind, ...estimator() }
  if (kind === 'tanh') return { kind, scale: section.number('scale', { min: 1e-9, max: 1e6, fallback: 1 }), ...estimator() }
  return {
    kind,
    p: section.number('p', { min: 0.001, max: 16, fallback: 1 }),
    weightedByDecoderNorm: section.boolean('weightedByDecoderNorm', false),
  }
}

function readInitialization(section: StrictFields | undefined): SaeInitialization {
  if (section === undefined) return {}
  const biases = ['geometric-median', 'mean', 'zeros', 'prisma-geometric-median', 'prisma-mean'] as const
  return {
    ...(section.has('encoder') && { encoder: section.choice('encoder', ['decoder-transposed', 'independent']) }),
    ...(section.has('decoderNorm') && { decoderNorm: section.number('decoderNorm', { min: 1e-6, max: 1e6 }) }),
    ...(section.has('decoderBias') && { decoderBias: section.choice('decoderBias', biases) }),
    ...(section.has('threshold') && { threshold: section.number('threshold', { min: 0, max: 1e6 }) }),
  }
}
