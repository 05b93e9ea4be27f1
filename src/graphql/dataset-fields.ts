/**
 * Data sets. The pictures of one are a field of it, too.
 */

import { operations } from '../operations/operations.js'
import { DatasetItemShape } from '../operations/schemas/dataset.js'
import type { Builder } from './builder.js'
import { connectionField, nestedConnectionField } from './connection-field.js'
import type { TypesFromSchemas } from './from-schema.js'
import { operationField } from './operation-field.js'

export function datasetFields(builder: Builder, types: TypesFromSchemas): void {
  const { dataset, datasets, datasetItems, uploadDataset, registerDataset, removeDataset } = operations
  for (const operation of [dataset, uploadDataset, registerDataset, removeDataset]) operationField(builder, types, operation as never)
  const type = types.output(dataset.output) as never
  connectionField(builder, types, { operation: datasets, node: type, name: 'Dataset' })
  const items = connectionField(builder, types, {
    operation: datasetItems,
    node: types.output(DatasetItemShape) as never,
    name: 'DatasetItem',
  })
  nestedConnectionField(builder, types, {
    ...{ operation: datasetItems, type: items, on: type, name: 'items' },
    given: ({ id }) => ({ dataset: id }),
    givenNames: ['dataset'],
  })
}
