/**
 * `expect(tensor).toBeCloseTensor(expected)`: the same shape, and every element within a tolerance of the value's scale, which is the
 * largest finite magnitude in `expected`. In float32 the tolerance is 1e-5 of the scale. Whole numbers and bools must be equal; NaN and
 * infinities must be in the same places. Import this file for its effect.
 */

import { expect } from 'vitest'
import type { Tensor } from '../../src/engine/tensor.js'

export interface CloseTensorOptions {
  /** As a part of the scale. Default 1e-5. */
  readonly tolerance?: number
}

declare module 'vitest' {
  // biome-ignore lint/suspicious/noExplicitAny: the type parameter is vitest's own
  interface Matchers<T = any> {
    toBeCloseTensor(expected: Tensor, options?: CloseTensorOptions): T
  }
}

expect.extend({
  toBeCloseTensor(actual: Tensor, expected: Tensor, options: CloseTensorOptions = {}) {
    const difference = describeDifference(actual, expected, options)
    return { pass: difference === undefined, message: () => difference ?? 'expected the tensors to differ' }
  },
})

const isFloat = ({ dtype }: Tensor) => dtype === 'float32' || dtype === 'float64'

/** Why `actual` is not close to `expected`; undefined when it is. */
export function describeDifference(actual: Tensor, expected: Tensor, { tolerance = 1e-5 }: CloseTensorOptions = {}): string | undefined {
  const isComparable = actual.dtype === expected.dtype || (isFloat(actual) && isFloat(expected))
  if (!isComparable) return `expected ${expected.dtype}, got ${actual.dtype}`
  if (actual.shape.join() !== expected.shape.join()) return `expected shape [${expected.shape}], got [${actual.shape}]`
  const [given, wanted] = [Array.from(actual.data, Number), Array.from(expected.data, Number)]
  if (given.length !== wanted.length) return `expected ${wanted.length} elements, got ${given.length}`
  const allowed = isFloat(expected) ? tolerance * scaleOf(expected) : 0
  const worst = given
    .map((value, at) => ({ at, value, wanted: wanted[at]!, off: distance(value, wanted[at]!) }))
    .reduce((most, each) => (each.off > most.off ? each : most), { at: -1, value: 0, wanted: 0, off: 0 })
  if (worst.off <= allowed) return undefined
  return `element ${worst.at} is ${worst.value}, expected ${worst.wanted}: off by ${worst.off}, allowed ${allowed}`
}

/** The largest finite magnitude of a tensor. */
export function scaleOf({ data }: Tensor): number {
  return Array.from(data, Number).reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0)
}

function distance(a: number, b: number): number {
  if (Object.is(a, b) || a === b) return 0
  return Number.isFinite(a) && Number.isFinite(b) ? Math.abs(a - b) : Number.POSITIVE_INFINITY
}
