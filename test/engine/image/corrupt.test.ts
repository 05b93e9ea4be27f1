import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { corrupt } from '../../../src/engine/image/corrupt.js'
import { float32 } from '../../../src/engine/tensor.js'

const picture = float32([1, 1, 4, 4], [...Array(16).keys()])

describe('a spoilt picture', () => {
  test('has noise of the strength that was asked for, the same for the same seed', () => {
    const flat = float32([1, 3, 64, 64], new Float32Array(3 * 64 * 64))
    const noisy = corrupt(flat, { kind: 'noise', strength: 0.5, seed: 4 })
    const deviation = Math.sqrt(noisy.data.reduce((sum, value) => sum + value * value, 0) / noisy.data.length)
    expect(deviation).toBeCloseTo(0.5, 1)
    expect(corrupt(flat, { kind: 'noise', strength: 0.5, seed: 4 })).toEqual(noisy)
    expect(corrupt(flat, { kind: 'noise', strength: 0.5, seed: 5 })).not.toEqual(noisy)
  })

  test('keeps, when it is blurred, what does not vary, and loses what does', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.3, max: 3, noNaN: true }), (radius) => {
        const flat = float32([1, 1, 5, 5], new Float32Array(25).fill(2))
        for (const value of corrupt(flat, { kind: 'blur', radius }).data) expect(value).toBeCloseTo(2, 5)
        const point = float32(
          [1, 1, 41, 41],
          Float32Array.from({ length: 1681 }, (_, at) => Number(at === 840)),
        )
        const blurred = corrupt(point, { kind: 'blur', radius }).data
        expect(blurred.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 4)
        expect(blurred[841]! / blurred[840]!).toBeCloseTo(Math.exp(-1 / (2 * radius * radius)), 4)
      }),
      { numRuns: 20 },
    )
  })

  test('has its mean where it is masked, and is what it was elsewhere', () => {
    const { data } = corrupt(picture, { kind: 'mask', areas: [{ top: 0, left: 2, bottom: 2, right: 4 }] })
    expect([...data]).toEqual([0, 1, 7.5, 7.5, 4, 5, 7.5, 7.5, 8, 9, 10, 11, 12, 13, 14, 15])
  })

  test('can be the mean of others, and leaves the one it is made of as it was', () => {
    const before = [...picture.data]
    const of = float32([2, 1, 4, 4], [...Array(16).fill(1), ...Array(16).fill(4)])
    expect([...corrupt(picture, { kind: 'mean', of }).data]).toEqual(Array(16).fill(2.5))
    expect([...picture.data]).toEqual(before)
  })
})
