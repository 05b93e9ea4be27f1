/**
 * One feature of an SAE, with everything that an index says of it.
 */

import { Type } from 'typebox'
import { describeFeature, picturesOf } from './feature-facts/describe-feature.js'
import { DatasetField, featureFields, findFeature } from './feature-facts/find-feature.js'
import { defineOperation } from './operation.js'
import { FeatureShape } from './schemas/feature.js'

export const saeFeature = defineOperation({
  name: 'saeFeature',
  kind: 'query',
  scope: 'read',
  summary: 'A feature of an SAE: statistics, histograms, pictures, labels, neighbours, effects, explanations',
  input: Type.Object({ ...featureFields, dataset: DatasetField }, { title: 'SaeFeatureInput', additionalProperties: false }),
  output: FeatureShape,
  example: { sae: 'clip-vit-b-32-datacomp-xl.9-resid-post.vanilla-x64-all', index: 1234 },

  async run({ catalog }, which) {
    const { set, feature } = await findFeature(catalog, which)
    const pictures = await picturesOf(catalog, set, feature.examples)
    return describeFeature(feature, { set, pictures })
  },
})
