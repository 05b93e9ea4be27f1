/**
 * A table as an Arrow IPC stream, with columns as data frames have them: numbers, and names that repeat as a dictionary. For results that are rows;
 * tensors of any shape go through `arrow.ts`.
 */

import { Dictionary, Int32, makeData, makeVector, Table, tableToIPC, Utf8, Vector, vectorFromArray } from 'apache-arrow'

import { type Tensor, tensor } from '../tensor.js'

export interface Column {
  readonly values: Float32Array | Int32Array
  /** What the values are indices into. */
  readonly names?: readonly string[]
}

/** @param columns  of equal length, by name */
export function arrowTable(columns: Readonly<Record<string, Column>>): Uint8Array {
  const vectors = Object.entries(columns).map(([name, column], index) => [name, vectorOf(column, index)] as const)
  return tableToIPC(new Table(Object.fromEntries(vectors)), 'stream')
}

/** The columns as tensors, names as indices. */
export function columnTensors(columns: Readonly<Record<string, Column>>): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(columns).map(([name, { values }]) => [name, tensorOf(values)]))
}

const tensorOf = (values: Column['values']): Tensor =>
  values instanceof Int32Array ? tensor('int32', [values.length], values) : tensor('float32', [values.length], values)

/** @param id  of the dictionary; the library's own would count all that this process has made */
function vectorOf({ values, names }: Column, id: number): Vector {
  if (!names) return makeVector(values)
  const dictionary = vectorFromArray([...names], new Utf8())
  const type = new Dictionary(new Utf8(), new Int32(), id)
  return new Vector([makeData({ type, data: values as Int32Array, dictionary })])
}
