/**
 * What an index of one SAE has seen so far. Shards merge in any way into the same, bit for bit: counts and exact sums add up, lists keep the first
 * of an order that has no ties, samples are drawn by hash.
 */

import { EngineError } from '../errors.js'
import { N_BINS } from './activation-bins.js'
import { type CoactiveSample, emptySample, mergeSamples } from './coactive-sample.js'
import { type ExactSums, exactSums, mergeSums } from './exact-sums.js'
import type { TokenKind } from './feature-record.js'
import { mergeRanked, type RankedItems, rankedItems } from './ranked-items.js'

/** What every shard of an index has in common. */
export interface IndexPlan {
  readonly sae: string
  readonly dSae: number
  readonly seed: number
  /** Tokens of a picture, by kind. */
  readonly tokens: Readonly<Partial<Record<TokenKind, number>>>
  /** Tokens of a picture whose codes go into the histograms of activations and into co-activation. */
  readonly sampledPerPicture: number
  /** Examples that are kept of each feature and kind of token. */
  readonly examples: { readonly top: number; readonly sample: number; readonly threshold: number; readonly negative: number }
  /** Length of the pictures' embeddings, for monosemanticity; 0: none. */
  readonly dEmbed: number
}

export const defaultExamples: IndexPlan['examples'] = { top: 16, sample: 8, threshold: 4, negative: 4 }

/** Enough tokens for histograms, all of them where there are few. */
export function defaultSampledPerPicture(nPictures: number, tokensPerPicture: number): number {
  return Math.min(tokensPerPicture, Math.max(1, Math.ceil(2 ** 18 / Math.max(1, nPictures))))
}

/** Of the tokens of a kind; arrays by latent. */
export interface KindStatistics {
  /** Tokens at which it is active. */
  readonly counts: Float64Array
  readonly sums: ExactSums
  readonly squares: ExactSums
  readonly max: Float32Array
  readonly top: RankedItems
  readonly sample: RankedItems
  readonly threshold: RankedItems
  readonly negative: RankedItems
}

/** What the closed form of monosemanticity is made of; scores are of pictures, over all tokens. */
export interface EmbeddingSums {
  /** `[dSae, dEmbed]`: sum of score times embedding, in multiples of 2^-30. */
  readonly weighted: Float64Array
  /** `[dEmbed]` */
  readonly total: ExactSums
  readonly scores: ExactSums
  readonly scoreSquares: ExactSums
}

export interface IndexShard {
  readonly plan: IndexPlan
  /** Ascending. */
  readonly batches: readonly number[]
  readonly nPictures: number
  readonly kinds: Readonly<Partial<Record<TokenKind, KindStatistics>>>
  /** Pictures with a token at which the latent is active. */
  readonly pictureCounts: Float64Array
  /** Smallest and largest score of a picture. */
  readonly minScore: Float32Array
  readonly maxScore: Float32Array
  /** `[dSae, N_BINS]`: of activations at sampled tokens, of scores of pictures. */
  readonly histogram: Int32Array
  readonly pictureHistogram: Int32Array
  readonly coactive: CoactiveSample
  readonly embeddings?: EmbeddingSums
}

export function emptyIndex(plan: IndexPlan): IndexShard {
  const { dSae, examples, dEmbed } = plan
  const statistics = (): KindStatistics => ({
    counts: new Float64Array(dSae),
    sums: exactSums(dSae),
    squares: exactSums(dSae),
    max: new Float32Array(dSae),
    top: rankedItems(dSae, examples.top),
    sample: rankedItems(dSae, examples.sample, { hasScores: true }),
    threshold: rankedItems(dSae, examples.threshold),
    negative: rankedItems(dSae, examples.negative),
  })
  return {
    plan,
    batches: [],
    nPictures: 0,
    kinds: Object.fromEntries(Object.keys(plan.tokens).map((kind) => [kind, statistics()])),
    pictureCounts: new Float64Array(dSae),
    minScore: new Float32Array(dSae).fill(Number.POSITIVE_INFINITY),
    maxScore: new Float32Array(dSae),
    histogram: new Int32Array(dSae * N_BINS),
    pictureHistogram: new Int32Array(dSae * N_BINS),
    coactive: emptySample,
    ...(dEmbed > 0 && {
      embeddings: {
        weighted: new Float64Array(dSae * dEmbed),
        total: exactSums(dEmbed),
        scores: exactSums(dSae),
        scoreSquares: exactSums(dSae),
      },
    }),
  }
}

/** @throws CHECKPOINT_MISMATCH when the shards are of different indexes, or both have the same batch */
export function mergeIndexes(a: IndexShard, b: IndexShard): IndexShard {
  const problems: string[] = []
  if (JSON.stringify(a.plan) !== JSON.stringify(b.plan)) problems.push('they were not planned alike')
  const shared = a.batches.filter((batch) => b.batches.includes(batch))
  if (shared.length > 0) problems.push(`both have batch ${shared.join(', ')}`)
  if (problems.length > 0) throw new EngineError('CHECKPOINT_MISMATCH', { checkpoint: 'of another shard', problems })
  const kinds = Object.keys(a.kinds) as TokenKind[]
  return {
    plan: a.plan,
    batches: [...a.batches, ...b.batches].sort((x, y) => x - y),
    nPictures: a.nPictures + b.nPictures,
    kinds: Object.fromEntries(kinds.map((kind) => [kind, mergeStatistics(a.kinds[kind]!, b.kinds[kind]!)])),
    pictureCounts: add(a.pictureCounts, b.pictureCounts),
    minScore: a.minScore.map((score, latent) => Math.min(score, b.minScore[latent]!)),
    maxScore: a.maxScore.map((score, latent) => Math.max(score, b.maxScore[latent]!)),
    histogram: a.histogram.map((count, at) => count + b.histogram[at]!),
    pictureHistogram: a.pictureHistogram.map((count, at) => count + b.pictureHistogram[at]!),
    coactive: mergeSamples(a.coactive, b.coactive),
    ...(a.embeddings &&
      b.embeddings && {
        embeddings: {
          weighted: add(a.embeddings.weighted, b.embeddings.weighted),
          total: mergeSums(a.embeddings.total, b.embeddings.total),
          scores: mergeSums(a.embeddings.scores, b.embeddings.scores),
          scoreSquares: mergeSums(a.embeddings.scoreSquares, b.embeddings.scoreSquares),
        },
      }),
  }
}

function mergeStatistics(a: KindStatistics, b: KindStatistics): KindStatistics {
  return {
    counts: add(a.counts, b.counts),
    sums: mergeSums(a.sums, b.sums),
    squares: mergeSums(a.squares, b.squares),
    max: a.max.map((value, latent) => Math.max(value, b.max[latent]!)),
    top: mergeRanked(a.top, b.top),
    sample: mergeRanked(a.sample, b.sample),
    threshold: mergeRanked(a.threshold, b.threshold),
    negative: mergeRanked(a.negative, b.negative),
  }
}

const add = (a: Float64Array, b: Float64Array) => a.map((value, at) => value + b[at]!)
