/**
 * The few graph idioms that every model file uses: shapes, axes and literals as constants, in the form the ONNX operators take them.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { int64, scalar } from '../tensor.js'

export function reshape(b: GraphBuilder, value: string, shape: readonly number[]): string {
  return b.op('Reshape', [value, b.constant(int64([shape.length], shape))])
}

export function transpose(b: GraphBuilder, value: string, perm: readonly number[]): string {
  return b.op('Transpose', [value], { perm })
}

/** Mean over one axis, which stays with length 1. */
export function meanOver(b: GraphBuilder, value: string, axis: number): string {
  return b.op('ReduceMean', [value, b.constant(int64([1], [axis]))], { keepdims: 1 })
}

/** Sum over one axis, which stays with length 1. */
export function sumOver(b: GraphBuilder, value: string, axis: number): string {
  return b.op('ReduceSum', [value, b.constant(int64([1], [axis]))], { keepdims: 1 })
}

/** Rows `start` to `end` (excluded) of one axis. */
export function slice(b: GraphBuilder, value: string, { axis, start, end }: { axis: number; start: number; end: number }): string {
  const one = (n: number) => b.constant(int64([1], [n]))
  return b.op('Slice', [value, one(start), one(end), one(axis)])
}

export function addScalar(b: GraphBuilder, value: string, number: number): string {
  return b.op('Add', [value, b.constant(scalar(number))])
}

export function scaleBy(b: GraphBuilder, value: string, factor: number): string {
  return b.op('Mul', [value, b.constant(scalar(factor))])
}

/**
 * A parameter repeated for each input of the batch. A choice between the value and itself, by a condition of shape [batch, 1, 1], has the
 * batch's length whatever the condition says; no arithmetic touches the numbers.
 */
export function repeatOverBatch(b: GraphBuilder, parameter: string, anyCondition: string): string {
  return b.op('Where', [anyCondition, parameter, parameter])
}
