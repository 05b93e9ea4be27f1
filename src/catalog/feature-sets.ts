/**
 * The features of an SAE as an indexing run over a data set found them: statistics of all features, to sort and filter by, and for each
 * feature what is looked at one by one. A set never changes; indexing again makes another.
 */

import type { Page, PageRequest } from './catalog.js'
import type { Explanation } from './explanations.js'

/** Places in pictures where a feature was seen, one an index. */
export interface PictureList {
  /** Of the data set. */
  readonly items: Int32Array
  /** In the sequence: CLS, registers, patches row by row. `WHOLE_PICTURE` where the value is of the picture as a whole. */
  readonly positions: Uint16Array
  readonly values: Float32Array
}

export const WHOLE_PICTURE = 0xffff

/** Things with a number each, the largest first. */
export interface RankedList {
  readonly ids: Int32Array
  readonly values: Float32Array
}

export interface FeatureData {
  /** The pictures in which it is most active, and where in each. */
  readonly top: PictureList
  /** Pictures from the whole range of activations, from the lowest quantile up; `quantileSize` of the set go to each. */
  readonly quantiles: PictureList
  /** Pictures in which it is barely active. */
  readonly nearThreshold: PictureList
  /** Pictures in which its pre-activation is the lowest. */
  readonly negative: PictureList
  /** How often its activation, where it is active, fell into each bin of the set. */
  readonly histogram: { readonly counts: Uint32Array }
  /** Shares of its activation by label of the data set. */
  readonly labels: RankedList
  /** Features with the most similar decoder rows, by cosine. */
  readonly neighbours: RankedList
  /** Features that are active with it. */
  readonly coactive: RankedList
  /** Effect on the classes (or words) of the model, through its own projection: the strongest for, then the strongest against. */
  readonly classes: RankedList
  readonly words: RankedList
}

/** What a set's numbers are of. */
export interface FeatureSetAbout {
  /** Pictures that were looked at. */
  readonly nImages: number
  /** Tokens a picture. */
  readonly nPositions: number
  /** Edges of the histogram's bins, one more than bins. */
  readonly histogramEdges: readonly number[]
  /** Entries of `quantiles` that go to each quantile. */
  readonly quantileSize: number
  /** Length of `top`, at most. */
  readonly topLength: number
  /** Names of classes and words, by id. */
  readonly classNames?: readonly string[]
  readonly words?: readonly string[]
}

export interface FeatureSetRecord {
  readonly id: number
  readonly saeId: string
  readonly dataset: { readonly id: string; readonly hash: string }
  /** How many features: dSae. */
  readonly width: number
  readonly about: FeatureSetAbout
  /** Names of the statistics that there are. */
  readonly statistics: readonly string[]
  readonly seed: number
  readonly dtype: string
  readonly backend: string
  readonly codeVersion: string
  readonly measuredAt: Date
}

export interface NewFeatureSet extends Omit<FeatureSetRecord, 'id' | 'statistics'> {
  /** By name, each `[width]`; NaN where it is not defined. */
  readonly statistics: Readonly<Record<string, Float32Array>>
}

export interface StoredFeature {
  readonly index: number
  /** Null where it is not defined. */
  readonly statistics: Readonly<Record<string, number | null>>
  /** Only the top pictures, where nothing more was asked for. */
  readonly data: FeatureData
  readonly explanations: readonly Explanation[]
}

export interface FeatureListRequest extends PageRequest {
  /** A statistic; `index` unless given. Features of which it is not defined come last in either order. */
  readonly sort?: string
  readonly order?: 'asc' | 'desc'
  /** Inclusive bounds. A feature of which the statistic is not defined is left out. */
  readonly ranges?: Readonly<Record<string, { readonly min?: number; readonly max?: number }>>
  /** Features of which an explanation has these words. */
  readonly text?: string
  /** All of its data; only the top pictures unless given. */
  readonly withAllData?: boolean
}

export interface FeatureCatalog {
  /** Replaces what was known of the SAE on this data set, at once and as a whole. Rows come in any order, each feature once. */
  load(set: NewFeatureSet, rows: Iterable<FeatureRow> | AsyncIterable<FeatureRow>): Promise<FeatureSetRecord>
  /** Of an SAE, newest first. */
  sets(saeId: string): Promise<readonly FeatureSetRecord[]>
  /** @throws CURSOR_INVALID; INPUT_INVALID of a statistic that the set does not have */
  list(set: FeatureSetRecord, request: FeatureListRequest): Promise<Page<StoredFeature>>
  /** Those of `indices` that there are, in their order. */
  get(set: FeatureSetRecord, indices: readonly number[]): Promise<readonly StoredFeature[]>
  remove(set: FeatureSetRecord): Promise<void>
}

export interface FeatureRow {
  readonly index: number
  readonly data: FeatureData
}
