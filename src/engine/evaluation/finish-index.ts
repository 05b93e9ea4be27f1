/** From what was counted to what is said of each feature. */

import { histogramOf } from './activation-bins.js'
import { coactiveLatents } from './coactive-sample.js'
import { sumAt } from './exact-sums.js'
import { type FeatureExample, type FeatureRecord, type TokenKind, tokenKinds, type WeightedIndex } from './feature-record.js'
import type { IndexShard, KindStatistics } from './index-shard.js'
import { type RankedItem, ranked } from './ranked-items.js'
import type { WeightStatistics } from './weight-statistics.js'

/** Below this many top pictures a label profile says nothing (PatchSAE). */
const LEAST_LABELLED = 10
const MOST_LABELS = 5
const MOST_COACTIVE = 5

export interface FinishOptions {
  readonly weights: WeightStatistics
  /** Index of a picture's class. Absent: no label profiles. */
  readonly labelOf?: (item: number) => number | undefined
}

/** Records of all features in order, one at a time: 49,152 of them need not be in memory at once. */
export function* finishIndex(shard: IndexShard, { weights, labelOf = () => undefined }: FinishOptions): Generator<FeatureRecord> {
  const coactive = coactiveLatents(shard.coactive, shard.plan.dSae, MOST_COACTIVE)
  for (let index = 0; index < shard.plan.dSae; index++) {
    const profile = labelProfile(topPictures(shard, index), labelOf)
    yield {
      index,
      ...activity(shard, index),
      ...profile,
      monosemanticity: monosemanticity(shard, index),
      decoderNorm: weights.decoderNorm[index]!,
      encoderNorm: weights.encoderNorm[index]!,
      encoderDecoderCosine: number(weights.encoderDecoderCosine?.[index]),
      neighbourCosine: weights.neighbours[index]![0]?.value ?? null,
      histogram: histogramOf(shard.histogram, index),
      imageHistogram: histogramOf(shard.pictureHistogram, index),
      examples: examples(shard, index),
      neighbours: weights.neighbours[index]!,
      coactive: coactive(index),
      classEffects: weights.classEffects[index]!,
      wordEffects: weights.wordEffects[index]!,
    }
  }
}

/** What is no number is not known. */
const number = (value: number | undefined): number | null => (value === undefined || !Number.isFinite(value) ? null : value)

type Activity = Pick<
  FeatureRecord,
  | 'density'
  | 'clsDensity'
  | 'registerDensity'
  | 'patchDensity'
  | 'imageDensity'
  | 'mean'
  | 'clsMean'
  | 'registerMean'
  | 'patchMean'
  | 'deviation'
  | 'max'
  | 'clsMax'
  | 'registerMax'
  | 'patchMax'
>

function activity(shard: IndexShard, index: number): Activity {
  const { kinds, plan, nPictures } = shard
  const present = tokenKinds.filter((kind) => kinds[kind])
  const of = (kind: TokenKind) => kinds[kind]!
  const total = (each: (statistics: KindStatistics) => number) => present.reduce((sum, kind) => sum + each(of(kind)), 0)
  const nTokens = (kind: TokenKind) => nPictures * plan.tokens[kind]!
  const active = total(({ counts }) => counts[index]!)
  const mean = total(({ sums }) => sumAt(sums, index)) / active
  const perKind = (each: (kind: TokenKind) => number) => (kind: TokenKind) => (kinds[kind] ? number(each(kind)) : null)
  const density = perKind((kind) => of(kind).counts[index]! / nTokens(kind))
  const kindMean = perKind((kind) => sumAt(of(kind).sums, index) / of(kind).counts[index]!)
  const max = perKind((kind) => (of(kind).counts[index]! > 0 ? of(kind).max[index]! : Number.NaN))
  return {
    density: number(active / present.reduce((sum, kind) => sum + nTokens(kind), 0)),
    clsDensity: density('cls'),
    registerDensity: density('register'),
    patchDensity: density('patch'),
    imageDensity: number(shard.pictureCounts[index]! / nPictures),
    mean: number(mean),
    clsMean: kindMean('cls'),
    registerMean: kindMean('register'),
    patchMean: kindMean('patch'),
    deviation: number(Math.sqrt(Math.max(0, total(({ squares }) => sumAt(squares, index)) / active - mean * mean))),
    max: active > 0 ? Math.max(...present.map((kind) => of(kind).max[index]!)) : null,
    clsMax: max('cls'),
    registerMax: max('register'),
    patchMax: max('patch'),
  }
}

