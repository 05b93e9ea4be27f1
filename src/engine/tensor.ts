/**
 * Tensors: a dtype, a shape and a flat row-major array. Plain data; nothing here computes.
 */

import { EngineError } from './errors.js'

/** The element types the engine computes with, and the array that holds each. `bool` is stored one byte an element. */
export interface ArrayOf {
  float32: Float32Array
  float64: Float64Array
  int32: Int32Array
  int64: BigInt64Array
  uint8: Uint8Array
  bool: Uint8Array
}

export type DType = keyof ArrayOf

export interface Tensor<D extends DType = DType> {
  readonly dtype: D
  /** Axis lengths, outermost first. A scalar has shape `[]`. */
  readonly shape: readonly number[]
  /** Row-major; its length is the product of `shape`. */
  readonly data: ArrayOf[D]
}

export const bytesPerElement: Record<DType, number> = { float32: 4, float64: 8, int32: 4, int64: 8, uint8: 1, bool: 1 }

const arrays = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1)
}

export function byteLength(tensor: Tensor): number {
  return tensor.data.byteLength
}

/** A tensor over existing data. @throws SHAPE_MISMATCH when the data's length is not the shape's. */
export function tensor<D extends DType>(dtype: D, shape: readonly number[], data: ArrayOf[D]): Tensor<D> {
  if (data.length !== elementCount(shape)) {
    throw new EngineError('SHAPE_MISMATCH', { what: `${dtype} data`, expected: [elementCount(shape)], actual: [data.length] })
  }
  return { dtype, shape, data }
}

export function zeros<D extends DType>(dtype: D, shape: readonly number[]): Tensor<D> {
  return { dtype, shape, data: allocate(dtype, elementCount(shape)) }
}

/** A zero-filled array for `length` elements of `dtype`. */
export function allocate<D extends DType>(dtype: D, length: number): ArrayOf[D] {
  return new arrays[dtype](length) as ArrayOf[D]
}

/** float32 from plain numbers: `float32([2, 2], [1, 2, 3, 4])`. */
export function float32(shape: readonly number[], values: ArrayLike<number>): Tensor<'float32'> {
  return tensor('float32', shape, Float32Array.from(values))
}

export function int64(shape: readonly number[], values: readonly number[]): Tensor<'int64'> {
  return tensor('int64', shape, BigInt64Array.from(values, BigInt))
}

export function scalar(value: number): Tensor<'float32'> {
  return float32([], [value])
}

/** Row-major strides in elements: `[12, 4, 1]` for `[2, 3, 4]`. */
export function strides(shape: readonly number[]): number[] {
  const result = new Array<number>(shape.length)
  let step = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    result[axis] = step
    step *= shape[axis]!
  }
  return result
}

export function isTensor(value: unknown): value is Tensor {
  return typeof value === 'object' && value !== null && 'dtype' in value && 'data' in value && ArrayBuffer.isView(value.data)
}
