import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  halfEffectStrength,
  largestChange,
  quantile,
  shareBeaten,
  slopeAtZero,
  withOrigin,
} from '../../../src/engine/analyses/steering/dose-response.js'
import { byNorm, randomDirections } from '../../../src/engine/analyses/steering/random-directions.js'
import { lengthOf } from '../../../src/engine/vectors.js'

const curveOf = (strengths: readonly number[], of: (strength: number) => number) =>
  strengths.map((strength) => ({ strength, change: of(strength) }))
const strengths = fc.uniqueArray(fc.integer({ min: -40, max: 40 }), { minLength: 3, maxLength: 12 })
const coefficient = fc.double({ min: -5, max: 5, noNaN: true })

describe('the slope at 0', () => {
  test('is that of a parabola, wherever its points are', () => {
    fc.assert(
      fc.property(strengths, coefficient, coefficient, (at, a, b) => {
        const curve = withOrigin(
          curveOf(at, (s) => a * s + b * s * s),
          true,
        )
        expect(slopeAtZero(curve)).toBeCloseTo(a, 6)
      }),
    )
  })

  test('is that of a line through two points, and none of one', () => {
    expect(slopeAtZero(withOrigin([{ strength: 2, change: 3 }], true))).toBe(1.5)
    expect(slopeAtZero([{ strength: 2, change: 3 }])).toBeNull()
    expect(slopeAtZero(curveOf([0, 1, 2], () => Number.NaN))).toBeNull()
  })

  test('does not take 0 for the picture as it is where it is not', () => {
    const set = withOrigin(
      curveOf([1, 2, 3], (s) => 5 + 2 * s),
      false,
    )
    expect(set).toHaveLength(3)
    expect(slopeAtZero(set)).toBeCloseTo(2, 9)
  })
})

describe('the half-effect strength', () => {
  test('of a straight line is half of the last strength, on the side of the largest change', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 30 }), coefficient, (below, above, slope) => {
        fc.pre(below !== above && Math.abs(slope) > 1e-3)
        const curve = withOrigin(
          curveOf([-below, above], (s) => slope * s),
          true,
        )
        expect(halfEffectStrength(curve)).toBeCloseTo(above > below ? above / 2 : -below / 2, 6)
      }),
    )
  })

  test('lies where half of the largest change is first reached', () => {
    // up, back, and up again: half is reached on the way up
    const curve = withOrigin(
      [1, 2, 3, 4].map((strength, at) => ({ strength, change: [4, 1, 2, 6][at]! })),
      true,
    )
    expect(halfEffectStrength(curve)).toBeCloseTo(0.75, 9)
    expect(halfEffectStrength(withOrigin([{ strength: 1, change: -Number.MIN_VALUE }], true))).toBe(0.5)
    fc.assert(
      fc.property(fc.array(coefficient, { minLength: 2, maxLength: 8 }), (changes) => {
        const measured = withOrigin(
          changes.map((change, at) => ({ strength: at + 1, change })),
          true,
        )
        const half = halfEffectStrength(measured)
        const largest = largestChange(changes)
        if (largest === 0) expect(half).toBeNull()
        else {
          expect(half).toBeGreaterThan(0)
          expect(half).toBeLessThanOrEqual(changes.indexOf(largest) + 1)
        }
      }),
    )
  })

  test('is not there where nothing changes, or where numbers are none', () => {
    expect(
      halfEffectStrength(
        withOrigin(
          curveOf([-1, 1], () => 0),
          true,
        ),
      ),
    ).toBeNull()
    expect(
      halfEffectStrength(
        withOrigin(
          curveOf([-1, 1], () => Number.POSITIVE_INFINITY),
          true,
        ),
      ),
    ).toBeNull()
  })
})

test('quantiles are linear between ranks', () => {
  const expected = [0, 0.2, 2, 8.6, 10]
  for (const [at, share] of [0, 0.05, 0.5, 0.95, 1].entries()) expect(quantile([0, 1, 2, 3, 10], share)).toBeCloseTo(expected[at]!, 12)
})

test('what is beaten changes less, in either direction', () => {
  expect(shareBeaten(-2, [1, -1.9, 2, 3])).toBe(0.5)
  expect(shareBeaten(0, [0, 0])).toBe(0)
})

describe('random directions', () => {
  test('are of the norm that was asked for, the same for the same seed, and a longer list begins with a shorter one', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 31 - 1 }),
        fc.integer({ min: 1, max: 40 }),
        fc.double({ min: 0.01, max: 100, noNaN: true }),
        (seed, length, norm) => {
          const five = randomDirections(5, { seed, length, norm })
          for (const direction of five) expect(Math.abs(lengthOf(direction) / norm - 1)).toBeLessThan(1e-5)
          expect(randomDirections(2, { seed, length, norm })).toEqual(five.slice(0, 2))
        },
      ),
    )
    expect(randomDirections(1, { seed: 1, length: 8, norm: 1 })).not.toEqual(randomDirections(1, { seed: 2, length: 8, norm: 1 }))
  })

  test('point everywhere alike', () => {
    const many = randomDirections(4000, { seed: 3, length: 3, norm: 1 })
    for (const axis of [0, 1, 2]) {
      const mean = many.reduce((sum, direction) => sum + direction[axis]!, 0) / many.length
      const square = many.reduce((sum, direction) => sum + direction[axis]! ** 2, 0) / many.length
      expect(Math.abs(mean)).toBeLessThan(0.04)
      expect(Math.abs(square - 1 / 3)).toBeLessThan(0.02)
    }
  })

  test('are shared by directions whose norms differ by rounding alone', () => {
    const groups = byNorm([Float32Array.of(3, 4), Float32Array.of(0, 5.000001), Float32Array.of(1, 0)])
    expect(groups.map(({ members }) => members)).toEqual([[0, 1], [2]])
  })
})
