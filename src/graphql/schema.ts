/**
 * The GraphQL schema: the operations under their own names, with Relay's connections and nodes.
 */

import { type GraphQLSchema, printSchema } from 'graphql'
import type { Operation } from '../operations/operation.js'
import { operations } from '../operations/operations.js'
import { RunSummaryShape } from '../operations/runs/shapes.js'
import { createBuilder } from './builder.js'
import { compareFields } from './compare-fields.js'
import { connectionField } from './connection-field.js'
import { datasetFields } from './dataset-fields.js'
import { TypesFromSchemas } from './from-schema.js'
import { jobEventsField } from './job-events.js'
import { nodeType } from './node-type.js'
import { operationField } from './operation-field.js'
import { saeFields, searchFields } from './sae-fields.js'
import { tensorType } from './tensor-type.js'

export function buildSchema(): GraphQLSchema {
  const builder = createBuilder()
  const types = new TypesFromSchemas(builder)
  types.use('Tensor', tensorType(builder))
  const model = nodeType(builder, types, { name: 'Model', operation: operations.model })
  const image = nodeType(builder, types, { name: 'Image', operation: operations.image })
  const job = nodeType(builder, types, { name: 'Job', operation: operations.job })

  builder.queryType({ description: 'What can be asked. The same operations are at /v1, with the same names.' })
  builder.mutationType({})
  builder.subscriptionType({})
  const { capabilities, hookPoints, cache, activation, forward, features, steerSweep, heatmap, uploadImage } = operations
  const plain: readonly Operation[] = [
    capabilities,
    operations.model,
    hookPoints,
    operations.image,
    cache,
    activation,
    forward,
    features,
    steerSweep,
    heatmap,
    operations.steer,
    operations.patching,
    operations.pathPatching,
    operations.createRun,
    operations.run,
    operations.deleteRun,
    operations.runResult,
    operations.attribution,
    operations.featureAttribution,
    operations.logitLens,
    operations.logitLensPicture,
    operations.attention,
    operations.attentionPicture,
    uploadImage,
    operations.job,
    operations.jobLog,
    operations.createJob,
    operations.cancelJob,
    operations.resumeJob,
  ]
  for (const operation of plain) operationField(builder, types, operation)
  connectionField(builder, types, { operation: operations.models, node: model, name: 'Model' })
  connectionField(builder, types, { operation: operations.images, node: image, name: 'Image' })
  connectionField(builder, types, { operation: operations.runs, node: types.output(RunSummaryShape) as never, name: 'Run' })
  connectionField(builder, types, { operation: operations.jobs, node: job, name: 'Job' })
  jobEventsField(builder, types)
  saeFields(builder, types)
  searchFields(builder, types)
  datasetFields(builder, types)
  compareFields(builder, types)
  return builder.toSchema()
}

/** The schema as text, as it is committed. */
export const printedSchema = (): string => `${printSchema(buildSchema())}\n`
