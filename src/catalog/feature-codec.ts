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
import { ByteReader, type ByteWriter } from './bytes.js'

const VERSION = 1
const EXAMPLE_BYTES = 11
const COUNT_BYTES = 4
const WEIGHTED_BYTES = 8
const MAX_LIST_LENGTH = 0xffff

const histograms = ['histogram', 'imageHistogram'] as const
const weighted = ['labels', 'neighbours', 'coactive', 'classEffects', 'wordEffects'] as const
/** In the order in which they are stored. A new list goes to the end, with a new version. */
const lists = ['top', 'others', ...histograms, ...weighted] as const
const HEADER_BYTES = 2 + 2 * lists.length + 2 * histograms.length

const kindNumbers = { top: 0, sample: 1, threshold: 2, negative: 3 } as const satisfies Record<ExampleKind, number>
const tokenNumbers = { cls: 0, register: 1, patch: 2 } as const satisfies Record<TokenKind, number>
const kinds = Object.keys(kindNumbers) as readonly ExampleKind[]
const tokens = Object.keys(tokenNumbers) as readonly TokenKind[]

/** Everything of a feature but its statistics. */
export type FeatureData = Omit<FeatureRecord, keyof FeatureStatistics | 'index'>

/** Where the top pictures of a row end, at most. */
export function picturesEnd({ nStatistics, topLength }: { readonly nStatistics: number; readonly topLength: number }): number {
  return HEADER_BYTES + 4 * nStatistics + topLength * EXAMPLE_BYTES
}

/** Top examples first, the others after them; the order within each is kept. */
export function writeFeature(writer: ByteWriter, feature: FeatureRecord): void {
  const top = feature.examples.filter(({ kind }) => kind === 'top')
  const others = feature.examples.filter(({ kind }) => kind !== 'top')
  const counts = histograms.map((name) => feature[name].counts)
  const weights = weighted.map((name) => feature[name])
  writer.reserve(bytesOf({ examples: [top, others], counts, weights }))
  writer.uint8(VERSION)
  writer.uint8(featureStatistics.length)
  for (const list of [top, others, ...counts, ...weights]) writer.uint16(checkedLength(list))
  for (const name of histograms) writer.int16(feature[name].firstBin)
  for (const name of featureStatistics) writer.float32(feature[name] ?? Number.NaN)
  for (const example of top) writeExample(writer, example)
  for (const example of others) writeExample(writer, example)
  for (const list of counts) for (const count of list) writer.uint32(count)
  for (const list of weights) {
    for (const { index, value } of list) {
      writer.uint32(index)
      writer.float32(value)
    }
  }
}

export interface StoredRow {
  /** In the order of the set. */
  readonly statistics: readonly number[]
  readonly data: FeatureData
}

/** @param bytes  a row, or the beginning of one: the first list that is not whole, and those after it, are empty */
export function readFeature(bytes: Uint8Array): StoredRow {
  const reader = new ByteReader(bytes)
  if (reader.left < HEADER_BYTES || reader.uint8() !== VERSION) throw new Error('Invariant violated: a stored feature is damaged')
  const nStatistics = reader.uint8()
  const lengths = lists.map(() => reader.uint16())
  const firstBins = histograms.map(() => reader.int16())
  const statistics = Array.from({ length: nStatistics }, () => reader.float32())
  let isCut = false
  const read = <T>(list: (typeof lists)[number], entryBytes: number, entry: () => T): T[] => {
    const length = lengths[lists.indexOf(list)]!
    isCut ||= length * entryBytes > reader.left
    return isCut ? [] : Array.from({ length }, entry)
  }
  const examples = [...read('top', EXAMPLE_BYTES, () => readExample(reader)), ...read('others', EXAMPLE_BYTES, () => readExample(reader))]
  const [histogram, imageHistogram] = histograms.map((name, at) => ({
    firstBin: firstBins[at]!,
    counts: read(name, COUNT_BYTES, () => reader.uint32()),
  }))
  const weights = weighted.map((name) => [name, read(name, WEIGHTED_BYTES, () => readWeighted(reader))] as const)
  const byName = Object.fromEntries(weights) as Record<(typeof weighted)[number], WeightedIndex[]>
  return { statistics, data: { examples, histogram: histogram!, imageHistogram: imageHistogram!, ...byName } }
}

function writeExample(writer: ByteWriter, { kind, token, position, item, score }: FeatureExample): void {
  writer.uint8(kindNumbers[kind] * tokens.length + tokenNumbers[token])
  writer.uint16(position)
  writer.uint32(item)
  writer.float32(score)
}

function readExample(reader: ByteReader): FeatureExample {
  const tag = reader.uint8()
  const kind = kinds[Math.floor(tag / tokens.length)]!
  const token = tokens[tag % tokens.length]!
  const position = reader.uint16()
  return { kind, token, item: reader.uint32(), score: reader.float32(), position }
}

function readWeighted(reader: ByteReader): WeightedIndex {
  return { index: reader.uint32(), value: reader.float32() }
}

interface Parts {
  readonly examples: readonly (readonly unknown[])[]
  readonly counts: readonly (readonly unknown[])[]
  readonly weights: readonly (readonly unknown[])[]
}

function bytesOf({ examples, counts, weights }: Parts): number {
  const entries = (parts: readonly (readonly unknown[])[]) => parts.reduce((sum, { length }) => sum + length, 0)
  const listBytes = entries(examples) * EXAMPLE_BYTES + entries(counts) * COUNT_BYTES + entries(weights) * WEIGHTED_BYTES
  return HEADER_BYTES + 4 * featureStatistics.length + listBytes
}

function checkedLength({ length }: readonly unknown[]): number {
  if (length > MAX_LIST_LENGTH) throw new Error(`Invariant violated: a list of a feature has ${length} entries`)
  return length
}
