/** Rows of tensors, along axis 0: joined and taken out. */

import { allocate, type DType, elementCount, type Tensor } from './tensor.js'

/** One below the other, at least one. A single tensor that owns ordinary memory is handed through. */
export function joinRows<D extends DType>(tensors: readonly Tensor<D>[]): Tensor<D> {
  const [first] = tensors as [Tensor<D>]
  if (tensors.length === 1 && first.data.buffer instanceof ArrayBuffer) return first
  const nRows = tensors.reduce((sum, { shape }) => sum + shape[0]!, 0)
  const data = allocate(
    first.dtype,
    tensors.reduce((sum, { data }) => sum + data.length, 0),
  )
  let at = 0
  for (const tensor of tensors) {
    ;(data as Float32Array).set(tensor.data as Float32Array, at)
    at += tensor.data.length
  }
  return { dtype: first.dtype, shape: [nRows, ...first.shape.slice(1)], data }
}

/** Rows `start` to `end`, over the same memory. */
export function rowsOfTensor<D extends DType>(tensor: Tensor<D>, start: number, end: number): Tensor<D> {
  if (start === 0 && end === tensor.shape[0]) return tensor
  const perRow = elementCount(tensor.shape.slice(1))
  const data = tensor.data.subarray(start * perRow, end * perRow) as Tensor<D>['data']
  return { dtype: tensor.dtype, shape: [end - start, ...tensor.shape.slice(1)], data }
}
