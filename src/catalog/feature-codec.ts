/**
 * A feature as bytes, without names: a fraction of what it takes as JSON or in columns of arrays. Statistics and top pictures come first, so
 * that a page that shows only those reads only the beginning of each row.
 *
 *   u8   version
 *   u8   how many statistics
 *   u16  for each list, in the order of `lists`: how many entries it has
 *   i16  first bin of each histogram
 *   f32  the statistics, in the order of the set; NaN: not defined
 *   then the lists, entry by entry:
 *   top, others   u8 kind and token, u16 position, u32 item, f32 score
 *   histograms    u32 count
 *   weighted      u32 index, f32 value
 */

import {
  type ExampleKind,
  type FeatureExample,
  type FeatureRecord,
  type FeatureStatistics,
  featureStatistics,
  type TokenKind,
  type WeightedIndex,
} from '../engine/evaluation/feature-record.js'
import { Prisma } from '../generated/prisma/client.js'

const VERSION = 1
const EXAMPLE_BYTES = 11
const COUNT_BYTES = 4
const WEIGHTED_BYTES = 8
const MAX_LIST_LENGTH = 0xffff

const histograms = ['histogram', 'imageHistogram'] as const
const weighted = ['labels', 'neighbours', 'coactive', 'classEffects', 'wordEffects'] as const
/** In the order in which they are stored. A new list goes to the end, with a new version. */
const lists = ['top', 'others', ...histograms, ...weighted] as const
const LENGTHS_AT = 2
const FIRST_BINS_AT = LENGTHS_AT + 2 * lists.length
const HEADER_BYTES = FIRST_BINS_AT + 2 * histograms.length

const kindNumbers = { top: 0, sample: 1, threshold: 2, negative: 3 } as const satisfies Record<ExampleKind, number>
const tokenNumbers = { cls: 0, register: 1, patch: 2 } as const satisfies Record<TokenKind, number>
const kinds = Object.keys(kindNumbers) as readonly ExampleKind[]
const tokens = Object.keys(tokenNumbers) as readonly TokenKind[]

/** Everything of a feature but its statistics and examples. */
export type FeatureData = Omit<FeatureRecord, keyof FeatureStatistics | 'index' | 'examples'>

export interface StoredExample extends FeatureExample {
  /** Among those of its kind and token: from 0, in the order in which they were stored. */
  readonly place: number
}

/** The beginning of a row in SQL, which `readSummary` reads: up to where its top pictures end, as its header says. */
export function summaryOf(row: Prisma.Sql, nStatistics: number): Prisma.Sql {
  const nTop = Prisma.sql`(get_byte(${row}, ${LENGTHS_AT}::int) + 256 * get_byte(${row}, ${LENGTHS_AT + 1}::int))`
  return Prisma.sql`substring(${row} from 1 for ${HEADER_BYTES + 4 * nStatistics}::int + ${EXAMPLE_BYTES}::int * ${nTop})`
}

/** Bytes of a row. */
export function storedBytes({ examples, histogram, imageHistogram, ...rest }: FeatureRecord): number {
  let bytes = HEADER_BYTES + 4 * featureStatistics.length + EXAMPLE_BYTES * examples.length
  bytes += COUNT_BYTES * (histogram.counts.length + imageHistogram.counts.length)
  for (const name of weighted) bytes += WEIGHTED_BYTES * rest[name].length
  return bytes
}

/** Top examples first, the others after them; the order within each is kept. @param view  the row's, of `storedBytes` */
export function writeFeature(view: DataView, feature: FeatureRecord): void {
  const { examples } = feature
  let nTop = 0
  for (const { kind } of examples) if (kind === 'top') nTop++
  const { length: nExamples } = examples
  const counts = histograms.map((name) => feature[name].counts)
  const lengths = [nTop, nExamples - nTop, ...counts.map(({ length }) => length), ...weighted.map((name) => feature[name].length)]
  view.setUint8(0, VERSION)
  view.setUint8(1, featureStatistics.length)
  for (const [n, length] of lengths.entries()) view.setUint16(LENGTHS_AT + 2 * n, checkedLength(length), true)
  for (const [n, name] of histograms.entries()) view.setInt16(FIRST_BINS_AT + 2 * n, feature[name].firstBin, true)

  let at = HEADER_BYTES
  for (const name of featureStatistics) {
    view.setFloat32(at, feature[name] ?? Number.NaN, true)
    at += 4
  }
  let topAt = at
  let otherAt = at + nTop * EXAMPLE_BYTES
  for (const example of examples) {
    if (example.kind === 'top') {
      writeExample(view, topAt, example)
      topAt += EXAMPLE_BYTES
    } else {
      writeExample(view, otherAt, example)
      otherAt += EXAMPLE_BYTES
    }
  }
  at = otherAt
  for (const name of histograms) {
    for (const count of feature[name].counts) {
      view.setUint32(at, count, true)
      at += COUNT_BYTES
    }
  }
  for (const name of weighted) {
    for (const { index, value } of feature[name]) {
      view.setUint32(at, index, true)
      view.setFloat32(at + 4, value, true)
      at += WEIGHTED_BYTES
    }
  }
}

