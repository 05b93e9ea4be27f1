/**
 * Rows of the batch axis (axis 0 of every tensor here), dealt out to those who share a run.
 */

import { rowsOfTensor } from '../rows.js'
import { allocate, type DType, elementCount, type Tensor } from '../tensor.js'

/**
 * Deals out rows, as they come part after part, to shares of `counts` rows. Every share owns its memory: rows are copied unless one part is
 * exactly one share. No more than one part is held at a time beside the shares.
 */
export class RowShares<D extends DType> {
  readonly #counts: readonly number[]
  #shares: Tensor<D>[] = []
  #share = 0
  #row = 0

  constructor(counts: readonly number[]) {
    this.#counts = counts
  }

  add(part: Tensor<D>): void {
    const { dtype, shape } = part
    const rowShape = shape.slice(1)
    if (this.#shares.length === 0) {
      if (this.#counts.length === 1 && this.#counts[0] === shape[0]) {
        this.#shares = [part]
        return
      }
      const perRow = elementCount(rowShape)
      this.#shares = this.#counts.map((nRows) => ({ dtype, shape: [nRows, ...rowShape], data: allocate(dtype, nRows * perRow) }))
    }
    for (let from = 0; from < shape[0]!; ) {
      const share = this.#shares[this.#share]!
      const taken = Math.min(share.shape[0]! - this.#row, shape[0]! - from)
      const rows = rowsOfTensor(part, from, from + taken).data
      ;(share.data as Float32Array).set(rows as Float32Array, this.#row * elementCount(rowShape))
      from += taken
      this.#row += taken
      if (this.#row < share.shape[0]!) return
      this.#share++
      this.#row = 0
    }
  }

  /** All shares, once every row has come. */
  take(): readonly Tensor<D>[] {
    return this.#shares
  }
}
