/**
 * Position tables for another grid of patches, by PyTorch's bicubic interpolation, as DINOv2 in transformers does at every run whose
 * images are not of the trained size. Done once, at load.
 * @see aten/src/ATen/native/UpSample.h (a = -0.75) and native/cpu/UpSampleKernel.cpp (antialias: a = -0.5, as Pillow)
 */

/** `bicubic`: four neighbours, a = -0.75. `bicubicAntialias`: a = -0.5, widened when shrinking, weights normalised. */
export type ResizeRule = 'bicubic' | 'bicubicAntialias'

interface Grid {
  readonly rows: number
  readonly columns: number
}

/** Which inputs make one output, and with what weights. */
interface Taps {
  readonly first: number
  readonly weights: readonly number[]
}

/** @param table  `[rows * columns, width]`, row by row */
export function resizeGrid(
  table: Float32Array,
  { from, to, width }: { readonly from: Grid; readonly to: Grid; readonly width: number },
  rule: ResizeRule,
): Float32Array {
  const tapsOf = rule === 'bicubic' ? plainTaps : antialiasTaps
  const columnTaps = tapsOf(from.columns, to.columns)
  const rowTaps = tapsOf(from.rows, to.rows)
  const narrowed = new Float64Array(from.rows * to.columns * width)
  for (let row = 0; row < from.rows; row++) {
    mix(columnTaps, { source: table, sourceAt: (column) => (row * from.columns + column) * width, length: from.columns }, width, {
      target: narrowed,
      targetAt: (column) => (row * to.columns + column) * width,
    })
  }
  const result = new Float64Array(to.rows * to.columns * width)
  mix(rowTaps, { source: narrowed, sourceAt: (row) => row * to.columns * width, length: from.rows }, to.columns * width, {
    target: result,
    targetAt: (row) => row * to.columns * width,
  })
  return Float32Array.from(result)
}

function mix(
  taps: readonly Taps[],
  { source, sourceAt, length }: { source: ArrayLike<number>; sourceAt: (index: number) => number; length: number },
  width: number,
  { target, targetAt }: { target: Float64Array; targetAt: (index: number) => number },
): void {
  taps.forEach(({ first, weights }, output) => {
    weights.forEach((weight, tap) => {
      const from = sourceAt(Math.min(Math.max(first + tap, 0), length - 1)) // beyond the edge, the edge
      const to = targetAt(output)
      for (let d = 0; d < width; d++) target[to + d]! += weight * source[from + d]!
    })
  })
}

function plainTaps(from: number, to: number): Taps[] {
  return Array.from({ length: to }, (_, output) => {
    const centre = ((output + 0.5) * from) / to - 0.5
    const first = Math.floor(centre) - 1
    const weights = Array.from({ length: 4 }, (_, tap) => cubic(centre - (first + tap), -0.75))
    return { first, weights }
  })
}

function antialiasTaps(from: number, to: number): Taps[] {
  const scale = from / to
  const stretch = Math.max(scale, 1)
  const support = 2 * stretch
  return Array.from({ length: to }, (_, output) => {
    const centre = scale * (output + 0.5)
    const first = Math.max(Math.trunc(centre - support + 0.5), 0)
    const end = Math.min(Math.trunc(centre + support + 0.5), from)
    const raw = Array.from({ length: end - first }, (_, tap) => cubic((first + tap - centre + 0.5) / stretch, -0.5))
    const sum = raw.reduce((total, weight) => total + weight, 0)
    return { first, weights: raw.map((weight) => weight / sum) }
  })
}

/** Keys' cubic convolution kernel. */
function cubic(distance: number, a: number): number {
  const x = Math.abs(distance)
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0
}
