/**
 * Keeping the largest: of each token, or of a whole batch. What is kept is scattered back to where it was, so that ties keep exactly k,
 * the first of equals first.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { wholes, zerosLike } from '../graph/expressions.js'

/** The k largest of the last axis where they are positive; zeros elsewhere. */
export function keepTopK(b: GraphBuilder, pre: string, k: number): string {
  const [values, indices] = b.opMany('TopK', [pre, wholes(b, [k])], { nOutputs: 2, attributes: { axis: -1 } })
  return b.op('ScatterElements', [zerosLike(b, pre), indices!, b.op('Relu', [values!])], { axis: -1 })
}

/**
 * The `k * batch` largest of a whole batch where they are positive; zeros elsewhere. How many that is must be known when the graph is built.
 * @param pre  `[batch, dSae]`
 * @see   Bussmann, Leask, Nanda (2024), "BatchTopK Sparse Autoencoders"
 */
export function keepTopKOfBatch(b: GraphBuilder, pre: string, { k, batch, dSae }: { k: number; batch: number; dSae: number }): string {
  const flat = b.op('Reshape', [pre, wholes(b, [batch * dSae])])
  const kept = keepTopK(b, flat, Math.floor(k * batch))
  return b.op('Reshape', [kept, wholes(b, [batch, dSae])])
}
