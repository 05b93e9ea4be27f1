/** Attention, as clients ask for it and read it. */

import { type Static, Type } from 'typebox'
import { headFusions } from '../../engine/analyses/attention/attention-rollout.js'
import { headTypes } from '../../engine/analyses/attention/head-statistics.js'
import { fixedLimits } from '../limits.js'
import { DatasetId } from './dataset.js'
import { Edits } from './edit.js'
import { ImageInputs } from './image.js'
import { ModelId } from './model.js'
import { SaeId } from './sae.js'
import { Activations, Encoding, LatentIndex, TensorShape } from './tensor.js'

const Index = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })
const indices = (description: string) => Type.Optional(Type.Array(Index, { minItems: 1, maxItems: 10_000, uniqueItems: true, description }))

export const rolloutFields = {
  heads: Type.Optional(
    Type.Enum([...headFusions], { title: 'HeadFusion', description: 'What is taken of the heads of a layer; `mean` unless given.' }),
  ),
  discardRatio: Type.Optional(
    Type.Number({
      minimum: 0,
      maximum: 0.9999,
      description: 'Share of the smallest weights of each layer that count as 0; 0 unless given.',
    }),
  ),
  throughLayer: Type.Optional(Type.Unsafe<number>({ ...Index, description: 'Up to which layer; the last unless given.' })),
}

export const FeatureOfSaeShape = Type.Object(
  {
    sae: SaeId,
    feature: LatentIndex,
    position: Type.Optional(
      Type.Unsafe<number>({ ...Index, description: 'Where; unless given, in each picture where the pre-activation is largest.' }),
    ),
  },
  { title: 'FeatureOfSae', additionalProperties: false },
)

export const AttentionInputShape = Type.Object(
  {
    model: ModelId,
    inputs: Type.Optional(
      Type.Unsafe<Static<typeof ImageInputs>>({ ...ImageInputs, description: 'Pictures. Statistics can be of a data set in their place.' }),
    ),
    layers: indices('Of patterns and statistics; all unless given.'),
    heads: indices('Of patterns and statistics; all unless given.'),
    patterns: Type.Optional(Type.Boolean({ description: 'Whether patterns are answered. Unless given: when nothing else is asked for.' })),
    statistics: Type.Optional(Type.Boolean({ description: 'Whether statistics of heads are answered; false unless given.' })),
    dataset: Type.Optional(
      Type.Object(
        {
          id: DatasetId,
          pictures: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: fixedLimits.headPictures,
              description: 'How many, evenly spaced over the data set; 64 unless given.',
            }),
          ),
        },
        { title: 'AttentionDataset', additionalProperties: false, description: 'What statistics are of, in place of `inputs`.' },
      ),
    ),
    rollout: Type.Optional(Type.Object(rolloutFields, { title: 'Rollout', additionalProperties: false })),
    contributions: Type.Optional(
      Type.Unsafe<Static<typeof FeatureOfSaeShape>>({
        ...FeatureOfSaeShape,
        description: 'A feature, whose pre-activation is taken apart into what heads wrote, by the position that they took it from.',
      }),
    ),
    edits: Type.Optional(
      Type.Unsafe<Static<typeof Edits>>({
        ...Edits,
        description: 'Of the run whose attention is answered. Not of contributions, and not with `dataset`.',
      }),
    ),
    topK: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 10_000,
        description: 'How many of the heads with the largest contributions to name; 10 unless given.',
      }),
    ),
    encoding: Type.Optional(Encoding),
  },
  { title: 'AttentionInput', additionalProperties: false },
)

export type AttentionInput = Static<typeof AttentionInputShape>

const share = (description: string) => Type.Union([Type.Number(), Type.Null()], { description })

