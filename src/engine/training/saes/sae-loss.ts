/**
 * The loss of an SAE as a graph: encode, decode, the terms that its options ask for, and what is reported of the batch.
 */

import { GraphBuilder } from '../../graph/builder.js'
import { add, asFloat, divide, literal, meanOfAll, multiply, scaleBy, square, subtract, sumOver, wholes } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import { hiddenPre } from '../../saes/architectures/pre-activations.js'
import { decode, type Encoded, encode, encoderInput, finish, outputBias, type SaeSite } from '../../saes/encode-decode.js'
import { checkSaeConfig, type SaeConfig, saeParameters } from '../../saes/sae.js'
import { keepTopK } from '../../saes/top-k.js'
import { auxKLoss, ghostLoss } from './dead-latent-losses.js'
import { Detached } from './detached.js'
import { checkLossOptions, type SaeLossOptions } from './loss-options.js'
import { errorByElement, reconstructionLoss, type Target, targetOf } from './reconstruction-loss.js'
import { decoderNorms, lpNorm, tanhSum, total } from './sparsity-loss.js'
import { jumpRelu, step } from './straight-through.js'

export interface SaeLossSetting {
  readonly config: SaeConfig
  readonly options: SaeLossOptions
  /** Tokens in a batch. `batch-topk` needs to know it when the graph is built; others take any number where it is absent. */
  readonly batch?: number
  /** Whether there are dead latents. Without them the terms that bring them back are left out, and cost nothing. Default false. */
  readonly withDead?: boolean
  /** How much of a new batch goes into the running threshold of `batch-topk`. Default 0.01. */
  readonly thresholdRate?: number
}

/**
 * Inputs: `x` `[batch, dIn]`; `y` `[batch, dOut]`, a transcoder's target; `sparsityCoefficient` where there is a sparsity loss; `deadLatents`
 * `[dSae]` of zeros and ones, with `withDead`.
 *
 * Outputs: `loss`; its terms `loss/reconstruction`, `loss/sparsity` (before its coefficient), `loss/gate`, `loss/ghost`, `loss/auxK` (both
 * with their coefficients), as there are; `explainedVariance`, 1 - sum of squared errors over sum of squared deviations from the batch mean;
 * `explainedVariancePerToken`, the mean of that ratio by token (ViT-Prisma's); `latentCounts` `[dSae]`, in how many tokens each latent was
 * active.
 */
export interface SaeLoss {
  readonly graph: Graph
  readonly loss: 'loss'
  readonly trainable: readonly string[]
  /** For `differentiate`, and a training step. */
  readonly stopAt: readonly string[]
  /** Parameters that the graph makes anew: the running threshold. */
  readonly carried: Readonly<Record<string, string>>
}

/** @throws INPUT_INVALID */
export function saeLoss(setting: SaeLossSetting): SaeLoss {
  const { config, options, withDead = false } = setting
  checkSaeConfig(config)
  checkLossOptions(options, config)
  const b = new GraphBuilder('sae loss')
  const detached = new Detached()
  const rows = setting.batch ?? 'batch'
  const x = b.input('x', 'float32', [rows, config.dIn])
  const y = config.transcoder ? b.input('y', 'float32', [rows, config.dOut]) : x
  const site: SaeSite = {
    prefix: '',
    axes: ['batch', 'dModel'],
    ...(setting.batch !== undefined && { batch: setting.batch }),
    ...(config.subtractsDecoderBias && { shift: shiftBy(b, config, detached) }),
  }
  const encoded = encodeForTraining(b, x, { config, options, site, detached })
  const target = targetOf(b, y)
  const reconstruction = decode(b, encoded.latentActs, encoded, config, site)
  const byElement = errorByElement(b, reconstruction, target, options.reconstruction)
  const pass: Pass = { b, setting, site, encoded, target, reconstruction, byElement, detached }

  const terms = { reconstruction: reconstructionTerm(pass), ...sparsityTerm(pass), ...gateTerm(pass), ...(withDead && deadTerms(pass)) }
  const named = Object.entries(terms).map(([name, value]) => [name, b.named(`loss/${name}`, value)] as const)
  const weighted = named.map(([name, value]) =>
    name === 'sparsity' ? multiply(b, value, b.input('sparsityCoefficient', 'float32', [])) : value,
  )
  const outputs = [b.named('loss', total(b, weighted)), ...named.map(([, value]) => value)]
  outputs.push(...metrics(pass))
  const carried = config.activation === 'batch-topk' ? { topk_threshold: nextThreshold(pass) } : {}
  const fixed = ['topk_threshold', 'input_scale']
  return {
    graph: b.build([...outputs, ...Object.values(carried)]),
    loss: 'loss',
    trainable: Object.keys(saeParameters(config)).filter((name) => !fixed.includes(name)),
    stopAt: detached.values,
    carried,
  }
}

