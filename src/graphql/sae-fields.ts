/**
 * SAEs, their features, and what their numbers mean. The features of an SAE are a field of it, too.
 */

import type { TSchema } from 'typebox'
import { operations } from '../operations/operations.js'
import { FeatureExplanationShape } from '../operations/schemas/explanation.js'
import { FeatureSummaryShape } from '../operations/schemas/feature.js'
import { FoundFeatureShape } from '../operations/schemas/search.js'
import { VectorSummaryShape } from '../operations/vectors.js'
import type { Builder } from './builder.js'
import { connectionField, nestedConnectionField } from './connection-field.js'
import type { TypesFromSchemas } from './from-schema.js'
import { nodeType } from './node-type.js'
import { operationField } from './operation-field.js'

export function saeFields(builder: Builder, types: TypesFromSchemas): void {
  const { sae, saes, saeFeature, saeFeatures, metrics } = operations
  const saeType = nodeType(builder, types, { name: 'Sae', operation: sae })
  nodeType(builder, types, { name: 'Feature', operation: saeFeature, inputOf: ofFeature })
  for (const operation of [sae, saeFeature, metrics]) operationField(builder, types, operation as never)

  connectionField(builder, types, { operation: saes, node: saeType, name: 'Sae' })
  const features = connectionField(builder, types, {
    operation: saeFeatures,
    node: types.output(FeatureSummaryShape) as never,
    name: 'Feature',
  })
  nestedConnectionField(builder, types, {
    ...{ operation: saeFeatures, type: features, on: saeType, name: 'features' },
    given: ({ id }) => ({ sae: id }),
    givenNames: ['sae'],
  })
}

/** What is said of features and kept of directions, and the search over them. */
export function searchFields(builder: Builder, types: TypesFromSchemas): void {
  const { searchFeatures, explanation, explanations, createExplanation, deleteExplanation } = operations
  const { vector, vectors, createVector, deleteVector } = operations
  const named = [explanation, createExplanation, deleteExplanation, vector, createVector, deleteVector]
  for (const operation of named) operationField(builder, types, operation as never)
  const node = (schema: TSchema) => types.output(schema) as never
  connectionField(builder, types, { operation: searchFeatures, node: node(FoundFeatureShape), name: 'FoundFeature' })
  connectionField(builder, types, { operation: explanations, node: node(FeatureExplanationShape), name: 'FeatureExplanation' })
  connectionField(builder, types, { operation: vectors, node: node(VectorSummaryShape), name: 'Vector' })
}

/** `{sae}/{index}` */
function ofFeature(id: string) {
  const slash = id.lastIndexOf('/')
  return { sae: id.slice(0, slash), index: Number(id.slice(slash + 1)) }
}
