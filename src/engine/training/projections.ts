/**
 * What is done to single parameters around the optimizer: to the gradient before the update (after clipping), and to the new value after it.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { int64, scalar } from '../tensor.js'

export interface Projection {
  /** The gradient to use instead. `parameter` is the value before the update. */
  readonly gradient?: (b: GraphBuilder, values: { readonly gradient: string; readonly parameter: string }) => string
  /** The new value to use instead. */
  readonly parameter?: (b: GraphBuilder, next: string) => string
}

/** As torch's `normalize`: a row of zeros stays one. */
const leastNorm = 1e-12

/**
 * Keeps the rows of a matrix at length 1: the gradient loses its part along each row, and the updated rows are scaled back. An SAE's decoder
 * is trained so (Bricken et al. 2023, "Towards Monosemanticity").
 */
export const unitRows: Projection = {
  gradient: (b, { gradient, parameter }) => {
    const along = b.op('ReduceSum', [b.op('Mul', [gradient, parameter]), b.constant(int64([1], [-1]))])
    return b.op('Sub', [gradient, b.op('Mul', [parameter, along])])
  },
  parameter: (b, next) => {
    const squares = b.op('ReduceSum', [b.op('Mul', [next, next]), b.constant(int64([1], [-1]))])
    return b.op('Div', [next, b.op('Max', [b.op('Sqrt', [squares]), b.constant(scalar(leastNorm))])])
  },
}

/** Keeps every element between two bounds. */
export const clamped = (low: number, high: number): Projection => ({
  parameter: (b, next) => b.op('Clip', [next, b.constant(scalar(low)), b.constant(scalar(high))]),
})