export const HeadStatisticsShape = Type.Object(
  {
    layer: Type.Integer(),
    head: Type.Integer(),
    entropy: Type.Number({ description: 'Of the rows of patches, in nats.' }),
    clsEntropy: share("Of CLS's row; null where there is no CLS."),
    largest: Type.Number({ description: 'The largest weight of a row, of the rows of patches.' }),
    distance: Type.Number({ description: 'Between a patch and the patches that it attends to, in patches.' }),
    patchesToCls: share('What patches give to CLS.'),
    patchesToRegisters: share('What patches give to registers; null where there are none.'),
    clsToCls: share('What CLS gives to itself.'),
    clsToPatches: share('What CLS gives to patches.'),
    clsToRegisters: share('What CLS gives to registers.'),
    toSelf: Type.Number({ description: 'Of what patches give to patches: to themselves.' }),
    toRow: Type.Number({ description: 'To those in the same row, themselves included.' }),
    toColumn: Type.Number({ description: 'To those in the same column, themselves included.' }),
    toCorners: Type.Number({ description: 'To the four corners.' }),
    neighbour: Type.Union(
      [
        Type.Object(
          { row: Type.Integer(), col: Type.Integer(), share: Type.Number() },
          { title: 'HeadNeighbour', additionalProperties: false },
        ),
        Type.Null(),
      ],
      { description: 'Of the eight neighbours the one that gets most: rows down, columns to the right, and its share.' },
    ),
    samePattern: share('How much of the pattern between patches is the same in every picture; null of one picture.'),
    types: Type.Array(Type.Enum([...headTypes], { title: 'HeadType' }), {
      description: 'What the head is; docs/attention.md says from when on.',
    }),
  },
  { title: 'HeadStatistics', additionalProperties: false },
)

const HeadPartShape = Type.Object(
  { layer: Type.Integer(), head: Type.Integer(), contribution: Type.Number() },
  { title: 'HeadContribution', additionalProperties: false },
)

const tensor = (description: string) => Type.Unsafe<Static<typeof TensorShape>>({ ...TensorShape, description })

const ContributionsShape = Type.Object(
  {
    sae: Type.String({ 'x-scalar': 'ID' }),
    feature: Type.Integer(),
    hookPoint: Type.String(),
    layers: Type.Array(Type.Integer(), { description: 'Whose heads wrote to it: the axis `layer`.' }),
    positions: Type.Array(Type.Integer(), { description: 'Of each input: where the feature is taken apart.' }),
    preActivations: Type.Array(Type.Number(), { description: 'Of each input: the sum of all parts.' }),
    top: Type.Array(Type.Array(HeadPartShape), {
      description: 'Of each input the heads with the largest contributions, positive or negative.',
    }),
    heads: tensor('[input, layer, head]'),
    sources: tensor('[input, layer, head, kPos]: by the position that a head took it from.'),
    attnBias: tensor('[input, layer]: what the output bias of attention adds.'),
    mlp: Type.Union([TensorShape, Type.Null()], { description: '[input, layer]: what MLPs wrote, from layer 0 on; null where none did.' }),
    embed: tensor('[input]: what entered the first block.'),
    bias: tensor('[input]: of the SAE itself.'),
    remainder: tensor('[input]: the pre-activation less all parts: rounding.'),
  },
  { title: 'Contributions', additionalProperties: false },
)

export const AttentionShape = Type.Object(
  {
    model: ModelId,
    patterns: Type.Union(
      [Type.Unsafe<Static<typeof Activations>>({ ...Activations, description: '[input, head, qPos, kPos] by hook point.' }), Type.Null()],
      { description: 'Null unless asked for.' },
    ),
    heads: Type.Array(Type.Integer(), { description: 'Those that were chosen: the axis `head` of patterns.' }),
    pictures: Type.Union([Type.Integer(), Type.Null()], { description: 'How many pictures statistics are of.' }),
    statistics: Type.Union([Type.Array(HeadStatisticsShape), Type.Null()], {
      description: 'Of each head, layer by layer; null unless asked for.',
    }),
    rollout: Type.Union([TensorShape, Type.Null()], { description: '[input, qPos, kPos]; null unless asked for.' }),
    contributions: Type.Union([ContributionsShape, Type.Null()]),
  },
  { title: 'Attention', additionalProperties: false },
)

export type AttentionAnswer = Static<typeof AttentionShape>