function examples({ kinds }: IndexShard, index: number): FeatureExample[] {
  return tokenKinds.flatMap((token) => {
    const own = kinds[token]
    if (!own) return []
    const example = (kind: FeatureExample['kind'], scoreOf: (found: RankedItem) => number) => (found: RankedItem) => ({
      kind,
      token,
      item: found.item,
      score: scoreOf(found),
      position: found.position,
    })
    return [
      ...ranked(own.top, index).map(example('top', ({ key }) => -key)),
      ...ranked(own.sample, index)
        .sort((a, b) => a.score - b.score || a.item - b.item)
        .map(example('sample', ({ score }) => score)),
      ...ranked(own.threshold, index).map(example('threshold', ({ key }) => key)),
      ...ranked(own.negative, index).map(example('negative', ({ key }) => key)),
    ]
  })
}

/** The pictures with the largest scores over tokens of all kinds, as many as are kept of one. */
function topPictures({ kinds, plan }: IndexShard, index: number): { item: number; score: number }[] {
  const scores = new Map<number, number>()
  for (const kind of tokenKinds) {
    if (!kinds[kind]) continue
    for (const { item, key } of ranked(kinds[kind].top, index)) scores.set(item, Math.max(-key, scores.get(item) ?? 0))
  }
  return [...scores]
    .map(([item, score]) => ({ item, score }))
    .sort((a, b) => b.score - a.score || a.item - b.item)
    .slice(0, plan.examples.top)
}

function labelProfile(
  pictures: readonly { item: number; score: number }[],
  labelOf: (item: number) => number | undefined,
): Pick<FeatureRecord, 'labels' | 'labelEntropy' | 'labelPurity'> {
  const byLabel = new Map<number, number>()
  let [total, labelled] = [0, 0]
  for (const { item, score } of pictures) {
    const label = labelOf(item)
    if (label === undefined) continue
    byLabel.set(label, (byLabel.get(label) ?? 0) + score)
    total += score
    labelled++
  }
  const profile: WeightedIndex[] = [...byLabel].map(([index, score]) => ({ index, value: score / total }))
  profile.sort((a, b) => b.value - a.value || a.index - b.index)
  const isKnown = labelled >= LEAST_LABELLED
  return {
    labels: profile.slice(0, MOST_LABELS),
    labelEntropy: isKnown ? Math.max(0, -profile.reduce((sum, { value }) => sum + value * Math.log(value), 0)) : null,
    labelPurity: isKnown ? profile[0]!.value : null,
  }
}

/**
 * Mean cosine of pairs of pictures, weighted with both scores scaled to [0, 1], without looking at pairs: with S the sum of weighted unit vectors
 * it is (|S|^2 - sum a^2) / ((sum a)^2 - sum a^2).
 * @see Pach et al. (2025), "Sparse autoencoders learn monosemantic features in vision-language models"
 */
function monosemanticity({ embeddings, plan, nPictures, minScore, maxScore }: IndexShard, index: number): number | null {
  if (!embeddings) return null
  const [low, range] = [minScore[index]!, maxScore[index]! - minScore[index]!]
  if (!(range > 0)) return null
  const sum = sumAt(embeddings.scores, index)
  const squares = (sumAt(embeddings.scoreSquares, index) - 2 * low * sum + nPictures * low * low) / range ** 2
  let length = 0
  for (let d = 0; d < plan.dEmbed; d++) {
    length += ((embeddings.weighted[index * plan.dEmbed + d]! - low * sumAt(embeddings.total, d)) / range) ** 2
  }
  const pairs = ((sum - nPictures * low) / range) ** 2 - squares
  // One picture alone has no pair; what is left of its square is rounding.
  return pairs > 1e-6 * squares ? number((length - squares) / pairs) : null
}
