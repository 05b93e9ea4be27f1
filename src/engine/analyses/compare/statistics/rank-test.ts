/**
 * Two samples compared by ranks: how often a value of the first lies above one of the second, and how likely that is by chance.
 * Mann and Whitney (1947); tie correction and continuity as SciPy's `mannwhitneyu` has them.
 */

import { twoSidedTail } from './normal-tail.js'

/**
 * Values of two samples, finite and none of them negative. Zeros are not listed: an SAE's activations are mostly zeros, and all of those are one tie.
 */
export interface Samples {
  readonly nA: number
  readonly nB: number
  /** Positive values of the first sample, ascending. */
  readonly a: Float64Array
  readonly b: Float64Array
}

export interface RankTest {
  /** P(a > b) + P(a = b) / 2 for values drawn of each: the area under the ROC curve, U / (nA nB). */
  readonly auroc: number
  /** Two-sided. */
  readonly pValue: number
  /** Whether the p-value is that of all orders of the values, and not the normal approximation. */
  readonly isExact: boolean
}

/** Of equal values, how many there are in all, and of the first sample: ascending by value. */
interface Tie {
  readonly size: number
  readonly ofA: number
}

/** The smaller sample at most, and both together: there the normal approximation is coarse, and all orders can be counted. */
const EXACT_SMALLER = 8
const EXACT_TOTAL = 60
/** Patterns of ties that are remembered. */
const MOST_KNOWN = 512

export type RankTests = (samples: Samples) => RankTest

/** Tests that remember how the orders of few values are counted: of sparse activations, with one large tie at zero, few patterns occur. */
export function rankTests(): RankTests {
  const known = new Map<string, Float64Array>()
  const countsOf = (groups: readonly Tie[], nA: number) => {
    const key = `${nA}:${groups.map(({ size }) => size).join()}`
    const counts = known.get(key) ?? choicesByU(groups, nA)
    if (known.size < MOST_KNOWN) known.set(key, counts)
    return counts
  }
  return (samples) => rankTest(samples, countsOf)
}

function rankTest(samples: Samples, countsOf: (groups: readonly Tie[], nA: number) => Float64Array): RankTest {
  const { nA, nB } = samples
  const groups = ties(samples)
  let below = 0
  let u = 0
  for (const { size, ofA } of groups) {
    const ofB = size - ofA
    u += ofA * (below + ofB / 2)
    below += ofB
  }
  const auroc = u / (nA * nB)
  const isExact = Math.min(nA, nB) <= EXACT_SMALLER && nA + nB <= EXACT_TOTAL
  const pValue = isExact ? exactP(u, countsOf(groups, nA)) : approximateP(u, groups, samples)
  return { auroc, pValue, isExact }
}

function ties({ nA, nB, a, b }: Samples): Tie[] {
  const groups: Tie[] = []
  const zeros = nA - a.length
  const size = zeros + nB - b.length
  if (size > 0) groups.push({ size, ofA: zeros })
  for (let i = 0, j = 0; i < a.length || j < b.length; ) {
    const value = Math.min(a[i] ?? Number.POSITIVE_INFINITY, b[j] ?? Number.POSITIVE_INFINITY)
    const [fromA, fromB] = [i, j]
    while (a[i] === value) i++
    while (b[j] === value) j++
    groups.push({ size: i - fromA + j - fromB, ofA: i - fromA })
  }
  return groups
}

/** The normal distribution of U's mean and variance given the ties, with the correction for continuity. */
function approximateP(u: number, groups: readonly Tie[], { nA, nB }: Samples): number {
  const n = nA + nB
  const tied = groups.reduce((sum, { size }) => sum + size * (size * size - 1), 0)
  const variance = ((nA * nB) / 12) * (n + 1 - tied / (n * (n - 1)))
  if (variance <= 0) return 1
  const distance = Math.abs(u - (nA * nB) / 2) - 0.5
  return distance <= 0 ? 1 : twoSidedTail(distance / Math.sqrt(variance))
}

/**
 * Twice the smaller tail of U over all choices of nA among the n values, ties and all.
 *
 * Choices are counted by how many values are chosen and by twice their U (a whole number), one tie after another: choosing k of a tie of t
 * with r of the others below adds k (2 r + t - k).
 *
 * @param counts  of `choicesByU`
 */
function exactP(u: number, counts: Float64Array): number {
  const twice = Math.round(2 * u)
  let [lower, upper, all] = [0, 0, 0]
  for (let at = 0; at < counts.length; at++) {
    const count = counts[at]!
    all += count
    if (at <= twice) lower += count
    if (at >= twice) upper += count
  }
  return Math.min(1, (2 * Math.min(lower, upper)) / all)
}

/** At index i: in how many choices twice U is i. */
function choicesByU(groups: readonly Tie[], nA: number): Float64Array {
  const n = groups.reduce((sum, { size }) => sum + size, 0)
  const width = 2 * nA * (n - nA) + 1
  // by how many are chosen: one row for each
  let counts = Array.from({ length: nA + 1 }, () => new Float64Array(width))
  counts[0]![0] = 1
  let seen = 0
  for (const { size } of groups) {
    const next = Array.from({ length: nA + 1 }, () => new Float64Array(width))
    for (let chosen = 0; chosen <= Math.min(nA, seen); chosen++) {
      const below = seen - chosen
      let ways = 1
      for (let k = 0; k <= Math.min(size, nA - chosen); k++) {
        const step = k * (2 * below + size - k)
        const from = counts[chosen]!
        const to = next[chosen + k]!
        for (let at = 0; at + step < width; at++) to[at + step]! += ways * from[at]!
        ways = (ways * (size - k)) / (k + 1)
      }
    }
    counts = next
    seen += size
  }
  return counts[nA]!
}