/**
 * The encoder's input without the gradient of `b_dec`, which would take a product with all of the batch and be summed over it; in its place a
 * vector that is zero, and has the gradient, goes through the weights.
 */
function shiftBy(b: GraphBuilder, { dIn }: SaeConfig, detached: Detached): NonNullable<SaeSite['shift']> {
  const bias = b.parameter('b_dec', [dIn])
  const value = detached.copy(b, bias)
  const zero = subtract(b, value, bias)
  return { value, makeUp: (weight) => b.op('MatMul', [zero, detached.copy(b, weight)]) }
}

interface Pass {
  readonly b: GraphBuilder
  readonly setting: SaeLossSetting
  readonly site: SaeSite
  readonly encoded: Encoded
  readonly target: Target
  readonly reconstruction: string
  readonly byElement: string
  readonly detached: Detached
}

/** As `encode`, but for what has another gradient, or another selection, in training. */
function encodeForTraining(
  b: GraphBuilder,
  x: string,
  { config, options, site, detached }: { config: SaeConfig; options: SaeLossOptions; site: SaeSite; detached: Detached },
): Encoded {
  const { sparsity } = options
  if (config.architecture !== 'jumprelu' || sparsity === undefined || sparsity.kind === 'lp') return encode(b, x, config, site)
  const input = encoderInput(b, x, config, site)
  const pre = hiddenPre(b, input.saeIn, config, site)
  const threshold = b.parameter('threshold', [config.dSae])
  return {
    ...input,
    pre,
    latentActs: b.hook('hook_hidden_post', ['batch', 'dSae'], jumpRelu(b, { pre, threshold, ...sparsity }, detached)),
  }
}

/** Of the whole SAE, and of a Matryoshka SAE the sum with those of its prefixes. */
function reconstructionTerm(pass: Pass): string {
  const { b, setting, byElement } = pass
  const kind = setting.options.reconstruction
  const whole = reconstructionLoss(b, byElement, kind)
  const ofPrefixes = prefixReconstructions(pass).map((prefix) => reconstructionLoss(b, errorByElement(b, prefix, pass.target, kind), kind))
  return total(b, [whole, ...ofPrefixes])
}

/** What each prefix but the last makes of its own latents: the decoder's bias and the parts so far, added up. */
function prefixReconstructions({ b, setting: { config }, site, encoded }: Pass): string[] {
  const { widths } = config
  if (config.architecture !== 'matryoshka' || !widths || widths.length < 2) return []
  const parts = widths.map((width, at) => width - (widths[at - 1] ?? 0))
  const split = (value: string, axis: number) =>
    b.opMany('Split', [value, wholes(b, parts)], { nOutputs: parts.length, attributes: { axis } })
  const latents = split(encoded.latentActs, 1)
  const rows = split('W_dec', 0)
  let sum = outputBias(b, config, site)
  return parts.slice(0, -1).map((_, at) => {
    sum = add(b, b.op('MatMul', [latents[at]!, rows[at]!]), sum)
    return finish(b, sum, encoded, config, site)
  })
}

