/**
 * Features: what an index says of the latents of an SAE.
 */

import { type Static, type TSchema, Type } from 'typebox'
import { exampleKinds, type FeatureStatistic, featureStatistics, tokenKinds } from '../../engine/evaluation/feature-record.js'
import { fixedLimits } from '../limits.js'

/** What a statistic says, for people; `feature-record.ts` has the definitions. */
const meanings: Readonly<Record<FeatureStatistic, string>> = {
  density: 'Share of tokens at which it is active.',
  clsDensity: 'Share of CLS tokens at which it is active.',
  registerDensity: 'Share of register tokens at which it is active.',
  patchDensity: 'Share of patches at which it is active.',
  imageDensity: 'Share of pictures with at least one token at which it is active.',
  mean: 'Mean activation where it is active.',
  clsMean: 'Mean activation at CLS where it is active there.',
  registerMean: 'Mean activation at registers where it is active there.',
  patchMean: 'Mean activation at patches where it is active there.',
  deviation: 'Standard deviation of its activation where it is active.',
  max: 'Its largest activation.',
  clsMax: 'Its largest activation at CLS.',
  registerMax: 'Its largest activation at registers.',
  patchMax: 'Its largest activation at patches.',
  labelEntropy: 'Entropy of the labels of its top pictures, in nats: 0 where all have one.',
  labelPurity: 'The largest share of a label among its top pictures.',
  monosemanticity: 'Mean cosine of the embeddings of pairs of pictures, weighted with both scores.',
  decoderNorm: 'Length of its decoder row.',
  encoderNorm: 'Length of its encoder column.',
  encoderDecoderCosine: 'Cosine between its decoder row and its encoder column.',
  neighbourCosine: "The largest cosine of its decoder row with another feature's.",
}

const eachStatistic = <S extends TSchema>(make: (name: FeatureStatistic) => S) =>
  Object.fromEntries(featureStatistics.map((name) => [name, make(name)])) as Record<FeatureStatistic, S>

export const StatisticsShape = Type.Object(
  eachStatistic((name) => Type.Union([Type.Number(), Type.Null()], { description: meanings[name] })),
  { title: 'FeatureStatistics', additionalProperties: false, description: 'Null where it is not defined.' },
)

export const ExampleShape = Type.Object(
  {
    kind: Type.Enum([...exampleKinds], { title: 'ExampleKind' }),
    token: Type.Enum([...tokenKinds], { title: 'TokenKind' }),
    score: Type.Number({ description: 'Its largest activation over tokens of the kind; of `negative` the lowest pre-activation.' }),
    position: Type.Integer({ description: 'Where: 0 is CLS where there is one, then registers, then patches row by row.' }),
    patch: Type.Union([
      Type.Object({ row: Type.Integer(), col: Type.Integer() }, { title: 'Patch', additionalProperties: false }),
      Type.Null(),
    ]),
    item: Type.Integer({ description: "The picture's place in the data set." }),
    name: Type.Union([Type.String(), Type.Null()], { description: 'The file within the data set.' }),
    image: Type.Union([Type.String({ 'x-scalar': 'ID' }), Type.Null()], { description: 'Its id, where the picture is stored.' }),
    imageUrl: Type.Union([Type.String(), Type.Null()], { description: 'The picture, a path of this server; null where it is not stored.' }),
    heatmapUrl: Type.Union([Type.String(), Type.Null()], {
      description:
        'The picture with the activations of the feature over it, a path of this server; `size`, `colormap` and so on can be added.',
    }),
    label: Type.Union([Type.String(), Type.Null()]),
  },
  { title: 'FeatureExample', additionalProperties: false },
)

const HistogramShape = Type.Object(
  {
    edges: Type.Array(Type.Number(), { description: 'Of the bins, four to the octave; one more than counts.' }),
    counts: Type.Array(Type.Integer({ format: 'int64' })),
  },
  { title: 'ActivationHistogram', additionalProperties: false },
)

const weighted = (title: string, what: string) =>
  Type.Array(
    Type.Object(
      { index: Type.Integer(), name: Type.Union([Type.String(), Type.Null()]), value: Type.Number() },
      { title, additionalProperties: false },
    ),
    { description: what },
  )

