/**
 * The features of an SAE as an indexing run over a data set found them: statistics of all features, to sort and filter by, and for each
 * feature what is looked at one by one. A set never changes; indexing again makes another.
 */

import type { FeatureRecord, FeatureStatistic, FeatureStatistics } from '../engine/evaluation/feature-record.js'
import type { Explanation } from './explanations.js'
import type { FeatureData, StoredExample } from './feature-codec.js'
import type { Page, PageRequest } from './page.js'

/** What a set's numbers are of. */
export interface FeatureSetAbout {
  /** Pictures that were looked at. */
  readonly nImages: number
  /** Tokens a picture that the SAE is for. */
  readonly nTokens: number
  /** `top` examples of a feature at each kind of token, at most. */
  readonly topLength: number
  /** Where patches are in the sequence and in the picture; absent where the model has none. */
  readonly patches?: { readonly first: number; readonly columns: number }
  /** The model by whose answers pictures were compared, for monosemanticity. Absent: they were not, or an earlier version did not say. */
  readonly imageEncoder?: string
  /** By index of `classEffects` and `wordEffects`. */
  readonly classNames?: readonly string[]
  readonly words?: readonly string[]
  /** By label of the profiles, where these are not the data set's own. */
  readonly labelNames?: readonly string[]
}

export interface NewFeatureSet {
  readonly saeId: string
  readonly dataset: { readonly id: string; readonly hash: string }
  /** How many features: dSae. */
  readonly width: number
  readonly about: FeatureSetAbout
  readonly seed: number
  readonly dtype: string
  readonly backend: string
  readonly codeVersion: string
  readonly measuredAt: Date
  /** Mean embeddings of the features' pictures (`engine/evaluation/mean-embeddings.ts`): the blob, and the blob store that it is in. */
  readonly embeddings?: { readonly sha256: string; readonly place: string }
}

export interface FeatureSetRecord extends NewFeatureSet {
  readonly id: number
  /** Names of the statistics that there are: those of the version that measured them. */
  readonly statistics: readonly FeatureStatistic[]
}

/** What is read of a feature to show it among others. */
export interface FeatureSummary {
  readonly index: number
  /** Null too where an older index did not measure it. */
  readonly statistics: FeatureStatistics
  /** Of kind `top`: those of patches before those of CLS and of registers, each with the largest scores first. */
  readonly examples: readonly StoredExample[]
  readonly explanations: readonly Explanation[]
}

export interface StoredFeature extends FeatureSummary {
  /** Of all kinds, as they were stored. */
  readonly examples: readonly StoredExample[]
  readonly data: FeatureData
}

export interface FeatureListRequest extends PageRequest {
  /** `index` unless given. Features of which a statistic is not defined come last in either order. */
  readonly sort?: FeatureStatistic | 'index'
  readonly order?: 'asc' | 'desc'
  /** Inclusive bounds. A feature of which the statistic is not defined is left out. */
  readonly ranges?: Readonly<Partial<Record<FeatureStatistic, { readonly min?: number; readonly max?: number }>>>
  /** Features of which an explanation has these words. */
  readonly text?: string
  /** Of each feature, at most; none unless given. */
  readonly nExamples?: number
}

export interface FeatureCatalog {
  /**
   * Replaces what was known of the SAE on this data set, at once and as a whole: readers see the old features until the new ones are there.
   * Rows come in any order, each feature of `0 .. width - 1` once. @throws DATABASE_UNAVAILABLE
   */
  load(set: NewFeatureSet, rows: Iterable<FeatureRecord> | AsyncIterable<FeatureRecord>): Promise<FeatureSetRecord>
  /** Of an SAE, newest first. */
  sets(saeId: string): Promise<readonly FeatureSetRecord[]>
  /** @throws CURSOR_INVALID; INPUT_INVALID of a statistic that the set does not have */
  list(set: FeatureSetRecord, request: FeatureListRequest): Promise<Page<FeatureSummary>>
  /** Those of `indices` that there are, in their order. */
  summaries(set: FeatureSetRecord, indices: readonly number[], nExamples: number): Promise<readonly FeatureSummary[]>
  /** Those of `indices` that there are, in their order, with all data. */
  get(set: FeatureSetRecord, indices: readonly number[]): Promise<readonly StoredFeature[]>
  /** Of every feature, in order of index; NaN where it is not defined. Not to be written into. @throws INPUT_INVALID */
  statistic(set: FeatureSetRecord, name: string): Promise<Float32Array>
  remove(set: FeatureSetRecord): Promise<void>
}
