/** What makes latents sparse, each a mean over tokens, before its coefficient. */

import type { GraphBuilder } from '../../graph/builder.js'
import { add, literal, meanOfAll, multiply, normOver, scaleBy, sumOver } from '../../graph/expressions.js'

/** Norms of the decoder's rows, `[dSae]`. */
export const decoderNorms = (b: GraphBuilder, W_dec: string) => normOver(b, W_dec, 1, 0)

/**
 * The p-norm of each token's latents, which are not negative. Its gradient is zero where a latent is, as PyTorch's.
 * @param latents  `[batch, dSae]`
 */
export function lpNorm(b: GraphBuilder, latents: string, p: number): string {
  if (p === 1) return meanOfAll(b, sumOver(b, latents, 1))
  if (p === 2) return meanOfAll(b, normOver(b, latents, 1))
  const power = (x: string, exponent: number) => {
    const isPositive = b.op('Greater', [x, literal(b, 0)])
    const safe = b.op('Where', [isPositive, x, literal(b, 1)])
    return b.op('Where', [isPositive, b.op('Pow', [safe, literal(b, exponent)]), literal(b, 0)])
  }
  return meanOfAll(b, power(sumOver(b, power(latents, p), 1), 1 / p))
}

/** tanh of the scaled latents, summed over them. */
export function tanhSum(b: GraphBuilder, latents: string, { norms, scale }: { norms: string; scale: number }): string {
  return meanOfAll(b, sumOver(b, b.op('Tanh', [multiply(b, scaleBy(b, latents, scale), norms)]), 1))
}

/** Sum of terms, of those that are there. */
export function total(b: GraphBuilder, terms: readonly (string | undefined)[]): string {
  return terms.filter((term) => term !== undefined).reduce((sum, term) => add(b, sum, term))
}
