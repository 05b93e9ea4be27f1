/** Everything that is said of a feature's values in two sets of images. */

import type { RankTest, RankTests, Samples } from './rank-test.js'

export interface Side {
  /** Over all values, zeros included. */
  readonly mean: number
  /** Share of the values above 0. */
  readonly frequency: number
}

export interface Separation extends RankTest {
  /** The difference of the means over the pooled standard deviation (Cohen's d); undefined where nothing varies. */
  readonly cohensD: number | undefined
  /** 2 AUROC - 1: from -1, all of A below all of B, to 1. */
  readonly rankBiserial: number
  readonly a: Side
  readonly b: Side
}

/** @param samples  each of at least two values */
export function separation(samples: Samples, rankTest: RankTests): Separation {
  const { nA, nB } = samples
  const ranks = rankTest(samples)
  const [a, b] = [moments(samples.a, nA), moments(samples.b, nB)]
  const variance = (a.squares + b.squares) / (nA + nB - 2)
  return {
    ...ranks,
    cohensD: variance > 0 ? (a.mean - b.mean) / Math.sqrt(variance) : undefined,
    rankBiserial: 2 * ranks.auroc - 1,
    a: { mean: a.mean, frequency: samples.a.length / nA },
    b: { mean: b.mean, frequency: samples.b.length / nB },
  }
}

/** Mean, and the sum of squared distances from it, of `n` values of which the positive ones are given. */
function moments(positive: Float64Array, n: number): { mean: number; squares: number } {
  const mean = positive.reduce((sum, value) => sum + value, 0) / n
  const ofPositive = positive.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { mean, squares: ofPositive + (n - positive.length) * mean ** 2 }
}
