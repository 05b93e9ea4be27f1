/** What is compared, and what weights say. */

import { operations } from '../operations/operations.js'
import type { Builder } from './builder.js'
import type { TypesFromSchemas } from './from-schema.js'
import { operationField } from './operation-field.js'

export function compareFields(builder: Builder, types: TypesFromSchemas): void {
  const { compareImages, compareSaes, compareImagePair, weightCircuits, headComposition, saeGeometry, virtualWeights } = operations
  const all = [compareImages, compareSaes, compareImagePair, weightCircuits, headComposition, saeGeometry, virtualWeights]
  for (const operation of all) operationField(builder, types, operation as never)
}