interface StoredSummary {
  /** In the order of the set. */
  readonly statistics: readonly number[]
  readonly examples: readonly StoredExample[]
}

/** All examples and the rest. */
export interface StoredRow extends StoredSummary {
  readonly data: FeatureData
}

/** Examples are shown in this order of tokens; of the top ones, the largest scores of each come first. */
export const shownTokens = ['patch', 'cls', 'register'] as const satisfies readonly TokenKind[]

/** Those of the top examples that are shown first. @param bytes  a row, or the `summaryOf` it */
export function readSummary(bytes: Uint8Array, nShown: number): StoredSummary {
  const view = viewOf(bytes)
  const examples: StoredExample[] = []
  const begin = HEADER_BYTES + 4 * view.getUint8(1)
  const end = begin + view.getUint16(LENGTHS_AT, true) * EXAMPLE_BYTES
  for (const token of shownTokens) {
    const tag = tagOf('top', token)
    let place = 0
    for (let at = begin; at < end && examples.length < nShown; at += EXAMPLE_BYTES) {
      if (view.getUint8(at) === tag) examples.push(readExample(view, at, place++))
    }
  }
  return { statistics: readStatistics(view), examples }
}

export function readFeature(bytes: Uint8Array): StoredRow {
  const view = viewOf(bytes)
  const lengths = lists.map((_, n) => view.getUint16(LENGTHS_AT + 2 * n, true))
  const firstBins = histograms.map((_, n) => view.getInt16(FIRST_BINS_AT + 2 * n, true))
  const statistics = readStatistics(view)
  const places: number[] = Array(kinds.length * tokens.length).fill(0)

  let at = HEADER_BYTES + 4 * statistics.length
  const read = <T>(list: (typeof lists)[number], entryBytes: number, entry: (view: DataView, at: number) => T): T[] => {
    const entries: T[] = []
    for (const end = at + lengths[lists.indexOf(list)]! * entryBytes; at < end; at += entryBytes) entries.push(entry(view, at))
    return entries
  }
  const example = (view: DataView, at: number) => readExample(view, at, places[view.getUint8(at)]!++)
  const examples = [...read('top', EXAMPLE_BYTES, example), ...read('others', EXAMPLE_BYTES, example)]
  const [histogram, imageHistogram] = histograms.map((name, n) => ({
    firstBin: firstBins[n]!,
    counts: read(name, COUNT_BYTES, (view, at) => view.getUint32(at, true)),
  }))
  const weights = weighted.map((name) => [name, read(name, WEIGHTED_BYTES, readWeighted)] as const)
  const byName = Object.fromEntries(weights) as Record<(typeof weighted)[number], WeightedIndex[]>
  return { statistics, examples, data: { histogram: histogram!, imageHistogram: imageHistogram!, ...byName } }
}

function viewOf(bytes: Uint8Array): DataView {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < HEADER_BYTES || view.getUint8(0) !== VERSION) throw new Error('Invariant violated: a stored feature is damaged')
  return view
}

function readStatistics(view: DataView): number[] {
  const statistics: number[] = []
  for (let n = view.getUint8(1), at = HEADER_BYTES; n > 0; n--, at += 4) statistics.push(view.getFloat32(at, true))
  return statistics
}

const tagOf = (kind: ExampleKind, token: TokenKind) => kindNumbers[kind] * tokens.length + tokenNumbers[token]

function writeExample(view: DataView, at: number, { kind, token, position, item, score }: FeatureExample): void {
  view.setUint8(at, tagOf(kind, token))
  view.setUint16(at + 1, position, true)
  view.setUint32(at + 3, item, true)
  view.setFloat32(at + 7, score, true)
}

function readExample(view: DataView, at: number, place: number): StoredExample {
  const tag = view.getUint8(at)
  const kind = kinds[Math.floor(tag / tokens.length)]!
  const token = tokens[tag % tokens.length]!
  const [position, item, score] = [view.getUint16(at + 1, true), view.getUint32(at + 3, true), view.getFloat32(at + 7, true)]
  return { kind, token, item, score, position, place }
}

function readWeighted(view: DataView, at: number): WeightedIndex {
  return { index: view.getUint32(at, true), value: view.getFloat32(at + 4, true) }
}

function checkedLength(length: number): number {
  if (length > MAX_LIST_LENGTH) throw new Error(`Invariant violated: a list of a feature has ${length} entries`)
  return length
}
