/** The linear part of an encoder. */

import type { GraphBuilder } from '../../graph/builder.js'
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

/** `hook_hidden_pre`: saeIn W_enc + b_enc. */
export function hiddenPre(b: GraphBuilder, saeIn: string, { dIn, dSae }: SaeConfig, site: SaeSite): string {
  const weight = b.parameter(`${site.prefix}W_enc`, [dIn, dSae])
  const bias = b.parameter(`${site.prefix}b_enc`, [dSae])
  return b.hook(`${site.prefix}hook_hidden_pre`, latentAxes(site), encoderAffine(b, saeIn, weight, bias, site))
}
