/**
 * Pillow's 8-bit resampling (`Image.resize` of modes L and RGB, and of bands in fours), bit for bit: a separable convolution in 22-bit fixed point, rounded to
 * bytes between the passes. When shrinking, the filter is stretched by the scale (antialiasing). The algorithm is that of Pillow's
 * `Resample.c`; `nearest` is that of its `Geometry.c`.
 *
 * Only a window of the result is computed, and rows stream through, so that memory follows the window and not the picture's shape.
 */

import type { Pixels } from './pixels.js'
import type { ResampleFilter } from './preprocessing.js'

export interface Size {
  readonly width: number
  readonly height: number
}

/** A rectangle of the result, inside it. */
export interface Window extends Size {
  readonly left: number
  readonly top: number
}

/** Resizes to `size` and returns the part of the result inside `window` (default: all of it). */
export function resample(image: Pixels, size: Size, filter: ResampleFilter, window: Window = { left: 0, top: 0, ...size }): Pixels {
  const data = filter === 'nearest' ? nearest(image, size, window) : convolve(image, size, filters[filter], window)
  return { width: window.width, height: window.height, channels: image.channels, data }
}

interface Filter {
  readonly support: number
  /** Weight at a distance, in source pixels of the unstretched filter. */
  readonly weight: (x: number) => number
}

const sinc = (x: number) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI))

const filters: Record<Exclude<ResampleFilter, 'nearest'>, Filter> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    // Single-precision constants, and exactly 1 at 0 (they sum to a little more), as in Pillow: the weights show it.
    weight: (x) => {
      if (x === 0) return 1
      return Math.abs(x) >= 1 ? 0 : sinc(x) * (Math.fround(0.54) + Math.fround(0.46) * Math.cos(x * Math.PI))
    },
  },
  bicubic: {
    support: 2,
    weight: (signed) => {
      const x = Math.abs(signed)
      const a = -0.5
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
    },
  },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
}

const PRECISION_BITS = 22
const HALF = 1 << (PRECISION_BITS - 1)
/** Weights held at once; more are computed in bands, so that a picture of a million columns does not cost a gigabyte of weights. */
const MAX_WEIGHTS = 1 << 22

/** For output indices `first` to `first + count`: the source range `[from[i], to[i])` and its fixed-point weights. */
interface Taps {
  readonly count: number
  readonly from: Int32Array
  readonly to: Int32Array
  readonly weights: Int32Array
  /** Distance between two output indices in `weights`. */
  readonly stride: number
}

function tapStride(filter: Filter, inSize: number, outSize: number): number {
  return Math.ceil(filter.support * Math.max(inSize / outSize, 1)) * 2 + 1
}

function taps(filter: Filter, inSize: number, outSize: number, { first, count }: Range): Taps {
  const scale = inSize / outSize
  const stretch = Math.max(scale, 1)
  const support = filter.support * stretch
  const perSource = 1 / stretch
  const stride = tapStride(filter, inSize, outSize)
  const from = new Int32Array(count)
  const to = new Int32Array(count)
  const weights = new Int32Array(count * stride)
  const real = new Float64Array(stride)
  for (let index = 0; index < count; index++) {
    const center = (first + index + 0.5) * scale
    const start = Math.max(0, Math.trunc(center - support + 0.5))
    const end = Math.min(inSize, Math.trunc(center + support + 0.5))
    let sum = 0
    for (let tap = 0; tap < end - start; tap++) {
      const weight = filter.weight((tap + start - center + 0.5) * perSource)
      real[tap] = weight
      sum += weight
    }
    for (let tap = 0; tap < end - start; tap++) {
      const weight = (sum === 0 ? real[tap]! : real[tap]! / sum) * (1 << PRECISION_BITS)
      weights[index * stride + tap] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5)
    }
    from[index] = start
    to[index] = end
  }
  return { count, from, to, weights, stride }
}

/** Consecutive indices along an axis. */
interface Range {
  readonly first: number
  readonly count: number
}

/** Rows of bytes, made when they are asked for. */
interface Rows {
  readonly length: number
  read(y: number, target: Uint8Array): void
}

function convolve(image: Pixels, size: Size, filter: Filter, window: Window): Uint8Array {
  const columns = { first: window.left, count: window.width }
  const rows = { first: window.top, count: window.height }
  if (!goesVerticalFirst(image, size)) {
    return verticalPass(horizontalRows(image, size.width, filter, columns), image.height, size.height, filter, rows)
  }
  const whole = horizontalRows(image, image.width, filter, { first: 0, count: image.width })
  const lower = { ...image, height: rows.count, data: verticalPass(whole, image.height, size.height, filter, rows) }
  const narrower = horizontalRows(lower, size.width, filter, columns)
  return verticalPass(narrower, rows.count, rows.count, filter, { first: 0, count: rows.count })
}

/**
 * Pillow 13's choice, which the rounding between the passes makes visible. Pillow before 12.2 always went horizontally first, 12.2 unless a
 * picture was 100 times as tall as wide; where the choices differ, so do single pixels, by one or two levels.
 */
function goesVerticalFirst(image: Size, size: Size): boolean {
  return size.height < image.height && image.height - size.height > 2 * (image.width - size.width)
}