const related = (what: string) =>
  Type.Array(
    Type.Object(
      { id: Type.String({ 'x-scalar': 'ID' }), index: Type.Integer(), value: Type.Number() },
      { title: 'RelatedFeature', additionalProperties: false },
    ),
    { description: what },
  )

export const ExplanationShape = Type.Object(
  {
    id: Type.String({ 'x-scalar': 'ID' }),
    text: Type.String(),
    author: Type.String(),
    method: Type.String({ description: '`human`, or how it was made.' }),
    score: Type.Union([Type.Number(), Type.Null()]),
    createdAt: Type.String({ format: 'date-time' }),
  },
  { title: 'Explanation', additionalProperties: false },
)

export const FeaturePicturesShape = Type.Object(
  {
    spriteUrl: Type.String({ description: 'The top pictures on one sheet, with heatmaps.' }),
    histogramUrl: Type.String({ description: 'How active it is, where it is active.' }),
    densityUrl: Type.String({ description: 'How often all features of the SAE are active, with this one marked.' }),
  },
  { title: 'FeaturePictures', additionalProperties: false, description: 'Paths of this server.' },
)

const summary = {
  id: Type.String({ 'x-scalar': 'ID', description: '`{sae}/{index}`' }),
  sae: Type.String({ 'x-scalar': 'ID' }),
  index: Type.Integer({ description: 'Of the latent.' }),
  dataset: Type.String({ 'x-scalar': 'ID', description: 'On which it was indexed.' }),
  statistics: StatisticsShape,
  explanations: Type.Array(ExplanationShape, { description: 'Oldest first.' }),
  pictures: FeaturePicturesShape,
}

export const FeatureSummaryShape = Type.Object(
  {
    ...summary,
    examples: Type.Array(ExampleShape, { description: 'The top pictures, largest score first, those of patches before others.' }),
  },
  { title: 'FeatureSummary', additionalProperties: false },
)

export const FeatureShape = Type.Object(
  {
    ...summary,
    histogram: HistogramShape,
    imageHistogram: HistogramShape,
    examples: Type.Array(ExampleShape, {
      description:
        '`top`: the largest scores first; `sample`: active pictures drawn at random, by ascending score; `threshold`: the smallest scores; `negative`: the lowest pre-activations first.',
    }),
    labels: weighted('WeightedLabel', 'Labels of the top pictures, weighted with their scores; they add up to 1.'),
    neighbours: related('Features with the largest cosine of decoder rows.'),
    coactive: related('Features active at the same tokens: both over either.'),
    classEffects: weighted(
      'ClassEffect',
      'Classes whose logit its decoder row raises most, then those it lowers most: per unit of activation, through the own projection of the model.',
    ),
    wordEffects: weighted('WordEffect', 'The same of words.'),
  },
  { title: 'Feature', additionalProperties: false },
)

type BoundName = `${'min' | 'max'}${Capitalize<FeatureStatistic>}`

export function boundName(end: 'min' | 'max', statistic: FeatureStatistic): BoundName {
  return `${end}${statistic[0]!.toUpperCase()}${statistic.slice(1)}` as BoundName
}

/** `min` and `max` of every statistic: `minDensity`, `maxDensity`, ... */
export const statisticBounds = Object.fromEntries(
  featureStatistics.flatMap((name) =>
    (['min', 'max'] as const).map((end) => [
      boundName(end, name),
      Type.Optional(Type.Number({ description: `${end === 'min' ? 'Lower' : 'Upper'} bound, inclusive. ${meanings[name]}` })),
    ]),
  ),
) as Record<BoundName, ReturnType<typeof Type.Optional<ReturnType<typeof Type.Number>>>>

export type FeatureAnswer = Static<typeof FeatureShape>
export type FeatureSummaryAnswer = Static<typeof FeatureSummaryShape>
export type FeaturePictures = Static<typeof FeaturePicturesShape>
export type ExampleAnswer = Static<typeof ExampleShape>

export const DEFAULT_EXAMPLES = 4

/** Of a list of features. */
export const ExampleCount = Type.Integer({
  minimum: 0,
  maximum: fixedLimits.pageSize,
  description: `Top pictures of each feature; ${DEFAULT_EXAMPLES} unless given.`,
})
