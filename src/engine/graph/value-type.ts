/**
 * What is known of a value before anything runs: its dtype and its shape, in which an axis may be a symbol.
 */

import type { DType } from '../tensor.js'

/**
 * An axis length: a number, a symbol that each run binds, or a sum of products of both in canonical form (`50*batch`, see dims.ts).
 * Models use the symbol `batch`. A symbol stands for at least 1.
 */
export type Dim = number | string

export interface ValueType {
  readonly dtype: DType
  readonly shape: readonly Dim[]
}

/** An operator's attribute. A dtype (Cast's `to`) is written by its name. */
export type Attribute = number | string | readonly number[]
