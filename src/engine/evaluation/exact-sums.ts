/**
 * Sums whose result does not depend on the order of what is added, so that shards merge to the same bits in whatever order they arrive. Each
 * number is rounded once to a multiple of 2^-30 and split into its whole and its fractional part; sums of either are exact in float64, for up
 * to 2^23 numbers and a total below 2^53.
 */

const GRID = 2 ** 30

export interface ExactSums {
  readonly whole: Float64Array
  readonly fraction: Float64Array
}

export const exactSums = (length: number): ExactSums => ({ whole: new Float64Array(length), fraction: new Float64Array(length) })

/** A number that is none makes the sum none. */
export function addExactly({ whole, fraction }: ExactSums, at: number, value: number): void {
  const integer = Math.trunc(value)
  whole[at]! += integer
  fraction[at]! += Math.round((value - integer) * GRID) / GRID
}

export function mergeSums(a: ExactSums, b: ExactSums): ExactSums {
  return { whole: a.whole.map((value, at) => value + b.whole[at]!), fraction: a.fraction.map((value, at) => value + b.fraction[at]!) }
}

export const sumAt = ({ whole, fraction }: ExactSums, at: number): number => whole[at]! + fraction[at]!
