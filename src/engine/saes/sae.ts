/**
 * What a sparse autoencoder is, as plain data: its shape, where it reads and writes, and how it encodes and decodes. Everything that the
 * graph pieces are built from is here; the weights are not.
 *
 *   x -> N(x) - b_dec -> latents -> reconstruction, with N undone
 *
 * A transcoder reads one hook point and predicts another.
 */

import { EngineError, type Problem } from '../errors.js'

/** How latents are made of pre-activations; one file each in `architectures/`. */
export type Architecture = 'standard' | 'topk' | 'batch-topk' | 'gated' | 'jumprelu' | 'matryoshka'

/**
 * `topk` keeps the k largest pre-activations of a token and their positive part, so that fewer than k can be active; `batch-topk` keeps the
 * k largest per token on average over a training batch, and what is above a learned threshold afterwards.
 */
export type SaeActivation = 'relu' | 'tanh-relu' | 'topk' | 'batch-topk'

/**
 * Of the input, undone after decoding. `layer_norm`: mean 0 and sample standard deviation 1 over the features of a token.
 * `constant_norm_rescale`: norm sqrt(dIn). `expected_average_only_in`: one factor for all tokens, the parameter `input_scale`, which is
 * folded into the weights when they are written.
 */
export type InputNormalization = 'none' | 'layer_norm' | 'constant_norm_rescale' | 'expected_average_only_in'

export interface SaeConfig {
  readonly architecture: Architecture
  readonly activation: SaeActivation
  /** Of `topk` and `batch-topk`. */
  readonly k?: number
  /** Of `matryoshka`: how many latents each prefix has, ascending; the last is dSae. */
  readonly widths?: readonly number[]
  readonly dIn: number
  /** dIn, but for a transcoder. */
  readonly dOut: number
  readonly dSae: number
  readonly normalization: InputNormalization
  /** Whether the decoder's bias is taken from the normalised input before it is encoded. */
  readonly subtractsDecoderBias: boolean
  /** The hook point that is read, and written unless this is a transcoder. */
  readonly hookPoint: string
  /** Of a hook point with a `head` axis: the one head that is read. */
  readonly headIndex?: number
  /** The `head` axis of the hook point is flattened into the last: dIn = heads x dHead. */
  readonly flattensHeads?: boolean
  readonly transcoder?: TranscoderConfig
}

export interface TranscoderConfig {
  /** The hook point that is predicted. */
  readonly hookPointOut: string
  /**
   * What is added to the decoded latents: nothing, x W_skip', or x (I + W_skip'), of the input as it came. ViT-Prisma has had both
   * formulas.
   */
  readonly skip: 'none' | 'linear' | 'linear-and-identity'
  /** Whether the output goes through the inverse of the input's normalisation (ViT-Prisma), or is predicted as it is (SAELens). */
  readonly denormalizes: boolean
}

const activationsOf: Readonly<Record<Architecture, readonly SaeActivation[]>> = {
  standard: ['relu', 'tanh-relu'],
  topk: ['topk'],
  'batch-topk': ['batch-topk'],
  gated: ['relu', 'tanh-relu', 'topk'],
  jumprelu: ['relu'],
  matryoshka: ['relu', 'topk', 'batch-topk'],
}

export const architectures = Object.keys(activationsOf) as readonly Architecture[]

export const inputNormalizations: readonly InputNormalization[] = [
  'none',
  'layer_norm',
  'constant_norm_rescale',
  'expected_average_only_in',
]

/** Far above any published SAE. */
const MAX_WIDTH = 2 ** 24

export function isTopK({ activation }: SaeConfig): boolean {
  return activation === 'topk' || activation === 'batch-topk'
}

/** @throws INPUT_INVALID with everything that does not fit together */
export function checkSaeConfig(config: SaeConfig, path = 'sae'): void {
  const problems = [...configProblems(config)].map(({ path: field, message }) => ({ path: `${path}.${field}`, message }))
  const [first] = problems
  if (first) throw new EngineError('INPUT_INVALID', { path: first.path, problem: `${first.message}.` }, problems)
}

