/**
 * Rows of the batch axis (axis 0 of every tensor here): joined, cut into parts, and dealt out again.
 */

import { allocate, type DType, elementCount, type Tensor } from '../tensor.js'

/** One after the other. A single tensor that owns ordinary memory is handed through. */
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

/**
 * Deals out the rows of `parts`, taken one after the other, to shares of `counts` rows. Every share owns its memory: it is copied unless
 * one part is exactly one share.
 */
export function dealRows<D extends DType>(parts: readonly Tensor<D>[], counts: readonly number[]): Tensor<D>[] {
  if (parts.length === 1 && counts.length === 1) return [...parts]
  const [first] = parts as [Tensor<D>]
  const rowShape = first.shape.slice(1)
  const perRow = elementCount(rowShape)
  let part = 0
  let from = 0
  return counts.map((nRows) => {
    const data = allocate(first.dtype, nRows * perRow)
    for (let row = 0; row < nRows; ) {
      const source = parts[part]!
      const taken = Math.min(nRows - row, source.shape[0]! - from)
      const rows = source.data.subarray(from * perRow, (from + taken) * perRow)
      ;(data as Float32Array).set(rows as Float32Array, row * perRow)
      row += taken
      from += taken
      if (from === source.shape[0]!) {
        part++
        from = 0
      }
    }
    return { dtype: first.dtype, shape: [nRows, ...rowShape], data }
  })
}
