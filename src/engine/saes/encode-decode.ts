/**
 * Encoding and decoding as pieces of a graph, wherever an SAE stands: alone, in a training step, or spliced into a model. Hook points, in
 * firing order: `hook_sae_in`, `hook_hidden_pre`, `hook_hidden_post` (the latents), `hook_sae_out` (before the normalisation is undone,
 * and before a transcoder's skip).
 */

import type { GraphBuilder } from '../graph/builder.js'
import { add, multiply, subtract } from '../graph/expressions.js'
import type { Latents, MakeLatents, SaeSite } from './architectures/architecture.js'
import { gatedLatents } from './architectures/gated.js'
import { jumpReluLatents } from './architectures/jumprelu.js'
import { affine, hookName, latentAxes } from './architectures/pre-activations.js'
import { standardLatents } from './architectures/standard.js'
import { denormalize, type NormalizedInput, normalizeInput } from './normalization.js'
import type { Architecture, SaeConfig } from './sae.js'

export type { SaeSite } from './architectures/architecture.js'

const latentsOf: Readonly<Record<Architecture, MakeLatents>> = {
  standard: standardLatents,
  topk: standardLatents,
  'batch-topk': standardLatents,
  gated: gatedLatents,
  jumprelu: jumpReluLatents,
  matryoshka: standardLatents,
}

export interface EncoderInput {
  /** As it came. */
  readonly x: string
  readonly normalized: NormalizedInput
  /** `hook_sae_in`: normalised, the decoder's bias taken away. */
  readonly saeIn: string
}

export interface Encoded extends EncoderInput, Latents {}

/** Normalises the input and takes the decoder's bias from it. */
export function encoderInput(b: GraphBuilder, x: string, config: SaeConfig, site: SaeSite): EncoderInput {
  const { prefix, axes, shift } = site
  const normalized = normalizeInput(b, x, config, `${prefix}input_scale`)
  const shifted = config.subtractsDecoderBias
    ? subtract(b, normalized.value, shift?.value ?? b.parameter(`${prefix}b_dec`, [config.dIn]))
    : normalized.value
  // An input of the graph, or a hook point of a model, is not this one.
  const own = shifted === x ? b.op('Identity', [x]) : shifted
  return { x, normalized, saeIn: b.hook(hookName(site, 'hook_sae_in'), axes, own) }
}

/**
 * The latents of an input, by themselves: for an encoder that is written in pieces, each with some of the latents, a prefix of its own and a
 * configuration as wide as they are many. Not for `topk`, whose latents depend on one another.
 */
export function latentsOfInput(b: GraphBuilder, { saeIn }: EncoderInput, config: SaeConfig, site: SaeSite): Latents {
  return latentsOf[config.architecture](b, saeIn, config, site)
}

/** @param x  `[..., dIn]`, its axes those of the site */
export function encode(b: GraphBuilder, x: string, config: SaeConfig, site: SaeSite): Encoded {
  const input = encoderInput(b, x, config, site)
  const latents = latentsOfInput(b, input, config, site)
  return { ...input, ...latents, latentActs: b.hook(hookName(site, 'hook_hidden_post'), latentAxes(site), latents.latentActs) }
}

/**
 * The reconstruction of what was encoded, `[..., dOut]`.
 * @param latentActs  those of `from`, or others in their place
 * @param from        what `encode` made: the normalisation is undone with the input's statistics, and a skip reads the input
 */
export function decode(b: GraphBuilder, latentActs: string, from: EncoderInput, config: SaeConfig, site: SaeSite): string {
  const weight = b.parameter(`${site.prefix}W_dec`, [config.dSae, config.dOut])
  const product = affine(b, latentActs, { weight, bias: outputBias(b, config, site), site })
  const out = b.hook(hookName(site, 'hook_sae_out'), site.axes, product)
  return finish(b, out, from, config, site)
}

/**
 * How the reconstruction changes when some latents do, `[batch, pos, dOut]`: decode(z + change) - decode(z), of which only the rows of
 * those latents are needed, because decoding is linear.
 *
 * @param change  `[batch, pos, n]`; an axis `pos` of length 1 stands for every token
 * @param from    what `encoderInput` made of the tokens
 * @param chosen  int64 `[batch, n]`
 */
export function decodeChange(
  b: GraphBuilder,
  change: string,
  { from, chosen }: { readonly from: EncoderInput; readonly chosen: string },
  { transcoder, dSae, dOut }: SaeConfig,
  { prefix }: SaeSite,
): string {
  const rows = b.op('Gather', [b.parameter(`${prefix}W_dec`, [dSae, dOut]), chosen], { axis: 0 })
  const changed = b.op('MatMul', [change, rows])
  const { scale } = from.normalized
  const isUndone = scale !== undefined && (transcoder === undefined || transcoder.denormalizes)
  return isUndone ? multiply(b, changed, scale) : changed
}

/** What is added after the decoder: `b_dec`, and of a transcoder a bias of its own. */
export function outputBias(b: GraphBuilder, { transcoder, dOut }: SaeConfig, { prefix }: SaeSite): string {
  return b.parameter(`${prefix}${transcoder ? 'b_dec_out' : 'b_dec'}`, [dOut])
}

/** From the decoder's output to the reconstruction: the skip, and the normalisation undone. */
export function finish(b: GraphBuilder, out: string, { x, normalized }: EncoderInput, config: SaeConfig, site: SaeSite): string {
  const { transcoder } = config
  if (!transcoder) return denormalize(b, out, normalized)
  const passed = skip(b, x, config, site)
  const y = passed === undefined ? out : add(b, out, passed)
  return transcoder.denormalizes ? denormalize(b, y, normalized) : y
}

/** What a transcoder adds to its decoded latents; undefined where it adds nothing. @param x  the input as it came, not normalised */
export function skip(b: GraphBuilder, x: string, { transcoder, dIn, dOut }: SaeConfig, { prefix }: SaeSite): string | undefined {
  if (!transcoder || transcoder.skip === 'none') return undefined
  const linear = b.op('MatMul', [x, b.op('Transpose', [b.parameter(`${prefix}W_skip`, [dOut, dIn])], { perm: [1, 0] })])
  return transcoder.skip === 'linear' ? linear : add(b, linear, x)
}