/** Each source row is read once and added to every output row that it reaches: sums of integers need no order. */
function verticalPass(source: Rows, inHeight: number, outHeight: number, filter: Filter, range: Range): Uint8Array {
  const { length } = source
  const out = new Uint8Array(length * range.count)
  if (inHeight === outHeight) {
    for (let y = 0; y < range.count; y++) source.read(range.first + y, out.subarray(y * length, (y + 1) * length))
    return out
  }
  const bandRows = Math.max(1, Math.floor(MAX_WEIGHTS / tapStride(filter, inHeight, outHeight)))
  for (let done = 0; done < range.count; done += bandRows) {
    const count = Math.min(bandRows, range.count - done)
    const band = taps(filter, inHeight, outHeight, { first: range.first + done, count })
    verticalBand(source, band, out.subarray(done * length, (done + count) * length))
  }
  return out
}

function verticalBand(source: Rows, band: Taps, out: Uint8Array): void {
  const { length } = source
  const row = new Uint8Array(length)
  const sums = new Map<number, Int32Array>()
  let firstOpen = 0
  for (let y = band.from[0]!; y < band.to[band.count - 1]!; y++) {
    source.read(y, row)
    for (let index = firstOpen; index < band.count && band.from[index]! <= y; index++) {
      if (band.to[index]! <= y) continue
      const sum = sums.get(index) ?? new Int32Array(length).fill(HALF)
      sums.set(index, sum)
      const weight = band.weights[index * band.stride + y - band.from[index]!]!
      for (let at = 0; at < length; at++) sum[at] = sum[at]! + Math.imul(row[at]!, weight)
      if (y === band.to[index]! - 1) {
        for (let at = 0; at < length; at++) out[index * length + at] = clipToByte(sum[at]! >> PRECISION_BITS)
        sums.delete(index)
      }
    }
    while (firstOpen < band.count && band.to[firstOpen]! <= y + 1) firstOpen++
  }
}

function horizontalRows(image: Pixels, outWidth: number, filter: Filter, range: Range): Rows {
  const { width, channels, data } = image
  const length = range.count * channels
  if (outWidth === width) {
    return {
      length,
      read(y, target) {
        const start = (y * width + range.first) * channels
        target.set(data.subarray(start, start + length))
      },
    }
  }
  const bandColumns = Math.max(1, Math.floor(MAX_WEIGHTS / tapStride(filter, width, outWidth)))
  const bands = Array.from({ length: Math.ceil(range.count / bandColumns) }, (_, index): Range => {
    const first = index * bandColumns
    return { first, count: Math.min(bandColumns, range.count - first) }
  })
  const tapsOf = (band: Range) => taps(filter, width, outWidth, { first: range.first + band.first, count: band.count })
  const only = bands.length === 1 ? tapsOf(bands[0]!) : undefined
  const rowOf = channels === 3 ? rgbRow : interleavedRow(channels)
  return {
    length,
    read(y, target) {
      for (const band of bands) rowOf(data, y * width * channels, only ?? tapsOf(band), target.subarray(band.first * channels))
    },
  }
}

function rgbRow(data: Uint8Array, rowStart: number, { count, from, to, weights, stride }: Taps, target: Uint8Array): void {
  for (let index = 0; index < count; index++) {
    let red = HALF
    let green = HALF
    let blue = HALF
    let at = rowStart + from[index]! * 3
    const end = index * stride + to[index]! - from[index]!
    for (let tap = index * stride; tap < end; tap++, at += 3) {
      const weight = weights[tap]!
      red = (red + Math.imul(data[at]!, weight)) | 0
      green = (green + Math.imul(data[at + 1]!, weight)) | 0
      blue = (blue + Math.imul(data[at + 2]!, weight)) | 0
    }
    target[index * 3] = clipToByte(red >> PRECISION_BITS)
    target[index * 3 + 1] = clipToByte(green >> PRECISION_BITS)
    target[index * 3 + 2] = clipToByte(blue >> PRECISION_BITS)
  }
}

type RowOf = (data: Uint8Array, rowStart: number, taps: Taps, target: Uint8Array) => void

function interleavedRow(channels: number): RowOf {
  return (data, rowStart, { count, from, to, weights, stride }, target) => {
    for (let index = 0; index < count; index++) {
      const end = index * stride + to[index]! - from[index]!
      for (let channel = 0; channel < channels; channel++) {
        let sum = HALF
        let at = rowStart + from[index]! * channels + channel
        for (let tap = index * stride; tap < end; tap++, at += channels) sum = (sum + Math.imul(data[at]!, weights[tap]!)) | 0
        target[index * channels + channel] = clipToByte(sum >> PRECISION_BITS)
      }
    }
  }
}

function clipToByte(value: number): number {
  return value < 0 ? 0 : Math.min(value, 255)
}

function nearest(image: Pixels, size: Size, window: Window): Uint8Array {
  const columns = nearestIndices(image.width, size.width, window.left, window.width)
  const rows = nearestIndices(image.height, size.height, window.top, window.height)
  const { width, channels, data } = image
  const out = new Uint8Array(window.width * window.height * channels)
  let at = 0
  for (const y of rows) {
    for (const x of columns) {
      for (let channel = 0; channel < channels; channel++) out[at++] = data[(y * width + x) * channels + channel]!
    }
  }
  return out
}

/** The steps are summed, not multiplied, because Pillow sums them: the rounding decides which pixel is taken. */
function nearestIndices(inSize: number, outSize: number, first: number, count: number): Int32Array {
  const step = inSize / outSize
  const indices = new Int32Array(count)
  let position = step * 0.5
  for (let index = 0; index < first + count; index++) {
    if (index >= first) indices[index - first] = Math.min(inSize - 1, Math.trunc(position))
    position += step
  }
  return indices
}
