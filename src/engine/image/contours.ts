/**
 * Lines of equal value over a picture: around patches, or by marching squares through the smooth field between their middles. Each has a
 * dark rim, so that it shows on any ground.
 */

import { type Interpolation, type PatchValues, shareOf, shares, type ValueRange } from './patch-values.js'
import type { Pixels } from './pixels.js'
import type { Size } from './resample.js'

export interface ContourLine {
  /** Share of the range, 0..1. What is at the level is inside. */
  readonly level: number
  readonly colour: readonly [red: number, green: number, blue: number]
}

/** From x, y to x, y. */
export type Segment = readonly [number, number, number, number]
type Point = readonly [number, number]

const RIM: ContourLine['colour'] = [16, 16, 16]
/** Pixels between two samples of the smooth field, as long as there are no more than so many along a side. */
const [SAMPLE_PIXELS, MOST_SAMPLES] = [4, 256]

export interface Field {
  readonly patches: PatchValues
  readonly range: ValueRange
  readonly interpolation: Interpolation
}

/** `rgb` with the lines on it. */
export function drawContours(rgb: Pixels, lines: readonly ContourLine[], field: Field): Pixels {
  const { width, height } = rgb
  const data = Uint8Array.from(rgb.data)
  const { rows, columns } = field.patches
  // where patches are small, lines leave something of them, and cost no more than they show
  const thickness = Math.max(1, Math.min(Math.max(2, Math.max(width, height) / 150), width / columns / 3, height / rows / 3))
  for (const { level, colour } of lines) {
    const segments = contourSegments(field, rgb, level)
    const distances = distancesFrom(segments, { width, height, reach: thickness / 2 + 2 })
    for (let at = 0; at < distances.length; at++) {
      if (distances[at] === Number.POSITIVE_INFINITY) continue
      const distance = Math.sqrt(distances[at]!)
      paint(data, at * 3, RIM, 0.6 * coverage(distance, thickness / 2 + 1))
      paint(data, at * 3, colour, coverage(distance, thickness / 2))
    }
  }
  return { ...rgb, data }
}

/** The pieces of a line, in pixels. */
export function contourSegments(field: Field, size: Size, level: number): Segment[] {
  return field.interpolation === 'block' ? edges(field, size, level) : isolines(field, size, level)
}

/** Between patches of which one is inside. */
function edges({ patches, range }: Field, { width, height }: Size, level: number): Segment[] {
  const { rows, columns, values } = patches
  const isInside = (row: number, column: number) => shareOf(values[row * columns + column]!, range) >= level
  const [across, down] = [width / columns, height / rows]
  const segments: Segment[] = []
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const [x, y] = [(column + 1) * across, (row + 1) * down]
      if (column + 1 < columns && isInside(row, column) !== isInside(row, column + 1)) segments.push([x, row * down, x, y])
      if (row + 1 < rows && isInside(row, column) !== isInside(row + 1, column)) segments.push([column * across, y, x, y])
    }
  }
  return segments
}

function isolines({ patches, range }: Field, { width, height }: Size, level: number): Segment[] {
  const nAcross = samplesAlong(width, patches.columns)
  const nDown = samplesAlong(height, patches.rows)
  const samples = shares(patches, range, { width: nAcross, height: nDown, interpolation: 'smooth' })
  const [across, down] = [width / nAcross, height / nDown]
  const segments: Segment[] = []
  for (let row = 0; row + 1 < nDown; row++) {
    for (let column = 0; column + 1 < nAcross; column++) {
      const at = row * nAcross + column
      const square = [samples[at]!, samples[at + 1]!, samples[at + nAcross + 1]!, samples[at + nAcross]!] as const
      for (const [x0, y0, x1, y1] of crossings(square, level)) {
        const [x, y] = [column + 0.5, row + 0.5]
        segments.push([(x + x0) * across, (y + y0) * down, (x + x1) * across, (y + y1) * down])
      }
    }
  }
  return segments
}

const samplesAlong = (length: number, nPatches: number) => Math.max(nPatches, Math.min(Math.ceil(length / SAMPLE_PIXELS), MOST_SAMPLES))

/** Where the line crosses a square of side 1, its corners clockwise from the top left. */
function crossings([a, b, c, d]: readonly [number, number, number, number], level: number): readonly Segment[] {
  const inside = [a, b, c, d].filter((share) => share >= level).length
  if (inside === 0 || inside === 4) return []
  const between = (from: number, to: number) => (level - from) / (to - from)
  const isCut = (from: number, to: number) => from >= level !== to >= level
  const top: Point[] = isCut(a, b) ? [[between(a, b), 0]] : []
  const right: Point[] = isCut(b, c) ? [[1, between(b, c)]] : []
  const bottom: Point[] = isCut(d, c) ? [[between(d, c), 1]] : []
  const left: Point[] = isCut(a, d) ? [[0, between(a, d)]] : []
  const [first, second, third, fourth] = [...top, ...right, ...bottom, ...left]
  if (!third || !fourth) return [[...first!, ...second!]]
  // a saddle: the middle says which corners belong together
  const isJoined = (a + b + c + d) / 4 >= level === a >= level
  return isJoined
    ? [
        [...first!, ...second!],
        [...third, ...fourth],
      ]
    : [
        [...fourth, ...first!],
        [...second!, ...third],
      ]
}

/** Of each pixel's middle from the nearest segment, squared; infinite beyond `reach`. */
function distancesFrom(segments: readonly Segment[], { width, height, reach }: { width: number; height: number; reach: number }) {
  const distances = new Float32Array(width * height).fill(Number.POSITIVE_INFINITY)
  for (const segment of segments) {
    const [x0, y0, x1, y1] = segment
    const lastX = Math.min(width - 1, Math.floor(Math.max(x0, x1) + reach))
    const lastY = Math.min(height - 1, Math.floor(Math.max(y0, y1) + reach))
    for (let y = Math.max(0, Math.floor(Math.min(y0, y1) - reach)); y <= lastY; y++) {
      for (let x = Math.max(0, Math.floor(Math.min(x0, x1) - reach)); x <= lastX; x++) {
        const distance = squaredDistance(segment, x + 0.5, y + 0.5)
        if (distance < distances[y * width + x]!) distances[y * width + x] = distance
      }
    }
  }
  return distances
}

function squaredDistance([x0, y0, x1, y1]: Segment, x: number, y: number): number {
  const [across, down] = [x1 - x0, y1 - y0]
  const length = across * across + down * down
  const along = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - x0) * across + (y - y0) * down) / length))
  return (x - x0 - along * across) ** 2 + (y - y0 - along * down) ** 2
}

const coverage = (distance: number, reach: number) => Math.min(1, Math.max(0, reach + 0.5 - distance))

function paint(rgb: Uint8Array, at: number, colour: ContourLine['colour'], opacity: number): void {
  if (opacity <= 0) return
  for (let band = 0; band < 3; band++) rgb[at + band] = Math.round(rgb[at + band]! + (colour[band]! - rgb[at + band]!) * opacity)
}
