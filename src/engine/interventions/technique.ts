/**
 * What every technique is made of: the numbers it brings along, and the few nodes that use them.
 *
 * All numbers of an edit (vectors, strengths, bounds, which positions and heads) are inputs of the graph, one row for each input of the
 * request. So changing a number compiles nothing, and requests of equal structure run as one batch by concatenating their rows.
 */

import type { GraphBuilder } from '../graph/builder.js'
import type { HookPointInfo, TowerDescription } from '../models/model.js'
import type { SaeConfig } from '../saes/sae.js'
import { type ArrayOf, elementCount } from '../tensor.js'
import type { Edit } from './edit.js'

/** A model's tower with the hook points of the graph at hand (hookPointsOf with the optional ones that it was built with). */
export interface EditedTower extends Pick<TowerDescription, 'config' | 'hookPoints'> {
  /** What edits of features name by its place. */
  readonly saes?: readonly EditingSae[]
}

export interface EditingSae {
  readonly config: SaeConfig
  /** Before the names of its parameters in the graph. */
  readonly prefix: string
  /** In errors. */
  readonly name: string
}

/** Where an edit acts. */
export interface Place {
  readonly hookPoint: HookPointInfo
  readonly tower: EditedTower
}

/**
 * `perRow`: concatenated along axis 0 when requests merge. `rowIndex`: rows of the batch, counted from the request's first, so that
 * the place of that row is added when requests merge.
 */
export type OperandRole = 'perRow' | 'rowIndex'

type OperandDType = 'float32' | 'int64' | 'bool'

/** A number, vector or mask that an edit brings: an input of the graph, `[batch, ...rowShape]`. */
export interface Operand<D extends OperandDType = OperandDType> {
  readonly role: OperandRole
  readonly dtype: D
  /** Axes after the batch axis; broadcasts with the hook point's. */
  readonly rowShape: readonly number[]
  /** The data of one row, for every row; or of all rows, one after the other. */
  readonly data: ArrayOf[D]
}

/** One kind of edit. */
export interface Technique<E extends Edit = Edit> {
  /** Edits of equal form at one hook point have equal graphs. */
  form(edit: E): string
  /** How rows of one request depend on each other; absent: they do not. */
  rowsTogether?(edit: E): RowsTogether | undefined
  /** By a name of its own within the edit. */
  operands(edit: E, place: Place): Readonly<Record<string, Operand>>
  /**
   * The edited value of everything, which broadcasts to the shape of `x`; where the edit does not apply, `x` stays.
   *
   * @param x         the hook point's value
   * @param operands  names of the graph inputs
   * @param about     of the edit, only what its form says may find its way into the graph
   */
  build(
    builder: GraphBuilder,
    x: string,
    operands: Readonly<Record<string, string>>,
    about: { readonly edit: E; readonly place: Place },
  ): string
  /** The formula makes NaN of minus infinity, so that attention scores behind a causal mask must be kept out of it. */
  readonly needsFinite?: true
}

/** `gather`: a row reads another of its request, so they run in one batch. `reduce`: all rows count, so nobody else's may be there. */
export type RowsTogether = 'gather' | 'reduce'

/** Length of the hook point's last axis. */
export function lastLength({ hookPoint }: Place): number {
  return hookPoint.shape.at(-1) as number
}

/** A vector along the last axis, the same at every position and head. */
export function vectorOperand(place: Place, vector: Float32Array): Operand<'float32'> {
  const rowShape = place.hookPoint.shape.slice(1).map((length, axis, { length: rank }) => (axis === rank - 1 ? Number(length) : 1))
  return { role: 'perRow', dtype: 'float32', rowShape, data: vector }
}

/** One number for the whole hook point. */
export function numberOperand(place: Place, value: number): Operand<'float32'> {
  return { role: 'perRow', dtype: 'float32', rowShape: place.hookPoint.shape.slice(1).map(() => 1), data: Float32Array.of(value) }
}

/** The data of `nRows` rows. */
export function repeatRows<D extends OperandDType>({ data, rowShape }: Operand<D>, nRows: number): ArrayOf[D] {
  const perRow = elementCount(rowShape)
  if (data.length === perRow * nRows) return data
  const repeated = new (data.constructor as new (length: number) => ArrayOf[D])(perRow * nRows)
  for (let row = 0; row < nRows; row++) (repeated as Float32Array).set(data as Float32Array, row * perRow)
  return repeated
}
