/** Reads vectors of the residual stream as the model reads its last ones: final norm, pooling, head. */

import type { GraphBuilder } from '../../graph/builder.js'
import { reshape } from '../../graph/expressions.js'
import { nPositions } from '../../hook-points.js'
import { unitLength } from '../../models/head.js'
import { normalizeVectors } from '../../models/layer-norm.js'
import { linear } from '../../models/linear.js'
import type { VisionConfig } from '../../models/model.js'
import { pool, pooledWidth } from '../../models/vit.js'

/** Whether the model makes one vector of all its tokens. */
export function poolsTokens({ pooling }: VisionConfig): boolean {
  return pooling !== 'none' && pooling !== 'patches'
}

/**
 * What the model would answer, `[n, nRead, dOut]`: of each token, as if it were the pooled one, and last of the tokens pooled as the model
 * pools them, where it does. A head that takes CLS and the mean of the patches side by side takes a token twice.
 *
 * @param residual  `[n, pos, dModel]`
 */
export function readOut(b: GraphBuilder, residual: string, config: VisionConfig): string {
  const normalized = finalNorm(b, residual, config)
  const tokens = config.pooling === 'clsAndMean' ? b.op('Concat', [normalized, normalized], { axis: -1 }) : normalized
  if (!poolsTokens(config)) return head(b, tokens, config)
  const pooled = config.finalNorm === 'pooled' ? finalNorm(b, pool(b, residual, config), config) : pool(b, normalized, config)
  return head(b, b.op('Concat', [tokens, reshape(b, pooled, [-1, 1, pooledWidth(config)])], { axis: 1 }), config)
}

/** Along `readOut`'s axis 1. */
export function nReadOut(config: VisionConfig): number {
  return nPositions(config) + (poolsTokens(config) ? 1 : 0)
}

function finalNorm(b: GraphBuilder, x: string, config: VisionConfig): string {
  return config.finalNorm === 'none' ? x : normalizeVectors(b, x, { name: 'ln_final', length: config.dModel }, config)
}

function head(b: GraphBuilder, x: string, config: VisionConfig): string {
  const { kind, dOut, bias } = config.head
  const layer = { weight: 'head.W_H', ...(bias && { bias: 'head.b_H' }), dIn: pooledWidth(config), dOut }
  const y = kind === 'none' ? x : linear(b, x, layer, [nReadOut(config), dOut])
  return config.normalizeOutput ? unitLength(b, y) : y
}