/** What is wrong with a configuration, in the order of its fields. */
export function configProblems(config: SaeConfig): Problem[] {
  const problems: Problem[] = []
  const complain = (path: string, message: string) => problems.push({ path, message })
  const allowed = Object.hasOwn(activationsOf, config.architecture) ? activationsOf[config.architecture] : undefined
  if (!allowed) complain('architecture', `"${config.architecture}" is not one of ${architectures.join(', ')}`)
  else if (!allowed.includes(config.activation)) {
    complain('activation', `${config.architecture} has ${allowed.join(' or ')}, not "${config.activation}"`)
  }
  for (const axis of ['dIn', 'dOut', 'dSae'] as const) {
    if (!isCount(config[axis], MAX_WIDTH)) complain(axis, `is ${config[axis]}; expected a whole number from 1 to ${MAX_WIDTH}`)
  }
  if (isTopK(config)) {
    const isWhole = config.activation !== 'topk' || Number.isInteger(config.k)
    if (config.k === undefined) complain('k', `is missing; ${config.activation} needs it`)
    else if (!isWhole || !(config.k > 0 && config.k <= config.dSae)) {
      complain('k', `is ${config.k}; expected a ${isWhole ? '' : 'whole '}number above 0 and at most dSae (${config.dSae})`)
    }
  } else if (config.k !== undefined) complain('k', `belongs to topk and batch-topk, not to ${config.activation}`)
  for (const message of widthProblems(config)) complain('widths', message)
  if (!inputNormalizations.includes(config.normalization)) complain('normalization', `is not one of ${inputNormalizations.join(', ')}`)
  if (config.hookPoint === '') complain('hookPoint', 'is empty')
  if (config.headIndex !== undefined && config.flattensHeads) complain('headIndex', 'one head or all of them, not both')
  for (const [field, message] of transcoderProblems(config)) complain(field, message)
  return problems
}

function* widthProblems({ architecture, widths, dSae }: SaeConfig): Generator<string> {
  if (architecture !== 'matryoshka') {
    if (widths !== undefined) yield `belong to matryoshka, not to ${architecture}`
    return
  }
  if (!widths || widths.length === 0) yield 'are missing; matryoshka needs them'
  else {
    const isAscending = widths.every((width, at) => isCount(width, MAX_WIDTH) && width > (widths[at - 1] ?? 0))
    if (!isAscending) yield `are [${widths.join(', ')}]; expected whole numbers, each above the one before`
    if (widths.at(-1) !== dSae) yield `end at ${widths.at(-1)}; the last is dSae (${dSae})`
  }
}

function* transcoderProblems({ transcoder, dIn, dOut, subtractsDecoderBias }: SaeConfig): Generator<[string, string]> {
  if (!transcoder) {
    if (dOut !== dIn) yield ['dOut', `is ${dOut}, and dIn ${dIn}; only a transcoder may have two widths`]
    return
  }
  if (transcoder.hookPointOut === '') yield ['transcoder.hookPointOut', 'is empty']
  if (transcoder.skip === 'linear-and-identity' && dOut !== dIn) {
    yield ['transcoder.skip', `passes the input on, which needs dOut (${dOut}) to be dIn (${dIn})`]
  }
  if (typeof subtractsDecoderBias !== 'boolean') yield ['subtractsDecoderBias', 'is missing']
}

const isCount = (value: unknown, max: number) => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= max

/**
 * The parameters and their shapes, with the literature's names: `W_enc` [dIn, dSae], `W_dec` [dSae, dOut], in the order in which SAE
 * libraries list them.
 */
export function saeParameters(config: SaeConfig): Readonly<Record<string, readonly number[]>> {
  const { dIn, dOut, dSae, architecture, transcoder, normalization } = config
  const isGated = architecture === 'gated'
  return {
    ...(transcoder && transcoder.skip !== 'none' && { W_skip: [dOut, dIn] }),
    W_dec: [dSae, dOut],
    W_enc: [dIn, dSae],
    ...(isGated ? { b_gate: [dSae], r_mag: [dSae], b_mag: [dSae] } : { b_enc: [dSae] }),
    ...(architecture === 'jumprelu' && { threshold: [dSae] }),
    ...(config.activation === 'batch-topk' && { topk_threshold: [] }),
    ...((!transcoder || config.subtractsDecoderBias) && { b_dec: [transcoder ? dIn : dOut] }),
    ...(transcoder && { b_dec_out: [dOut] }),
    ...(normalization === 'expected_average_only_in' && { input_scale: [] }),
  }
}
