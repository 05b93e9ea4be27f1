import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { falseDiscoveryRates } from '../../../../src/engine/analyses/compare/statistics/false-discovery.js'
import { twoSidedTail } from '../../../../src/engine/analyses/compare/statistics/normal-tail.js'
import { rankTests, type Samples } from '../../../../src/engine/analyses/compare/statistics/rank-test.js'
import { separation } from '../../../../src/engine/analyses/compare/statistics/two-samples.js'
import { readGolden } from '../compare-goldens.js'

interface Golden {
  readonly cases: readonly {
    readonly a: readonly number[]
    readonly b: readonly number[]
    readonly auroc: number
    readonly isExact: boolean
    /** Null where there are too many orders to list. */
    readonly pValue: number | null
    readonly cohensD: number | null
    readonly meanA: number
    readonly meanB: number
    readonly frequencyA: number
    readonly frequencyB: number
  }[]
  readonly tails: readonly { readonly z: number; readonly p: number }[]
  readonly discovery: { readonly p: readonly number[]; readonly q: readonly number[] }
}

const golden = readGolden<Golden>('statistics.json')
const rankTest = rankTests()

function samplesOf(a: readonly number[], b: readonly number[]): Samples {
  const positive = (values: readonly number[]) => Float64Array.from(values.filter((value) => value > 0)).sort()
  return { nA: a.length, nB: b.length, a: positive(a), b: positive(b) }
}

/** Relative; of p-values down to where floats end. */
const close = (actual: number, expected: number, tolerance = 1e-10) =>
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(tolerance * Math.abs(expected))

describe('two samples', () => {
  test.each(golden.cases.map((each, index) => [index, each] as const))('case %i is as SciPy has it', (_, expected) => {
    const found = separation(samplesOf(expected.a, expected.b), rankTest)
    close(found.auroc, expected.auroc)
    expect(found.isExact).toBe(expected.isExact)
    if (expected.pValue !== null) close(found.pValue, expected.pValue)
    if (expected.cohensD === null) expect(found.cohensD).toBeUndefined()
    else close(found.cohensD!, expected.cohensD)
    close(found.a.mean, expected.meanA)
    close(found.b.mean, expected.meanB)
    close(found.a.frequency, expected.frequencyA)
    close(found.b.frequency, expected.frequencyB)
    expect(found.rankBiserial).toBe(2 * found.auroc - 1)
  })

  test('most cases have a p-value to compare with', () => {
    expect(golden.cases.filter(({ pValue }) => pValue !== null).length).toBeGreaterThanOrEqual(10)
  })

  const values = (max: number) => fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 2, maxLength: max })

  test('the other way round the area is what is left of 1, the effect the opposite, the p-value the same', () => {
    fc.assert(
      fc.property(values(40), values(12), (a, b) => {
        const [there, back] = [separation(samplesOf(a, b), rankTest), separation(samplesOf(b, a), rankTest)]
        expect(there.auroc + back.auroc).toBeCloseTo(1, 12)
        expect(there.rankBiserial).toBeCloseTo(-back.rankBiserial, 12)
        expect(there.pValue).toBeCloseTo(back.pValue, 10)
        if (there.cohensD !== undefined) expect(there.cohensD).toBeCloseTo(-back.cohensD!, 12)
      }),
    )
  })

  test('the area is the share of pairs in which the first is larger, ties counting half', () => {
    fc.assert(
      fc.property(values(15), values(15), (a, b) => {
        const pairs = a.flatMap((x) => b.map((y) => (x > y ? 1 : x === y ? 0.5 : 0)))
        expect(separation(samplesOf(a, b), rankTest).auroc).toBeCloseTo(
          pairs.reduce((sum: number, each) => sum + each, 0) / pairs.length,
          12,
        )
      }),
    )
  })

  test('a monotone change of all values changes no rank statistic', () => {
    fc.assert(
      fc.property(values(15), values(15), (a, b) => {
        const curved = (list: number[]) => list.map((value) => (value === 0 ? 0 : Math.exp(value) / 7))
        const [plain, changed] = [separation(samplesOf(a, b), rankTest), separation(samplesOf(curved(a), curved(b)), rankTest)]
        expect([changed.auroc, changed.pValue]).toEqual([plain.auroc, plain.pValue])
      }),
    )
  })
})

test.each(golden.tails)('the two tails beyond $z', ({ z, p }) => close(twoSidedTail(z), p, 1e-11))

test('false discovery rates are those of SciPy, in the order of the tests', () => {
  const rates = falseDiscoveryRates(Float64Array.from(golden.discovery.p))
  for (const [at, rate] of rates.entries()) close(rate, golden.discovery.q[at]!)
})

test('no tests, no rates', () => {
  expect(falseDiscoveryRates(new Float64Array(0))).toEqual(new Float64Array(0))
})
