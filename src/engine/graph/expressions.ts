/**
 * Arithmetic over a graph builder, as formulas are written: literals, sums and norms along an axis; shapes and axes as constants, in the form
 * that ONNX's operators take them.
 */

import { int64, scalar } from '../tensor.js'
import type { GraphBuilder } from './builder.js'

export const literal = (b: GraphBuilder, value: number) => b.constant(scalar(value))

/** A vector of whole numbers: axes, a shape, indices. */
export const wholes = (b: GraphBuilder, values: readonly number[]) => b.constant(int64([values.length], values))

export const add = (b: GraphBuilder, x: string, y: string) => b.op('Add', [x, y])
export const subtract = (b: GraphBuilder, x: string, y: string) => b.op('Sub', [x, y])
export const multiply = (b: GraphBuilder, x: string, y: string) => b.op('Mul', [x, y])
export const divide = (b: GraphBuilder, x: string, y: string) => b.op('Div', [x, y])
export const square = (b: GraphBuilder, x: string) => multiply(b, x, x)
export const scaleBy = (b: GraphBuilder, x: string, factor: number) => (factor === 1 ? x : multiply(b, x, literal(b, factor)))

/** Over one axis, which stays with length 1 unless told otherwise. */
export function sumOver(b: GraphBuilder, x: string, axis: number, keepdims: 0 | 1 = 1): string {
  return b.op('ReduceSum', [x, wholes(b, [axis])], { keepdims })
}

export function meanOver(b: GraphBuilder, x: string, axis: number, keepdims: 0 | 1 = 1): string {
  return b.op('ReduceMean', [x, wholes(b, [axis])], { keepdims })
}

/** Over everything, to a scalar. */
export const meanOfAll = (b: GraphBuilder, x: string) => b.op('ReduceMean', [x], { keepdims: 0 })

/** Euclidean, along one axis. Its gradient at the zero vector is zero. */
export function normOver(b: GraphBuilder, x: string, axis: number, keepdims: 0 | 1 = 1): string {
  return b.op('Sqrt', [sumOver(b, square(b, x), axis, keepdims)])
}

export const asFloat = (b: GraphBuilder, condition: string) => b.op('Cast', [condition], { to: 'float32' })

/** 1 where x > y and 0 elsewhere, as floats. */
export const above = (b: GraphBuilder, x: string, y: string) => asFloat(b, b.op('Greater', [x, y]))

/** Zeros of the shape of `x`, whatever it holds. */
export function zerosLike(b: GraphBuilder, x: string): string {
  return b.op('Expand', [literal(b, 0), b.op('Shape', [x])])
}

export function reshape(b: GraphBuilder, x: string, shape: readonly number[]): string {
  return b.op('Reshape', [x, wholes(b, shape)])
}

export function transpose(b: GraphBuilder, x: string, perm: readonly number[]): string {
  return b.op('Transpose', [x], { perm })
}

/** Rows `start` to `end` (excluded) of one axis. */
export function slice(b: GraphBuilder, x: string, { axis, start, end }: { axis: number; start: number; end: number }): string {
  return b.op('Slice', [x, wholes(b, [start]), wholes(b, [end]), wholes(b, [axis])])
}

export const addScalar = (b: GraphBuilder, x: string, number: number) => add(b, x, literal(b, number))

/**
 * A parameter repeated for each input of the batch. A choice between the value and itself, by a condition of shape [batch, 1, 1], has the
 * batch's length whatever the condition says; no arithmetic touches the numbers.
 */
export function repeatOverBatch(b: GraphBuilder, parameter: string, anyCondition: string): string {
  return b.op('Where', [anyCondition, parameter, parameter])
}
