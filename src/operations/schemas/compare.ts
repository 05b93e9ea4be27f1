/** Sets of images, SAEs and single images compared: what clients ask, and what they read. */

import { type Static, Type } from 'typebox'
import { poolings } from '../../engine/analyses/compare/sparse-rows.js'
import { fixedLimits } from '../limits.js'
import { DatasetId } from './dataset.js'
import { ExampleCount, ExampleShape, ExplanationShape, FeaturePicturesShape, StatisticsShape } from './feature.js'
import { ImageInput } from './image.js'
import { ModelId } from './model.js'
import { SaeId } from './sae.js'
import { Encoding, HookPointName, LatentIndex, Positions, TensorShape } from './tensor.js'

const Text = Type.String({ minLength: 1, maxLength: 500 })
const orNull = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S, description?: string) =>
  Type.Union([schema, Type.Null()], description === undefined ? {} : { description })
const described = <T>(schema: object, description: string) => Type.Unsafe<T>({ ...schema, description })

/** Some images: named one by one, or as items of a data set. */
export const ImageSet = Type.Union(
  [
    Type.Object(
      { images: Type.Array(ImageInput, { minItems: 2, maxItems: 100_000, uniqueItems: true, description: 'Each image once.' }) },
      { additionalProperties: false },
    ),
    Type.Object(
      {
        dataset: DatasetId,
        items: Type.Optional(
          Type.Array(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }), {
            minItems: 2,
            maxItems: 100_000,
            uniqueItems: true,
            description: 'Only these, by their index.',
          }),
        ),
        facets: Type.Optional(
          Type.Unsafe<Readonly<Record<string, FacetValue | readonly FacetValue[]>>>({
            type: 'object',
            'x-scalar': 'Json',
            minProperties: 1,
            additionalProperties: {
              anyOf: [
                { type: 'string' },
                { type: 'number' },
                { type: 'array', minItems: 1, maxItems: 1000, items: { anyOf: [{ type: 'string' }, { type: 'number' }] } },
              ],
            },
            description: 'Only those of which this is known: `{"category": "Flags"}`; of several values, one of them.',
          }),
        ),
        class: Type.Optional(described<string>(Text, 'Only those of this class, by its name.')),
        sample: Type.Optional(
          Type.Integer({
            minimum: 2,
            maximum: fixedLimits.comparedImages,
            description: 'So many of them, drawn at random; always the same.',
          }),
        ),
      },
      { additionalProperties: false },
    ),
  ],
  {
    title: 'ImageSet',
    description: 'Images by id or as files, `{"images": [...]}`; or those of a data set, `{"dataset": ..., "facets": {...}}`.',
  },
)

type FacetValue = string | number

export type ImageSetInput = Static<typeof ImageSet>

export const PoolingShape = Type.Enum([...poolings], {
  title: 'Pooling',
  description: 'How activations at several positions become one number of an image: the largest (`max`, unless given), or the mean.',
})

const Saes = Type.Array(SaeId, {
  minItems: 1,
  maxItems: fixedLimits.saes,
  uniqueItems: true,
  'x-limit': 'saes',
  description: 'Of one model.',
})
const ReadPositions = described<Static<typeof Positions>>(
  Positions,
  'As in forward: `all`, `cls`, `patches`, or a list of indices. Unless given, for each SAE those that it was trained on.',
)
const TopK = (description: string) => Type.Integer({ minimum: 1, maximum: 1000, description })

// --- sets of images

