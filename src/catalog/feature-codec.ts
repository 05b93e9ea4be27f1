/**
 * A feature as bytes: little-endian, without names. Statistics and top pictures come first, so that a page that shows only those reads
 * only the beginning of each row.
 *
 *   u8   version
 *   u8   how many statistics
 *   u16  how long each list is, in the order of `lists`; padded to 4 bytes
 *   f32  the statistics, in the order of the set
 *   then each list: its columns one after the other, each of its type, each padded to 4 bytes
 */

import type { FeatureData } from './feature-sets.js'

const VERSION = 1

type Column = Int32Array | Uint32Array | Uint16Array | Float32Array
type ColumnType = typeof Int32Array | typeof Uint32Array | typeof Uint16Array | typeof Float32Array

const pictures = { items: Int32Array, positions: Uint16Array, values: Float32Array } as const
const ranked = { ids: Int32Array, values: Float32Array } as const

/** In the order in which they are stored. A new list goes to the end, with a new version. */
const lists = {
  top: pictures,
  quantiles: pictures,
  nearThreshold: pictures,
  negative: pictures,
  histogram: { counts: Uint32Array },
  labels: ranked,
  neighbours: ranked,
  coactive: ranked,
  classes: ranked,
  words: ranked,
} as const satisfies Record<keyof FeatureData, Readonly<Record<string, ColumnType>>>

const names = Object.keys(lists) as readonly (keyof FeatureData)[]
const columnNames = Object.fromEntries(names.map((name) => [name, Object.keys(lists[name])])) as Record<keyof FeatureData, string[]>
const HEADER_BYTES = padded(2 + 2 * names.length)
/** Of a list, in entries: its length is 16 bits. */
export const MAX_LIST_LENGTH = 0xffff

/** Where the top pictures of a row end, at most. */
export function picturesEnd({ nStatistics, topLength }: { readonly nStatistics: number; readonly topLength: number }): number {
  return HEADER_BYTES + 4 * nStatistics + listBytes('top', topLength)
}

export interface DecodedFeature {
  readonly statistics: Float32Array
  readonly data: FeatureData
}

export function encodeFeature({ statistics, data }: DecodedFeature): Uint8Array {
  const lengths = names.map((name) => lengthOf(data, name))
  const listsStart = HEADER_BYTES + 4 * statistics.length
  const bytes = new Uint8Array(listsStart + names.reduce((sum, name, at) => sum + listBytes(name, lengths[at]!), 0))
  const header = new DataView(bytes.buffer)
  header.setUint8(0, VERSION)
  header.setUint8(1, statistics.length)
  for (const [at, length] of lengths.entries()) header.setUint16(2 + 2 * at, length, true)
  bytes.set(bytesOf(statistics), HEADER_BYTES)
  let offset = listsStart
  for (const name of names) {
    for (const column of columnNames[name]) {
      const values = columnOf(data, name, column)
      bytes.set(bytesOf(values), offset)
      offset += padded(values.byteLength)
    }
  }
  return bytes
}

/** @param bytes  a row, or the beginning of one: from the first list on that is not whole, all are empty */
export function decodeFeature(bytes: Uint8Array): DecodedFeature {
  // a copy of its own, whose beginning is aligned
  const own = bytes.slice()
  const header = new DataView(own.buffer)
  if (own.byteLength < HEADER_BYTES || header.getUint8(0) !== VERSION) throw new Error('Invariant violated: a stored feature is damaged')
  const statistics = new Float32Array(own.buffer, HEADER_BYTES, header.getUint8(1))
  let offset = HEADER_BYTES + statistics.byteLength
  const entries = names.map((name, at) => {
    const length = header.getUint16(2 + 2 * at, true)
    const isWhole = offset + listBytes(name, length) <= own.byteLength
    const columns = Object.entries(lists[name]).map(([column, Type]: [string, ColumnType]) => {
      if (!isWhole) return [column, new Type(0)]
      const values = new Type(own.buffer, offset, length)
      offset += padded(values.byteLength)
      return [column, values]
    })
    if (!isWhole) offset = Number.POSITIVE_INFINITY
    return [name, Object.fromEntries(columns)]
  })
  return { statistics, data: Object.fromEntries(entries) as FeatureData }
}

const bytesOf = (values: Column) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength)

function lengthOf(data: FeatureData, name: keyof FeatureData): number {
  const lengths = columnNames[name].map((column) => columnOf(data, name, column).length)
  const [length = 0] = lengths
  if (lengths.some((other) => other !== length)) throw new Error(`Invariant violated: the columns of ${name} are of different lengths`)
  if (length > MAX_LIST_LENGTH) throw new Error(`Invariant violated: ${name} has ${length} entries`)
  return length
}

const columnOf = (data: FeatureData, name: keyof FeatureData, column: string) =>
  (data[name] as unknown as Readonly<Record<string, Column>>)[column]!

function listBytes(name: keyof FeatureData, length: number): number {
  const types: readonly ColumnType[] = Object.values(lists[name])
  return types.reduce((sum, { BYTES_PER_ELEMENT }) => sum + padded(BYTES_PER_ELEMENT * length), 0)
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4
}
