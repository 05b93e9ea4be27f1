/**
 * What is said of features.
 */

import { Type } from 'typebox'

export const ExplanationId = Type.String({ 'x-scalar': 'ID', minLength: 1, maxLength: 100, pattern: '^[^\\u0000]*$' })

const words = (maxLength: number, description: string) => Type.String({ minLength: 1, maxLength, pattern: '^[^\\u0000]*$', description })

export const MAX_EXPLANATION = 10_000

export const explanationFields = {
  text: words(MAX_EXPLANATION, 'What the feature stands for.'),
  author: words(200, 'Who says so.'),
  method: words(200, '`human`, or how it was made.'),
  score: Type.Number({ description: 'How well it predicts the feature, as far as its method measures that.' }),
}

/** With the feature that it is of. */
export const FeatureExplanationShape = Type.Object(
  {
    id: ExplanationId,
    feature: Type.String({ 'x-scalar': 'ID', description: '`{sae}/{index}`' }),
    sae: Type.String({ 'x-scalar': 'ID' }),
    index: Type.Integer({ description: 'Of the feature.' }),
    text: explanationFields.text,
    author: explanationFields.author,
    method: explanationFields.method,
    score: Type.Union([explanationFields.score, Type.Null()]),
    createdAt: Type.String({ format: 'date-time' }),
  },
  { title: 'FeatureExplanation', additionalProperties: false },
)
