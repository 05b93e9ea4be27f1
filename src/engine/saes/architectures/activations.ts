/** The activation functions of latents. */

import type { GraphBuilder } from '../../graph/builder.js'
import { above, multiply } from '../expressions.js'
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
