/** The linear part of an encoder. */

import type { GraphBuilder } from '../../graph/builder.js'
import { wholes } from '../../graph/expressions.js'
import type { SaeConfig } from '../sae.js'
import type { SaeSite } from './architecture.js'

/** Axes of pre-activations and latents. */
export const latentAxes = ({ axes }: SaeSite) => [...axes.slice(0, -1), 'dSae'] as const

/** x W + c over the last axis: one product where x is a matrix, and so in training. */
export function affine(b: GraphBuilder, x: string, { weight, bias, site }: { weight: string; bias: string; site: SaeSite }): string {
  return site.axes.length === 2 ? b.op('Gemm', [x, weight, bias]) : b.op('Add', [b.op('MatMul', [x, weight]), bias])
}

/** saeIn W + bias, of an encoder. */
export function encoderAffine(b: GraphBuilder, saeIn: string, weight: string, bias: string, site: SaeSite): string {
  return affine(b, saeIn, { weight, bias: site.shift ? b.op('Add', [bias, site.shift.makeUp(weight)]) : bias, site })
}

/**
 * A parameter of the encoder, whose last axis is the latents: of those that the site chooses, `[batch, dIn, n]` or `[batch, 1, n]`, where it
 * chooses.
 */
export function latentParameter(b: GraphBuilder, name: string, shape: readonly number[], { prefix, chosen }: SaeSite): string {
  const whole = b.parameter(`${prefix}${name}`, shape)
  if (chosen === undefined) return whole
  const ofLatents = b.op('Gather', [whole, chosen], { axis: shape.length - 1 })
  return shape.length === 1 ? b.op('Unsqueeze', [ofLatents, wholes(b, [1])]) : b.op('Transpose', [ofLatents], { perm: [1, 0, 2] })
}

/** `hook_hidden_pre`: saeIn W_enc + b_enc. */
export function hiddenPre(b: GraphBuilder, saeIn: string, { dIn, dSae }: SaeConfig, site: SaeSite): string {
  const weight = latentParameter(b, 'W_enc', [dIn, dSae], site)
  const bias = latentParameter(b, 'b_enc', [dSae], site)
  return b.hook(hookName(site, 'hook_hidden_pre'), latentAxes(site), encoderAffine(b, saeIn, weight, bias, site))
}

export const hookName = ({ prefix, hooks = prefix }: SaeSite, name: string) => `${hooks}${name}`
