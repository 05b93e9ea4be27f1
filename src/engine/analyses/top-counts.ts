/** How many of the largest a graph hands out: one of a few counts, so that asking for more or fewer seldom compiles anything. */

import type { Tensor } from '../tensor.js'

const COUNTS = [16, 128, 1024, 8192, 65_536]

/** At least `wanted` of them, where there are as many. */
export function topCount(wanted: number, nAll: number): number {
  return Math.min(COUNTS.find((count) => count >= wanted) ?? nAll, nAll)
}

/** The first `k` along the last axis, and all of them where there are fewer. */
export function firstOf({ dtype, shape, data }: Tensor<'float32'>, k: number): Tensor<'float32'> {
  const length = shape.at(-1)!
  if (length <= k) return { dtype, shape, data }
  const kept = new Float32Array((data.length / length) * k)
  for (let row = 0; row * length < data.length; row++) kept.set(data.subarray(row * length, row * length + k), row * k)
  return { dtype, shape: [...shape.slice(0, -1), k], data: kept }
}
