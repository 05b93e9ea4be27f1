/** The logit lens, as clients ask for it and read it. */

import { type Static, Type } from 'typebox'
import { ClassifyShape, ClassifyTemplates, ClassScoreShape } from '../classify.js'
import { fixedLimits } from '../limits.js'
import { ModelId } from './model.js'
import { HookPointName, TensorShape } from './tensor.js'

const FacetLabelsShape = Type.Object(
  {
    dataset: Type.String({ minLength: 1, maxLength: 200, description: 'The id of a data set.' }),
    facet: Type.String({
      minLength: 1,
      maxLength: 200,
      description: 'Something that is known of its pictures: of emoji `category`, `subcategory` or `name`. Each value is a label.',
    }),
    templates: ClassifyTemplates,
  },
  { title: 'FacetLabels', additionalProperties: false, description: 'Labels from what is known of the pictures of a data set, in words.' },
)

/** Fields that say what the lens reads for; a classifier's own classes need none. */
export const labelFields = {
  classify: Type.Optional(ClassifyShape),
  facet: Type.Optional(FacetLabelsShape),
  target: Type.Optional(
    Type.Union([Type.String({ minLength: 1, maxLength: 500 }), Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })], {
      'x-scalar': 'Json',
      description: 'One of the labels or classes, by name or by index; what the model answers, of each picture its own, unless given.',
    }),
  ),
  hookPoints: Type.Optional(
    Type.Array(HookPointName, {
      minItems: 1,
      maxItems: fixedLimits.readPatterns,
      'x-limit': 'readPatterns',
      description:
        'Of the residual stream: `blocks.N.hook_resid_pre`, `hook_resid_mid`, `hook_resid_post`; `*` stands for anything within one part. `blocks.*.hook_resid_post` unless given.',
    }),
  ),
}

const LabelFields = Type.Object(labelFields)
export type LabelInput = Static<typeof LabelFields>

const tensor = (description: string) => Type.Unsafe<Static<typeof TensorShape>>({ ...TensorShape, description })

export const LensValuesShape = Type.Object(
  {
    topClasses: tensor('[..., k] int32: the most probable, as indices into `labels`.'),
    topLogits: tensor('[..., k]'),
    topProbabilities: tensor('[..., k]: of the softmax over all labels.'),
    entropy: tensor('Of that softmax, in nats.'),
    targetLogit: tensor("The target's."),
    targetProbability: tensor("The target's."),
    targetRank: tensor('int32: 1 where the target is the most probable.'),
    logits: Type.Union([TensorShape, Type.Null()], { description: '[..., label]; null unless asked for.' }),
  },
  { title: 'LensValues', additionalProperties: false },
)

export const LensShape = Type.Object(
  {
    model: ModelId,
    hookPoints: Type.Array(Type.String(), { description: 'In firing order: the axis `layer`.' }),
    labels: Type.Array(Type.String()),
    targets: Type.Array(Type.String(), { description: 'Of each input: whose probability and rank is given.' }),
    positions: Type.Array(Type.Integer(), { description: 'Those that were selected: the axis `pos` of `tokens`.' }),
    classes: Type.Union([Type.Array(Type.Array(Type.Array(ClassScoreShape))), Type.Null()], {
      description: 'For each input and hook point what `pooled` says, in words. Null where the model does not pool.',
    }),
    tokens: Type.Unsafe<Static<typeof LensValuesShape>>({ ...LensValuesShape, description: 'Of each token: [input, layer, pos, ...].' }),
    pooled: Type.Union([LensValuesShape, Type.Null()], {
      description:
        'Of the tokens pooled as the model pools them, [input, layer, ...]; at the last layer what the model answers. Null where it does not pool.',
    }),
  },
  { title: 'LogitLens', additionalProperties: false },
)

export type LensAnswer = Static<typeof LensShape>
