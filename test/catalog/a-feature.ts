/** Features for tests and benchmarks of the catalog: drawn at random, of the shape that an index gives them. */

import { type FeatureExample, type FeatureRecord, featureStatistics } from '../../src/engine/evaluation/feature-record.js'

export interface FeatureShape {
  readonly width: number
  readonly nItems: number
  readonly topLength: number
  readonly samples: number
  readonly bins: number
  readonly neighbours: number
}

const small: FeatureShape = { width: 40, nItems: 100, topLength: 4, samples: 3, bins: 6, neighbours: 3 }

/** A number from 0 to 1 that looks random and depends on its arguments only. */
export function drawn(...seeds: readonly number[]): number {
  let state = 2166136261
  for (const seed of seeds) state = Math.imul(state ^ seed, 16777619) ^ (state >>> 13)
  return ((state ^ (state >>> 16)) >>> 0) / 2 ** 32
}

export function aFeature(index: number, shape: FeatureShape = small): FeatureRecord {
  const { width, nItems, topLength, samples, bins, neighbours } = shape
  // the tenth is dead
  const isDead = index % 10 === 9
  const at = (n: number) => Math.fround(drawn(index, n))
  const statistics = Object.fromEntries(featureStatistics.map((name, n) => [name, isDead ? (n === 0 ? 0 : null) : at(n)]))
  const examples = (kind: FeatureExample['kind'], count: number): FeatureExample[] =>
    Array.from({ length: isDead ? 0 : count }, (_, n) => ({
      kind,
      token: n % 2 === 0 ? 'patch' : 'cls',
      item: Math.floor(at(100 + n) * nItems),
      score: Math.fround(at(1) / (n + 1)),
      position: n % 2 === 0 ? 1 + (n % 49) : 0,
    }))
  const weighted = (count: number) =>
    Array.from({ length: count }, (_, n) => ({ index: Math.floor(at(200 + n) * width), value: Math.fround(1 / (n + 1)) }))
  const counts = Array.from({ length: isDead ? 0 : bins }, (_, n) => 1 + n)
  return {
    index,
    ...(statistics as Record<(typeof featureStatistics)[number], number | null>),
    histogram: { firstBin: -20, counts },
    imageHistogram: { firstBin: -3, counts },
    examples: [
      ...examples('top', topLength),
      ...examples('sample', samples),
      ...examples('threshold', samples),
      ...examples('negative', samples),
    ],
    labels: isDead ? [] : weighted(2),
    neighbours: weighted(neighbours),
    coactive: isDead ? [] : weighted(neighbours),
    classEffects: weighted(neighbours),
    wordEffects: [],
  }
}

export function* features(shape: FeatureShape = small): Generator<FeatureRecord> {
  for (let index = 0; index < shape.width; index++) yield aFeature(index, shape)
}
