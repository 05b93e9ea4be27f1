/**
 * What a user can ask of a model's answer: a class, a text, the difference of two of them, or a direction of their own.
 */

import { type Static, Type } from 'typebox'
import { ClassifyTemplates } from '../classify.js'
import { fixedLimits } from '../limits.js'
import { Float } from './tensor.js'

const ClassTarget = Type.Object(
  {
    class: Type.Union([Type.String({ minLength: 1, maxLength: 500 }), Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })], {
      'x-scalar': 'Json',
      description: "One of a classifier's own classes, by name or by index.",
    }),
  },
  { additionalProperties: false },
)

const TextTarget = Type.Object(
  {
    text: Type.String({ minLength: 1, maxLength: 500, description: 'Embedded by the text tower, as a label of `classify` is.' }),
    templates: ClassifyTemplates,
  },
  { additionalProperties: false },
)

const Side = Type.Union([ClassTarget, TextTarget], { title: 'TargetSide', description: 'A class, or a text.' })

export type TargetSide = Static<typeof Side>

export const TargetShape = Type.Union(
  [
    ClassTarget,
    TextTarget,
    Type.Object(
      { difference: Type.Array(Side, { minItems: 2, maxItems: 2, description: 'The score of the first minus that of the second.' }) },
      { additionalProperties: false },
    ),
    Type.Object(
      {
        direction: Type.Array(Float, { minItems: 1, maxItems: 1_000_000, description: "As long as the model's output." }),
        label: Type.Optional(Type.String({ minLength: 1, maxLength: 500, description: 'What answers call it; `direction` unless given.' })),
      },
      { additionalProperties: false },
    ),
  ],
  {
    title: 'Target',
    description:
      'What is asked of the answer, one number for an image. `{"class": ...}` of a classifier: its logit. `{"text": ...}` of a model with a text tower: its temperature times the cosine of image and text. `{"difference": [a, b]}`: the one minus the other. `{"direction": [...]}`: the product of the output with these numbers; of a model with a text tower, its temperature times the cosine, times the length of the numbers.',
  },
)

export type TargetInput = Static<typeof TargetShape>

export const Targets = Type.Array(TargetShape, { minItems: 1, maxItems: fixedLimits.targets, 'x-limit': 'targets' })