function sparsityTerm({ b, setting: { config, options }, encoded, detached }: Pass): { sparsity?: string } {
  const { sparsity } = options
  if (!sparsity) return {}
  const norms = () => decoderNorms(b, 'W_dec')
  if (sparsity.kind === 'lp') {
    if (config.architecture === 'gated') return { sparsity: lpNorm(b, multiply(b, b.op('Relu', [encoded.gatePre!]), norms()), sparsity.p) }
    return {
      sparsity: lpNorm(b, sparsity.weightedByDecoderNorm ? multiply(b, encoded.latentActs, norms()) : encoded.latentActs, sparsity.p),
    }
  }
  if (sparsity.kind === 'tanh') return { sparsity: tanhSum(b, encoded.latentActs, { norms: norms(), scale: sparsity.scale }) }
  const active = step(b, { pre: encoded.pre, threshold: 'threshold', ...sparsity }, detached)
  return { sparsity: meanOfAll(b, sumOver(b, active, 1)) }
}

/** A gated SAE's gate, by itself, reconstructs its input. */
function gateTerm({ b, setting: { config, options }, encoded, site }: Pass): { gate?: string } {
  if (encoded.gatePre === undefined) return {}
  const gated = config.activation === 'topk' ? keepTopK(b, encoded.gatePre, config.k!) : b.op('Relu', [encoded.gatePre])
  const viaGate = b.op('Gemm', [gated, 'W_dec', outputBias(b, config, site)])
  const target = config.transcoder
    ? b.input('y', 'float32', [site.batch ?? 'batch', config.dOut])
    : options.gateTarget === 'encoder-input'
      ? subtract(b, encoded.normalized.value, 'b_dec')
      : encoded.normalized.value
  return { gate: meanOfAll(b, sumOver(b, square(b, subtract(b, viaGate, target)), 1)) }
}

function deadTerms({ b, setting: { config, options }, encoded, target, reconstruction, byElement, detached }: Pass) {
  const { ghostGradients, auxK } = options
  const dead = () => ({ mask: b.input('deadLatents', 'float32', [config.dSae]), pre: encoded.pre, W_dec: 'W_dec' })
  const terms: { ghost?: string; auxK?: string } = {}
  if (ghostGradients) terms.ghost = ghostLoss(b, dead(), { target: target.value, reconstruction, lossByElement: byElement }, detached)
  if (auxK) {
    // Where the decoder's output is scaled afterwards, the residual is taken before.
    const scale = config.transcoder && !config.transcoder.denormalizes ? undefined : encoded.normalized.scale
    const difference = subtract(b, target.value, reconstruction)
    const residual = detached.copy(b, scale === undefined ? difference : divide(b, difference, scale))
    const k = Math.min(auxK.k ?? Math.max(1, Math.floor(config.dOut / 2)), config.dSae)
    terms.auxK = scaleBy(b, auxKLoss(b, dead(), { residual, k }), auxK.coefficient)
  }
  return terms
}

function metrics({ b, encoded, target, reconstruction }: Pass): string[] {
  const errors = sumOver(b, square(b, subtract(b, target.value, reconstruction)), 1)
  const deviations = square(b, target.centredNorm)
  const unexplained = (value: string) => subtract(b, literal(b, 1), value)
  const sum = (value: string) => b.op('ReduceSum', [value], { keepdims: 0 })
  const isActive = asFloat(b, b.op('Greater', [encoded.latentActs, literal(b, 0)]))
  return [
    b.named('explainedVariance', unexplained(divide(b, sum(errors), sum(deviations)))),
    b.named('explainedVariancePerToken', unexplained(meanOfAll(b, divide(b, errors, deviations)))),
    b.named('latentCounts', sumOver(b, isActive, 0, 0)),
  ]
}

/** The running mean of the least active latent of each batch, as in SAELens; without an active latent it stays. */
function nextThreshold({ b, setting: { thresholdRate = 0.01 }, encoded }: Pass): string {
  const none = literal(b, 1e30)
  const active = b.op('Where', [b.op('Greater', [encoded.latentActs, literal(b, 0)]), encoded.latentActs, none])
  const least = b.op('ReduceMin', [active], { keepdims: 0 })
  const before = b.parameter('topk_threshold', [])
  const moved = add(b, scaleBy(b, before, 1 - thresholdRate), scaleBy(b, least, thresholdRate))
  return b.named('next/topk_threshold', b.op('Where', [b.op('Less', [least, none]), moved, before]))
}
