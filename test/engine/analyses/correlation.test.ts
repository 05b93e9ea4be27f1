import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pearson, spearman } from '../../../src/engine/analyses/compare/statistics/correlation.js'

describe('correlations', () => {
  test('are those of NumPy, ties sharing their rank', () => {
    const [x, y] = [
      [1, 2, 2, 5, 9],
      [2, 1, 4, 4, 30],
    ]
    expect(pearson(x, y)).toBeCloseTo(0.9117179936602714, 12)
    expect(spearman(x, y)).toBeCloseTo(0.7631578947368421, 12)
  })

  test('are 1 for any straight line, and by ranks for anything that only rises', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: -1000, max: 1000 }), { minLength: 3, maxLength: 30 }), (x) => {
        expect(
          pearson(
            x,
            x.map((value) => 3 * value - 7),
          ),
        ).toBeCloseTo(1, 9)
        expect(
          pearson(
            x,
            x.map((value) => -value),
          ),
        ).toBeCloseTo(-1, 9)
        expect(
          spearman(
            x,
            x.map((value) => Math.exp(value / 500)),
          ),
        ).toBeCloseTo(1, 9)
      }),
    )
  })

  test('are no number where nothing varies', () => {
    expect(pearson([1, 1, 1], [1, 2, 3])).toBeNaN()
    expect(spearman([1, 2, 3], [4, 4, 4])).toBeNaN()
  })
})
