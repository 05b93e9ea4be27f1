/**
 * Losses, each a scalar that is the mean over the batch.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { int64, scalar } from '../tensor.js'

/** Axes as reductions take them. */
const axis = (b: GraphBuilder, at: number) => b.constant(int64([1], [at]))

const mean = (b: GraphBuilder, value: string) => b.op('ReduceMean', [value], { keepdims: 0 })

const times = (b: GraphBuilder, value: string, factor: number) => b.op('Mul', [value, b.constant(scalar(factor))])

/** Logarithm of the sum of exponentials along an axis, which stays with length 1; no exponential overflows. */
function logSumExp(b: GraphBuilder, value: string, along: number): string {
  const highest = b.op('ReduceMax', [value, axis(b, along)])
  const sum = b.op('ReduceSum', [b.op('Exp', [b.op('Sub', [value, highest])]), axis(b, along)])
  return b.op('Add', [b.op('Log', [sum]), highest])
}

export interface CrossEntropyOptions {
  /** The share of the target that is spread evenly over all classes, as in torch. Default 0. */
  readonly labelSmoothing?: number
}

/**
 * Cross entropy of a softmax.
 *
 * @param logits  `[batch, nClasses]`
 * @param labels  `[batch]`, int64
 */
export function crossEntropy(b: GraphBuilder, logits: string, labels: string, { labelSmoothing = 0 }: CrossEntropyOptions = {}): string {
  const logNormalizer = logSumExp(b, logits, -1)
  const chosen = b.op('GatherElements', [logits, b.op('Unsqueeze', [labels, axis(b, 1)])], { axis: 1 }) // [batch, 1]
  if (labelSmoothing === 0) return mean(b, b.op('Sub', [logNormalizer, chosen]))
  const even = b.op('ReduceMean', [logits, axis(b, -1)])
  const target = b.op('Add', [times(b, chosen, 1 - labelSmoothing), times(b, even, labelSmoothing)])
  return mean(b, b.op('Sub', [logNormalizer, target]))
}

/** The share of the batch whose largest logit is the label's: a number to report, without a gradient. */
export function accuracy(b: GraphBuilder, logits: string, labels: string): string {
  const hits = b.op('Equal', [b.op('ArgMax', [logits], { axis: 1, keepdims: 0 }), labels])
  return mean(b, b.op('Cast', [hits], { to: 'float32' }))
}

/** Mean over all elements of the squared difference. */
export function mse(b: GraphBuilder, value: string, target: string): string {
  const difference = b.op('Sub', [value, target])
  return mean(b, b.op('Mul', [difference, difference]))
}

/** Embeddings of unit length, both `[batch, dEmbed]`; row i of one belongs to row i of the other. */
export interface ContrastiveInputs {
  readonly image: string
  readonly text: string
  /** The logarithm of the factor between cosines and logits, a scalar. Keep it below ln 100 by a projection, as CLIP's authors do. */
  readonly logScale: string
  /**
   * `[batch, batch]` float32, 1 where picture (row) and text (column) show the same thing: the target is then even over them. Absent: only
   * row i and column i belong together.
   */
  readonly positives?: string
}

/**
 * CLIP's loss: the mean of the cross entropies of picture to text and of text to picture over the batch.
 * @see Radford et al. (2021); for several positives Yang et al. (2022), "Unified Contrastive Learning"
 */
export function clipContrastive(b: GraphBuilder, { image, text, logScale, positives }: ContrastiveInputs): string {
  const scaled = b.op('Mul', [image, b.op('Exp', [logScale])])
  const logits = b.op('MatMul', [scaled, b.op('Transpose', [text], { perm: [1, 0] })]) // [image, text]
  const towards = (along: number) => {
    const target = positives === undefined ? b.op('Mul', [scaled, text]) : b.op('Mul', [logits, evenly(b, positives, along)])
    const chosen = b.op('ReduceSum', [target, axis(b, positives === undefined ? 1 : along)], { keepdims: 0 })
    return mean(b, b.op('Sub', [b.op('Squeeze', [logSumExp(b, logits, along), axis(b, along)]), chosen]))
  }
  return times(b, b.op('Add', [towards(1), towards(0)]), 0.5)
}

/** Each row (or column) divided by its sum. */
function evenly(b: GraphBuilder, positives: string, along: number): string {
  return b.op('Div', [positives, b.op('ReduceSum', [positives, axis(b, along)])])
}

/**
 * `[batch, batch]` float32, 1 where two rows of the batch have the same number.
 * @param groups  `[batch]`, int64
 */
export function sameGroup(b: GraphBuilder, groups: string): string {
  const same = b.op('Equal', [b.op('Unsqueeze', [groups, axis(b, 1)]), b.op('Unsqueeze', [groups, axis(b, 0)])])
  return b.op('Cast', [same], { to: 'float32' })
}
