/** The activation functions of latents. */

import type { GraphBuilder } from '../../graph/builder.js'
import { above, multiply } from '../../graph/expressions.js'
import type { SaeConfig } from '../sae.js'
import { keepTopK, keepTopKOfBatch } from '../top-k.js'
import type { SaeSite } from './architecture.js'

export function activateLatents(b: GraphBuilder, pre: string, config: SaeConfig, site: SaeSite): string {
  const { activation } = config
  switch (activation) {
    case 'relu':
      return b.op('Relu', [pre])
    case 'tanh-relu':
      return b.op('Tanh', [b.op('Relu', [pre])])
    case 'topk':
      return keepTopK(b, pre, config.k!)
    case 'batch-topk':
      return site.batch === undefined
        ? keepAbove(b, pre, b.parameter(`${site.prefix}topk_threshold`, []))
        : keepTopKOfBatch(b, pre, { k: config.k!, batch: site.batch, dSae: config.dSae })
    default:
      return activation satisfies never
  }
}

/** The positive part of what is above a threshold. */
export function keepAbove(b: GraphBuilder, pre: string, threshold: string): string {
  return multiply(b, b.op('Relu', [pre]), above(b, pre, threshold))
}

/**
 * Whether, of two latents of one token, the one with the larger pre-activation is never the less active one. Not so of gated SAEs and of
 * thresholds of each latent's own; and of the tanh, which makes equals of large ones, the first of equals would not come first.
 */
export function activatesInOrder({ architecture, activation }: SaeConfig): boolean {
  return architecture !== 'gated' && architecture !== 'jumprelu' && activation !== 'tanh-relu'
}

/** The activations of chosen pre-activations, which of `topk` are among the k largest; where `activatesInOrder`. */
export function activateValues(b: GraphBuilder, pre: string, { activation }: SaeConfig, site: SaeSite): string {
  const isAbove = activation === 'batch-topk'
  return isAbove ? keepAbove(b, pre, b.parameter(`${site.prefix}topk_threshold`, [])) : b.op('Relu', [pre])
}
