/**
 * Features that a search found.
 */

import { type Static, Type } from 'typebox'
import { FeaturePicturesShape, FeatureSummaryShape, StatisticsShape } from './feature.js'

export const searchSorts = ['decoder', 'pictures', 'activation', 'relative'] as const

export type SearchSort = (typeof searchSorts)[number]

const picturesFrom = ['index', 'top-pictures'] as const

export type PicturesFrom = (typeof picturesFrom)[number]

const orNull = <S extends Parameters<typeof Type.Union>[0][number]>(schema: S) => Type.Union([schema, Type.Null()])
const { id, sae, index, explanations, examples } = FeatureSummaryShape.properties

export const FoundFeatureShape = Type.Object(
  {
    ...{ id, sae, index, explanations, examples },
    dataset: Type.Union([Type.String({ 'x-scalar': 'ID' }), Type.Null()], {
      description: 'On which it was indexed.',
    }),
    statistics: Type.Union([StatisticsShape, Type.Null()]),
    pictures: orNull(FeaturePicturesShape),
    scores: Type.Object(
      {
        decoder: Type.Union([Type.Number(), Type.Null()], {
          description: 'Cosine of the text with the decoder row, taken through the final norm and projection of the model.',
        }),
        pictures: Type.Union([Type.Number(), Type.Null()], {
          description: 'Cosine of the text with the mean embedding of its pictures.',
        }),
        picturesFrom: orNull(
          Type.Enum([...picturesFrom], {
            title: 'PicturesFrom',
            description:
              'Which mean that is: `index`, over all pictures of the index, weighted with how active it is in each; `top-pictures`, over its 8 top pictures, embedded now.',
          }),
        ),
        activation: Type.Union([Type.Number(), Type.Null()], { description: 'Its largest activation in the image, or in the patch.' }),
        relative: Type.Union([Type.Number(), Type.Null()], {
          description: 'The same over the largest that an index has seen.',
        }),
      },
      { title: 'SearchScores', additionalProperties: false, description: 'Null where it is not defined, or was not asked for.' },
    ),
    position: orNull(Type.Integer()),
    patch: Type.Union([
      Type.Object({ row: Type.Integer(), col: Type.Integer() }, { title: 'Patch', additionalProperties: false }),
      Type.Null(),
    ]),
  },
  { title: 'FoundFeature', additionalProperties: false },
)

export type FoundFeature = Static<typeof FoundFeatureShape>