export const CompareImagesInputShape = Type.Object(
  {
    saes: Saes,
    a: ImageSet,
    b: ImageSet,
    positions: Type.Optional(ReadPositions),
    pooling: Type.Optional(PoolingShape),
    minFrequency: Type.Optional(
      Type.Number({
        minimum: 0,
        maximum: 1,
        description: 'Features active in a smaller share of all images, of both sets together, are not tested; 0.05 unless given.',
      }),
    ),
    topK: Type.Optional(TopK('How many features of each SAE, best first; 20 unless given.')),
    recipe: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: fixedLimits.edits,
        description: 'How many features the steering recipe of each SAE is made of; 5 unless given.',
      }),
    ),
    check: Type.Optional(
      Type.Boolean({
        description: 'Whether the recipe is tried: made of one half of each set, and judged on the other. False unless given.',
      }),
    ),
    examples: Type.Optional(ExampleCount),
  },
  { title: 'CompareImagesInput', additionalProperties: false },
)

const SideShape = Type.Object(
  {
    mean: Type.Number({ description: 'Over images, of pooled activations.' }),
    frequency: Type.Number({ description: 'Share of the images in which it is active.' }),
  },
  { title: 'ComparedSide', additionalProperties: false },
)

const about = {
  id: Type.String({ 'x-scalar': 'ID', description: '`{sae}/{index}`' }),
  sae: Type.String({ 'x-scalar': 'ID' }),
  index: LatentIndex,
  explanations: Type.Array(ExplanationShape),
  examples: Type.Array(ExampleShape, { description: 'Its top pictures, where it is indexed.' }),
  dataset: orNull(Type.String({ 'x-scalar': 'ID' }), 'On which it was indexed.'),
  statistics: orNull(StatisticsShape),
  pictures: orNull(FeaturePicturesShape),
}

const ComparedFeatureShape = Type.Object(
  {
    ...about,
    auroc: Type.Number({ description: 'How often it is more active in an image of A than in one of B, ties counting half.' }),
    rankBiserial: Type.Number({ description: '2 AUROC - 1.' }),
    cohensD: orNull(Type.Number(), 'Difference of the means over the pooled standard deviation; null where nothing varies.'),
    pValue: Type.Number({ description: 'Mann-Whitney, two-sided.' }),
    isExact: Type.Boolean({ description: 'Whether the p-value is that of all orders, and not the normal approximation with ties.' }),
    falseDiscoveryRate: Type.Number({ description: 'Benjamini and Hochberg, over all tested features of the SAE.' }),
    a: SideShape,
    b: SideShape,
  },
  { title: 'ComparedFeature', additionalProperties: false },
)

export type ComparedFeature = Static<typeof ComparedFeatureShape>

const RecipeEditShape = Type.Object(
  {
    hookPoint: HookPointName,
    positions: Type.Optional(Positions),
    heads: Type.Optional(Type.Array(Type.Integer())),
    op: Type.Literal('add'),
    vector: Type.Object({ sae: SaeId, feature: LatentIndex }, { title: 'FeatureVector', additionalProperties: false }),
    strength: Type.Number({ description: 'Difference of the mean activations, A less B, times the length of the decoder row.' }),
    unit: Type.Literal('norm'),
  },
  { title: 'RecipeEdit', additionalProperties: false },
)

export type RecipeEdit = Static<typeof RecipeEditShape>

const CheckShape = Type.Object(
  {
    heldOut: Type.Object({ a: Type.Integer(), b: Type.Integer() }, { title: 'ImageCounts', additionalProperties: false }),
    features: Type.Array(LatentIndex, { description: 'Found in the first half.' }),
    auroc: Type.Number({ description: 'Mean over them in the second half, of those that are of B turned round: 0.5 is chance.' }),
    a: Type.Number({
      description:
        "Score of the held-out images of A: the mean product of the model's output with the unit vector from the mean of B to the mean of A in the first half.",
    }),
    b: Type.Number({ description: 'Of those of B.' }),
    doses: Type.Array(
      Type.Object(
        {
          scale: Type.Number({ description: 'What the strengths of the recipe are multiplied by.' }),
          score: Type.Number({ description: 'Of B, with the recipe.' }),
          random: Type.Number({ description: 'Of B, with directions at random of equal strengths; mean of two draws.' }),
          moved: orNull(Type.Number(), 'How much of the way from B to A the recipe goes: (score - b) / (a - b).'),
          movedAtRandom: orNull(Type.Number()),
        },
        { title: 'RecipeDose', additionalProperties: false },
      ),
    ),
  },
  { title: 'RecipeCheck', additionalProperties: false },
)

