/**
 * Axes of plots: from numbers to places, with round numbers to write beside them.
 */

/** Places run from 0 at the lower end to the axis' length. */
export interface Axis {
  readonly place: (value: number) => number
  readonly ticks: readonly number[]
}

/** Less is nothing: its parts would be too small to be numbers. */
const LEAST_SPAN = 1e-290

/** About five ticks, at 1, 2 or 5 times a power of ten. @param leastStep  between ticks, 1 for what is counted */
export function linearAxis(
  [low, high]: readonly [number, number],
  { length, leastStep = 0 }: { length: number; leastStep?: number },
): Axis {
  const span = high - low > LEAST_SPAN ? high - low : 1
  const rough = Math.max(span / 5, leastStep)
  const decade = 10 ** Math.floor(Math.log10(rough))
  const step = decade * ([1, 2, 5, 10].find((factor) => factor * decade >= rough) ?? 10)
  const first = Math.ceil(low / step - 1e-9)
  const ticks = Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, index) => (first + index) * step)
  return { ticks, place: (value) => ((value - low) / span) * length }
}

/** Whole decades; at most nine ticks. Of numbers above 0. */
export function logAxis([lowest, highest]: readonly [number, number], length: number): Axis {
  const [low, high] = [Math.max(lowest, LEAST_SPAN), Math.max(highest, 10 * LEAST_SPAN)]
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))]
  const every = Math.ceil((to - from) / 8)
  const ticks = Array.from({ length: Math.floor((to - from) / every) + 1 }, (_, index) => 10 ** (from + index * every))
  return { ticks, place: (value) => ((Math.log10(Math.max(value, low)) - from) / (to - from)) * length }
}

export function extent(values: readonly number[]): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const value of values) {
    low = Math.min(low, value)
    high = Math.max(high, value)
  }
  return [low, high]
}

/** Room above and below; an axis that nearly reaches 0 begins there. */
export function padded([low, high]: readonly [number, number]): [number, number] {
  const room = (high - low || Math.abs(high) || 1) * 0.06
  const bottom = low >= 0 && low < (high - low) / 2 ? 0 : low - room
  return [bottom, high + room]
}

/** A number as it stands beside an axis. */
export function label(value: number): string {
  const size = Math.abs(value)
  if (size === 0) return '0'
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`
  return size < 1e-3 ? value.toExponential(0).replace('e-', 'e−') : String(Number(value.toPrecision(4)))
}
