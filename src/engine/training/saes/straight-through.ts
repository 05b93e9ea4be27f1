/**
 * JumpReLU with gradients for its thresholds. A step has none, so one is estimated: what a rectangle of width `bandwidth` around the
 * threshold would let through. In a graph the estimate is a term that is exactly zero and whose gradient is the estimate:
 * slope (u - detached u), with u the threshold (and, where wanted, the pre-activation).
 *
 * @see Rajamanoharan et al. (2024), "Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders", section 4
 */

import type { GraphBuilder } from '../../graph/builder.js'
import { above, add, asFloat, literal, multiply, scaleBy, subtract } from '../../graph/expressions.js'
import type { Detached } from './detached.js'

export interface Jump {
  readonly pre: string
  readonly threshold: string
  readonly bandwidth: number
  readonly toInput: boolean
}

/** The latents: the positive part of what is above its threshold. */
export function jumpRelu(b: GraphBuilder, jump: Jump, detached: Detached): string {
  const latents = multiply(b, b.op('Relu', [jump.pre]), above(b, jump.pre, jump.threshold))
  const slope = multiply(b, rectangle(b, jump), detached.copy(b, jump.threshold))
  return add(b, latents, multiply(b, slope, offset(b, jump, detached)))
}

/** 1 for a latent above its threshold, 0 below. */
export function step(b: GraphBuilder, jump: Jump, detached: Detached): string {
  return add(b, above(b, jump.pre, jump.threshold), multiply(b, rectangle(b, jump), offset(b, jump, detached)))
}

/** 1 / bandwidth where a pre-activation is within half a bandwidth of its threshold. Comparisons pass no gradient on. */
function rectangle(b: GraphBuilder, { pre, threshold, bandwidth }: Jump): string {
  const distance = b.op('Abs', [subtract(b, pre, threshold)])
  return scaleBy(b, asFloat(b, b.op('Less', [distance, literal(b, bandwidth / 2)])), 1 / bandwidth)
}

/** Zero, with gradient -1 for the threshold and, where wanted, 1 for the pre-activation. */
function offset(b: GraphBuilder, { pre, threshold, toInput }: Jump, detached: Detached): string {
  const ofThreshold = subtract(b, detached.copy(b, threshold), threshold)
  return toInput ? add(b, ofThreshold, subtract(b, pre, detached.copy(b, pre))) : ofThreshold
}