export const ImagesOfSaeShape = Type.Object(
  {
    sae: SaeId,
    hookPoint: HookPointName,
    positions: Type.Array(Type.Integer(), { description: 'Those that were read.' }),
    nActive: Type.Integer({ description: 'Features active in some image.' }),
    nTested: Type.Integer(),
    nDiscoveries: Type.Integer({ description: 'With a false discovery rate of at most 5%.' }),
    features: Type.Array(ComparedFeatureShape, { description: 'AUROC farthest from 1/2 first.' }),
    recipe: Type.Array(RecipeEditShape, {
      description: 'Edits that move B towards A, as forward and steer take them. Empty where the SAE writes to several heads at once.',
    }),
    check: orNull(CheckShape),
  },
  { title: 'ImagesOfSae', additionalProperties: false },
)

export const CompareImagesShape = Type.Object(
  {
    model: ModelId,
    images: Type.Object({ a: Type.Integer(), b: Type.Integer() }, { title: 'ImageCounts', additionalProperties: false }),
    saes: Type.Array(ImagesOfSaeShape, { description: 'In the order of the request.' }),
  },
  { title: 'ImageComparison', additionalProperties: false },
)

// --- SAEs

export const CompareSaesInputShape = Type.Object(
  {
    saes: described<string[]>(
      { ...Saes, minItems: 2, maxItems: 8, 'x-limit': undefined },
      'Two to eight, of one model, that write to streams of one width. Each is compared with each.',
    ),
    images: Type.Optional(
      described<ImageSetInput>(ImageSet, 'On which the activations of matched features are correlated; not unless given.'),
    ),
    pooling: Type.Optional(PoolingShape),
    topK: Type.Optional(TopK('How many matched pairs to list; 20 unless given.')),
    order: Type.Optional(Type.Enum(['best', 'worst'], { title: 'MatchOrder', description: 'By cosine; `best` unless given.' })),
    full: Type.Optional(Type.Boolean({ description: 'Whether to answer the matches of all features; false unless given.' })),
    encoding: Type.Optional(Encoding),
  },
  { title: 'CompareSaesInput', additionalProperties: false },
)

const AgreementShape = Type.Object(
  {
    meanCosine: Type.Number({ description: 'Mean max cosine similarity.' }),
    medianCosine: Type.Number(),
    above70: Type.Number({ description: 'Share of the features with a match of cosine above 0.7.' }),
    above90: Type.Number(),
  },
  { title: 'DecoderAgreement', additionalProperties: false },
)

const tensorOrNull = (description: string) => orNull(TensorShape, `${description} Null unless "full".`)

export const SaePairShape = Type.Object(
  {
    a: SaeId,
    b: SaeId,
    sameHookPoint: Type.Boolean(),
    forth: described<Static<typeof AgreementShape>>(AgreementShape, 'Each feature of `a` with the nearest of `b`.'),
    back: described<Static<typeof AgreementShape>>(AgreementShape, 'Each feature of `b` with the nearest of `a`.'),
    matched: described<Static<typeof AgreementShape>>(
      AgreementShape,
      'One to one, greedily: the largest cosine of all first, then of what is left. Over the features of the narrower one.',
    ),
    nMatched: Type.Integer(),
    correlation: orNull(
      Type.Object(
        {
          nImages: Type.Integer(),
          nPairs: Type.Integer({ description: 'Of which both vary.' }),
          mean: Type.Number(),
          median: Type.Number(),
        },
        { title: 'MatchedCorrelation', additionalProperties: false },
      ),
      'Pearson, of pooled activations of matched pairs; null where there are no images.',
    ),
    matches: Type.Array(
      Type.Object(
        { a: LatentIndex, b: LatentIndex, cosine: Type.Number(), correlation: orNull(Type.Number()) },
        { title: 'FeatureMatch', additionalProperties: false },
      ),
      { description: 'Of the one-to-one matching.' },
    ),
    forthLatents: tensorOrNull('int32 [features of a]: its nearest in `b`; -1 of a row without a length.'),
    forthCosines: tensorOrNull('float32 [features of a].'),
    backLatents: tensorOrNull('int32 [features of b].'),
    backCosines: tensorOrNull('float32 [features of b].'),
    matchedLatents: tensorOrNull('int32 [features of a]: its partner in `b`; -1 where it has none.'),
    matchedCosines: tensorOrNull('float32 [features of a].'),
  },
  { title: 'SaePair', additionalProperties: false },
)

