/**
 * What an index says of one feature of an SAE on a data set. Statistics are single numbers, to be sorted and filtered by; everything else is
 * short lists.
 *
 * Terminology
 *   active     the latent is above 0
 *   tokens     those that the SAE is for; kinds apart: CLS, registers, patches
 *   score      of a picture for a feature: its largest activation over the tokens of a kind
 *   item       a picture's place in the data set
 */

/** A single number each; null where it is not defined: `densities` of tokens that there are none of, anything of a dead feature. */
export const featureStatistics = [
  /** Share of tokens at which the feature is active. */
  'density',
  'clsDensity',
  'registerDensity',
  'patchDensity',
  /** Share of pictures with at least one token at which it is active. */
  'imageDensity',
  /** Mean and standard deviation (over n) of its activation where it is active. */
  'mean',
  'clsMean',
  'registerMean',
  'patchMean',
  'deviation',
  /** Its largest activation. */
  'max',
  'clsMax',
  'registerMax',
  'patchMax',
  /** Entropy of the label profile in nats: 0 where every top picture has one label. Null below 10 labelled top pictures. */
  'labelEntropy',
  /** The largest share of a label in the profile. */
  'labelPurity',
  /** Mean cosine of the embeddings of pairs of pictures, weighted with both scores, which are scaled to [0, 1] over the data set. */
  'monosemanticity',
  /** Lengths of its decoder row and its encoder column, and the cosine between them. */
  'decoderNorm',
  'encoderNorm',
  'encoderDecoderCosine',
  /** The largest cosine of its decoder row with another's. */
  'neighbourCosine',
] as const

export type FeatureStatistic = (typeof featureStatistics)[number]
export type FeatureStatistics = Readonly<Record<FeatureStatistic, number | null>>

export const tokenKinds = ['cls', 'register', 'patch'] as const
export type TokenKind = (typeof tokenKinds)[number]

/**
 * `top`: the pictures with the largest scores, largest first. `sample`: active pictures drawn at random, by ascending score: the quantiles
 * of its scores. `threshold`: the smallest scores above 0. `negative`: the lowest pre-activations, lowest first.
 */
export const exampleKinds = ['top', 'sample', 'threshold', 'negative'] as const
export type ExampleKind = (typeof exampleKinds)[number]

export interface FeatureExample {
  readonly kind: ExampleKind
  readonly token: TokenKind
  readonly item: number
  /** Of `negative` the pre-activation. */
  readonly score: number
  /** Index along `pos` where the score was taken: 0 is CLS where there is one, then registers, then patches row by row. */
  readonly position: number
}

/**
 * Counts of activations above 0 in fixed bins, four to the octave: bin `b` covers [2^e (1 + q/4), 2^e (1 + (q+1)/4)) with e = floor(b / 4),
 * q = b mod 4. The first and the last possible bin hold what lies beyond.
 */
export interface ActivationHistogram {
  /** The bin of `counts[0]`, which is not 0 unless there are none. */
  readonly firstBin: number
  readonly counts: readonly number[]
}

export interface WeightedIndex {
  readonly index: number
  readonly value: number
}

export interface FeatureRecord extends FeatureStatistics {
  readonly index: number
  /** Of the activations at tokens. */
  readonly histogram: ActivationHistogram
  /** Of the scores of pictures. */
  readonly imageHistogram: ActivationHistogram
  readonly examples: readonly FeatureExample[]
  /** Labels of the top pictures, weighted with their scores; values add up to 1, largest first. */
  readonly labels: readonly WeightedIndex[]
  /** Features with the largest cosine of decoder rows. */
  readonly neighbours: readonly WeightedIndex[]
  /** Features active at the same tokens: both over either (Jaccard). */
  readonly coactive: readonly WeightedIndex[]
  /** Classes whose logit its decoder row raises most, then those it lowers most: per unit of activation, through the model's own projection. */
  readonly classEffects: readonly WeightedIndex[]
  /** The same of words given as text embeddings. */
  readonly wordEffects: readonly WeightedIndex[]
}
