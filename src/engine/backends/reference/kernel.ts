/**
 * What the kernels are written with. A kernel computes one operator in the most obvious way; together they define what the operators
 * mean, and every other backend is compared with them.
 *
 * Arithmetic is in float64 inside a kernel and is rounded once, when a result is stored. int64 is exact up to 2^53 in arithmetic and
 * exact everywhere it is only moved.
 */

import { EngineError } from '../../errors.js'
import type { Attribute } from '../../graph/graph.js'
import { type ArrayOf, allocate, type DType, elementCount, strides, type Tensor } from '../../tensor.js'

export interface KernelCall {
  /** Undefined: an absent optional input. */
  readonly inputs: readonly (Tensor | undefined)[]
  readonly nOutputs: number
  /** With defaults filled in. */
  readonly attributes: Readonly<Record<string, Attribute>>
  /** What the run computes float32 in. */
  readonly float: 'float32' | 'float64'
}

export type Kernel = (call: KernelCall) => readonly Tensor[]

/** The elements as numbers. */
export function numbersOf({ data }: Tensor): ArrayLike<number> {
  return data instanceof BigInt64Array ? Float64Array.from(data, Number) : data
}

/** A tensor of `values`, rounded to what the dtype holds. */
export function store(dtype: DType, shape: readonly number[], values: ArrayLike<number>): Tensor {
  if (dtype === 'int64') return { dtype, shape, data: BigInt64Array.from(values as number[], (value) => BigInt(Math.trunc(value))) }
  const data = allocate(dtype, elementCount(shape))
  ;(data as Float32Array).set(values)
  return { dtype, shape, data }
}

/** Calls `visit` for each coordinate of a shape in row-major order. The array is reused between calls. */
export function forEachCoordinate(shape: readonly number[], visit: (coordinate: readonly number[], offset: number) => void): void {
  const coordinate = new Array<number>(shape.length).fill(0)
  const count = elementCount(shape)
  for (let offset = 0; offset < count; offset++) {
    visit(coordinate, offset)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++coordinate[axis]! < shape[axis]!) break
      coordinate[axis] = 0
    }
  }
}

/** Where a coordinate lies in a tensor with these strides; a stride of 0 repeats. */
export function offsetAt(coordinate: readonly number[], steps: readonly number[]): number {
  let offset = 0
  for (let axis = 0; axis < steps.length; axis++) offset += coordinate[axis]! * steps[axis]!
  return offset
}

export function broadcastShape(...shapes: (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length))
  return Array.from({ length: rank }, (_, axis) => {
    const lengths = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1)
    return lengths.find((length) => length !== 1) ?? 1
  })
}

/** Strides that read `shape` as if it were `target`: 0 along repeated axes. */
export function broadcastStrides(shape: readonly number[], target: readonly number[]): number[] {
  const own = strides(shape)
  return target.map((_, axis) => {
    const at = axis - target.length + shape.length
    return at < 0 || shape[at] === 1 ? 0 : own[at]!
  })
}

/** A tensor of `shape` whose elements are picked from `source`. */
export function pick({ dtype, data }: Tensor, shape: readonly number[], from: (coordinate: readonly number[]) => number): Tensor {
  const picked = allocate(dtype, elementCount(shape))
  forEachCoordinate(shape, (coordinate, offset) => {
    ;(picked as Float32Array)[offset] = (data as Float32Array)[from(coordinate)]!
  })
  return { dtype, shape, data: picked as ArrayOf[DType] }
}

export const axisOf = (axis: number, rank: number) => (axis < 0 ? axis + rank : axis)

/** The whole numbers of an int32 or int64 tensor. */
export const wholeNumbers = (tensor: Tensor) => Array.from(numbersOf(tensor))

/** An index into an axis; negative ones count from the end. @throws BACKEND_FAILED out of range, as ONNX Runtime does */
export function indexInto(length: number, index: number): number {
  if (index < -length || index >= length) {
    throw new EngineError('BACKEND_FAILED', {
      backend: 'reference',
      doing: 'gathering',
      problem: `index ${index} is out of range for an axis of ${length}`,
    })
  }
  return index < 0 ? index + length : index
}