export type SaePair = Static<typeof SaePairShape>

export const CompareSaesShape = Type.Object(
  {
    model: ModelId,
    pairs: Type.Array(SaePairShape, { description: 'The first with the second, with the third, ..., the second with the third, ...' }),
    stability: Type.Array(
      Type.Object(
        {
          sae: SaeId,
          mean: Type.Number({ description: 'Over features and the other SAEs, of the largest cosine.' }),
          inAll: Type.Number({ description: 'Share of its features with a cosine above 0.7 in every other SAE.' }),
          inNone: Type.Number({ description: 'Share of its features with none above 0.7 in any.' }),
        },
        { title: 'SaeStability', additionalProperties: false },
      ),
      { description: 'In the order of the request.' },
    ),
  },
  { title: 'SaeComparison', additionalProperties: false },
)

// --- two images

export const CompareImagePairInputShape = Type.Object(
  {
    model: ModelId,
    a: ImageInput,
    b: ImageInput,
    saes: Type.Optional(described<string[]>({ ...Saes, minItems: 1 }, 'Of this model, whose features are compared.')),
    positions: Type.Optional(ReadPositions),
    pooling: Type.Optional(PoolingShape),
    topK: Type.Optional(TopK('How many features of each SAE, the largest differences first; 20 unless given.')),
    examples: Type.Optional(ExampleCount),
  },
  { title: 'CompareImagePairInput', additionalProperties: false },
)

const PairLayerShape = Type.Object(
  {
    hookPoint: HookPointName,
    mean: Type.Number({ description: 'Cosine of the means over all positions.' }),
    cls: orNull(Type.Number(), 'Cosine at CLS; null where there is none.'),
    byPosition: Type.Array(Type.Number(), { description: 'Cosine at each position.' }),
  },
  { title: 'PairLayer', additionalProperties: false },
)

export const PairSaeShape = Type.Object(
  {
    sae: SaeId,
    hookPoint: HookPointName,
    cosine: orNull(Type.Number(), 'Of the pooled activations of all features; null where none is active in one of them.'),
    onlyInA: Type.Integer({ description: 'Features that are active in A alone.' }),
    onlyInB: Type.Integer(),
    inBoth: Type.Integer(),
    features: Type.Array(
      Type.Object(
        {
          ...about,
          a: Type.Number({ description: 'Pooled activation.' }),
          b: Type.Number(),
          difference: Type.Number({ description: 'a - b' }),
        },
        { title: 'PairFeature', additionalProperties: false },
      ),
    ),
  },
  { title: 'PairSae', additionalProperties: false },
)

export const CompareImagePairShape = Type.Object(
  {
    model: ModelId,
    output: Type.Number({ description: "Cosine of the model's outputs: embeddings, logits or features." }),
    layers: Type.Array(PairLayerShape, { description: 'The residual stream: before the first block, and after each.' }),
    saes: Type.Array(PairSaeShape, { description: 'In the order of the request.' }),
  },
  { title: 'ImagePairComparison', additionalProperties: false },
)

export type ImagesOfSae = Static<typeof ImagesOfSaeShape>
export type PairSae = Static<typeof PairSaeShape>
