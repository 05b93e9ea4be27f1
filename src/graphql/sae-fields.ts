/**
 * SAEs, their features, and what their numbers mean. The features of an SAE are a field of it, too.
 */

import { operations } from '../operations/operations.js'
import { FeatureSummaryShape } from '../operations/schemas/feature.js'
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

/** `{sae}/{index}` */
function ofFeature(id: string) {
  const slash = id.lastIndexOf('/')
  return { sae: id.slice(0, slash), index: Number(id.slice(slash + 1)) }
}
