/**
 * One number for each patch of a picture: their range, and the number at each pixel.
 */

import { EngineError } from '../errors.js'
import type { ColormapName } from './colormaps.js'
import { isDiverging } from './colormaps.js'
import type { Region } from './model-view.js'
import type { Size } from './resample.js'

export interface PatchValues {
  readonly rows: number
  readonly columns: number
  /** `[rows, columns]`. */
  readonly values: Float32Array
  /** Of the CLS token, which is no patch. */
  readonly cls?: number
}

/** What the two ends of a colour map stand for; `low` < `high`. */
export interface ValueRange {
  readonly low: number
  readonly high: number
}

/** @throws SHAPE_MISMATCH; INPUT_INVALID for a number that is not finite, which has no colour */
export function checkPatchValues({ rows, columns, values, cls = 0 }: PatchValues, path: string): void {
  if (values.length !== rows * columns) {
    throw new EngineError('SHAPE_MISMATCH', { what: 'The values of the patches', expected: [rows, columns], actual: [values.length] })
  }
  const odd = values.findIndex((value) => !Number.isFinite(value))
  if (odd >= 0) {
    const problem = `row ${Math.floor(odd / columns)}, column ${odd % columns} is ${values[odd]}, which has no colour`
    throw new EngineError('INPUT_INVALID', { path, problem })
  }
  if (!Number.isFinite(cls)) throw new EngineError('INPUT_INVALID', { path, problem: `CLS is ${cls}, which has no colour` })
}

/**
 * The range of the patches (CLS's own value counts only where all of them are equal). A diverging map is symmetric about 0; the others begin
 * at 0 where no number is negative and the lowest is less than half of the highest, so that "nothing" has the colour of nothing.
 *
 * @param fixed  ends that were chosen; `high` must be above `low`
 */
export function rangeOf({ values, cls }: PatchValues, name: ColormapName, fixed: Partial<ValueRange> = {}): ValueRange {
  let [lowest, highest] = extentOf(values)
  if (lowest === highest && cls !== undefined) [lowest, highest] = [Math.min(lowest, cls), Math.max(highest, cls)]
  const found = isDiverging(name) ? symmetric(lowest, highest) : { low: lowest >= 0 && lowest < highest / 2 ? 0 : lowest, high: highest }
  const { low = found.low, high = found.high } = fixed
  if (high > low) return { low, high }
  // equal numbers: all of them at the lower end
  return fixed.high === undefined ? { low, high: low + (Math.abs(low) || 1) } : { low: high - (Math.abs(high) || 1), high }
}

function symmetric(lowest: number, highest: number): ValueRange {
  const most = Math.max(Math.abs(lowest), Math.abs(highest))
  return { low: -most, high: most }
}

function extentOf(values: Float32Array): [number, number] {
  let [lowest, highest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const value of values) {
    if (value < lowest) lowest = value
    if (value > highest) highest = value
  }
  return [lowest, highest]
}

/** 0 at the lower end of the range, 1 at its upper end; beyond them below 0 and above 1. */
export function shareOf(value: number, { low, high }: ValueRange): number {
  return (value - low) / (high - low)
}

export type Interpolation = 'block' | 'smooth'

/**
 * Where in the range each pixel is: the share of the patch it lies in (`block`), or bilinear between the middles of patches (`smooth`; beyond
 * the outermost middles as there).
 *
 * @returns `[height, width]`
 */
export function shares(patches: PatchValues, range: ValueRange, { width, height, interpolation }: Size & { interpolation: Interpolation }) {
  const ofPatch = Float32Array.from(patches.values, (value) => shareOf(value, range))
  const { columns } = patches
  const across = tapsAlong(width, columns, interpolation)
  const down = tapsAlong(height, patches.rows, interpolation)
  const result = new Float32Array(width * height)
  for (let y = 0, at = 0; y < height; y++) {
    const [above, below, downwards] = [down.first[y]! * columns, down.second[y]! * columns, down.weight[y]!]
    for (let x = 0; x < width; x++, at++) {
      const [left, right, rightwards] = [across.first[x]!, across.second[x]!, across.weight[x]!]
      const top = ofPatch[above + left]! * (1 - rightwards) + ofPatch[above + right]! * rightwards
      const bottom = ofPatch[below + left]! * (1 - rightwards) + ofPatch[below + right]! * rightwards
      result[at] = top * (1 - downwards) + bottom * downwards
    }
  }
  return result
}

/** For each of `length` pixels the two of `count` patches that it is mixed from, and the weight of the second. */
function tapsAlong(length: number, count: number, interpolation: Interpolation) {
  const [first, second] = [new Int32Array(length), new Int32Array(length)]
  const weight = new Float32Array(length)
  for (let pixel = 0; pixel < length; pixel++) {
    const place = ((pixel + 0.5) * count) / length
    if (interpolation === 'block') {
      first[pixel] = second[pixel] = Math.floor(place)
      continue
    }
    const between = Math.min(Math.max(place - 0.5, 0), count - 1)
    first[pixel] = Math.floor(between)
    second[pixel] = Math.min(first[pixel]! + 1, count - 1)
    weight[pixel] = between - first[pixel]!
  }
  return { first, second, weight }
}

/** The smallest rectangle with every patch whose share is at least `level`, and the highest one in any case. */
export function regionAbove({ rows, columns, values }: PatchValues, range: ValueRange, level: number): Region {
  const highest = values.reduce((best, value, at) => (value > values[best]! ? at : best), 0)
  let [left, right] = [highest % columns, highest % columns]
  let [top, bottom] = [Math.floor(highest / columns), Math.floor(highest / columns)]
  for (const [at, value] of values.entries()) {
    if (shareOf(value, range) < level) continue
    const [row, column] = [Math.floor(at / columns), at % columns]
    left = Math.min(left, column)
    right = Math.max(right, column)
    top = Math.min(top, row)
    bottom = Math.max(bottom, row)
  }
  return { left: left / columns, top: top / rows, width: (right + 1 - left) / columns, height: (bottom + 1 - top) / rows }
}
