/**
 * The order of features by a statistic, and the features within bounds: over the columns of a set in memory. Sorting 49,152 numbers takes
 * a millisecond, counting those within bounds a tenth of one, and an index in the database for each statistic would make loading a set
 * several times slower.
 */

export interface Range {
  readonly min?: number
  readonly max?: number
}

/** A key is sorted by three digits of so many bits, the lowest first. */
const DIGIT_BITS = 11
const N_DIGITS = 1 << DIGIT_BITS

export type Direction = 'asc' | 'desc'

/** All features by a statistic. */
export interface FeatureOrder {
  /** Feature indices by ascending value, equal ones by index; those of which the statistic is not defined (NaN) come last. */
  readonly ascending: Uint32Array<ArrayBuffer>
  /** Of how many it is defined. */
  readonly defined: number
}

/** Where in `ascending` the feature of a rank is: the descending order is the ascending one reversed, but what is not defined stays last. */
export function placeOf(rank: number, order: Direction, defined: number): number {
  return order === 'asc' || rank >= defined ? rank : defined - 1 - rank
}

export function orderOf(values: Float32Array): FeatureOrder {
  const keys = sortableKeys(values)
  const digitOf = (key: number, shift: number) => (key >>> shift) & (N_DIGITS - 1)
  let indices = new Uint32Array(keys.length)
  let sorted = new Uint32Array(keys.length)
  for (let index = 0; index < indices.length; index++) indices[index] = index
  for (let shift = 0; shift < 32; shift += DIGIT_BITS) {
    // where the next feature of each digit goes; features of the same digit keep their order
    const places = new Uint32Array(N_DIGITS + 1)
    for (let at = 0; at < keys.length; at++) places[digitOf(keys[at]!, shift) + 1]!++
    for (let digit = 1; digit < N_DIGITS; digit++) places[digit]! += places[digit - 1]!
    for (let at = 0; at < indices.length; at++) {
      const index = indices[at]!
      sorted[places[digitOf(keys[index]!, shift)]!++] = index
    }
    ;[indices, sorted] = [sorted, indices]
  }
  let defined = keys.length
  while (defined > 0 && Number.isNaN(values[indices[defined - 1]!]!)) defined--
  return { ascending: indices, defined }
}

/** Of each float32 an unsigned integer of the same order; that of NaN is above all. */
function sortableKeys(values: Float32Array): Uint32Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const keys = new Uint32Array(values.length)
  for (let index = 0; index < keys.length; index++) {
    const value = values[index]!
    // -0 is 0
    const word = value === 0 ? 0 : bits[index]!
    keys[index] = Number.isNaN(value) ? 0xffffffff : word >= 0x80000000 ? ~word : word + 0x80000000
  }
  return keys
}

/** 1 for each feature that is within all bounds. A bound leaves out what is not defined. */
export function within(width: number, ranges: readonly { readonly values: Float32Array; readonly range: Range }[]): Uint8Array {
  const mask = new Uint8Array(width).fill(1)
  for (const { values, range } of ranges) {
    // as float32, so that a bound that was copied from an answer includes its feature
    const min = Math.fround(range.min ?? Number.NEGATIVE_INFINITY)
    const max = Math.fround(range.max ?? Number.POSITIVE_INFINITY)
    for (let index = 0; index < width; index++) {
      const value = values[index]!
      if (!(value >= min && value <= max)) mask[index] = 0
    }
  }
  return mask
}

export interface Walk {
  /** Absent: by index. */
  readonly sorted?: FeatureOrder
  readonly order: Direction
  readonly mask: Uint8Array
  /** The first rank to look at. */
  readonly from: number
  readonly limit: number
}

/** A feature in an order. */
export interface RankedFeature {
  readonly index: number
  readonly rank: number
}

/** Up to `limit` features of the mask, in order. */
export function pageOfFeatures({ sorted, order, mask, from, limit }: Walk): RankedFeature[] {
  const width = mask.length
  const page: RankedFeature[] = []
  for (let rank = from; rank < width && page.length < limit; rank++) {
    const place = placeOf(rank, order, sorted?.defined ?? width)
    const index = sorted?.ascending[place] ?? place
    if (mask[index] === 1) page.push({ index, rank })
  }
  return page
}

export function countOf(mask: Uint8Array): number {
  let count = 0
  for (const isIn of mask) count += isIn
  return count
}
