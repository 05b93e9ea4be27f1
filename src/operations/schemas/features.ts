/** What SAEs find in inputs, as clients see it. */

import { type Static, Type } from 'typebox'

export const ActiveFeaturesShape = Type.Object(
  {
    features: Type.Array(Type.Integer(), { description: 'Indices, the most active feature first.' }),
    activations: Type.Array(Type.Number(), { description: 'Of each, above 0.' }),
  },
  { title: 'ActiveFeatures', additionalProperties: false },
)

export const ImageFeatureShape = Type.Object(
  {
    feature: Type.Integer(),
    activation: Type.Number({ description: 'Its largest over the selected positions.' }),
    position: Type.Integer({ description: 'Where that is.' }),
    patch: Type.Union(
      [Type.Object({ row: Type.Integer(), col: Type.Integer() }, { title: 'Patch', additionalProperties: false }), Type.Null()],
      { description: 'The same, where the position is a patch.' },
    ),
  },
  { title: 'ImageFeature', additionalProperties: false },
)

export const SaeFeaturesShape = Type.Object(
  {
    sae: Type.String({ 'x-scalar': 'ID' }),
    hookPoint: Type.String({ description: 'What the SAE reads.' }),
    width: Type.Integer({ description: 'How many features the SAE has.' }),
    positions: Type.Array(Type.Integer(), { description: 'Those that were selected, in this order.' }),
    perPosition: Type.Union([Type.Array(Type.Array(ActiveFeaturesShape)), Type.Null()], {
      description: 'For each input and each of `positions` the most active features; null where `topK` is 0.',
    }),
    perImage: Type.Union([Type.Array(Type.Array(ImageFeatureShape)), Type.Null()], {
      description: 'For each input the most active features, each at the position where it is most active; null where `imageTopK` is 0.',
    }),
  },
  { title: 'SaeFeatures', additionalProperties: false },
)

export type SaeFeatures = Static<typeof SaeFeaturesShape>
export type ActiveFeatures = Static<typeof ActiveFeaturesShape>
export type ImageFeature = Static<typeof ImageFeatureShape>
