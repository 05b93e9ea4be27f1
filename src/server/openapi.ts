/**
 * The OpenAPI document, made from the table of routes and the declarations of the operations. A schema with a title becomes a component.
 */

import { type TSchema, Type } from 'typebox'
import { version } from '../operations/capabilities.js'
import { artifactTypes } from '../operations/jobs/artifacts.js'
import type { Operation } from '../operations/operation.js'
import { operations } from '../operations/operations.js'
import { JobEventShape, JobId } from '../operations/schemas/job.js'
import { ARTIFACT_PATH } from './artifact-routes.js'
import { datasetTypes } from './dataset-routes.js'
import { uploadTypes } from './image-routes.js'
import { EVENT_STREAM } from './job-events.js'
import { ARROW, JSON_TYPE, NPZ, PNG, SAFETENSORS, SVG, TEXT } from './negotiate.js'
import { statuses, titleOf } from './problem.js'
import { pathParameters, type Route, routes } from './routes.js'

type Json = { [key: string]: unknown }

const binary = { type: 'string', contentMediaType: 'application/octet-stream' }

/** A document for OpenAPI 3.1. */
export function openApiDocument(): Json {
  const schemas: Record<string, Json> = {}
  const paths: Record<string, Record<string, Json>> = {}
  const add = (path: string, method: string, operation: Json) => {
    paths[path] = { ...paths[path], [method]: operation }
  }
  for (const route of routes) add(route.path, route.method.toLowerCase(), describeRoute(route, schemas))
  const upload = describeUpload(schemas)
  add('/v1/images', 'post', upload)
  add('/v1/images/{id}', 'get', describeImage(schemas))
  add('/v1/datasets', 'post', describeDatasetUpload(schemas))
  add('/v1/jobs/{id}/events', 'get', describeJobEvents(schemas))
  add(ARTIFACT_PATH, 'get', describeArtifact(schemas))
  schemas.Problem = problemSchema
  return {
    openapi: '3.1.0',
    info: {
      title: 'Refract',
      version,
      license: { name: 'MIT', identifier: 'MIT' },
      description: 'Looking inside vision transformers and changing what they do. The same operations are at /graphql.',
    },
    servers: [{ url: '/' }],
    security: [{}, { bearer: [] }, { apiKey: [] }],
    tags: [
      { name: 'server', description: 'What this server is.' },
      { name: 'models', description: 'What can be run.' },
      { name: 'saes', description: 'Sparse autoencoders, their numbers and their features.' },
      { name: 'search', description: 'From words and pictures to features.' },
      { name: 'vectors', description: 'Directions that are kept.' },
      { name: 'datasets', description: 'What numbers are of.' },
      { name: 'images', description: 'Pictures, addressed by their content.' },
      { name: 'pictures', description: 'What was found, as pictures: made here, cached by clients.' },
      { name: 'jobs', description: 'Long work: imports, training, evaluating, indexing.' },
      { name: 'compare', description: 'Sets of images, SAEs and single images against each other.' },
      { name: 'weights', description: 'What weights alone say of heads and of features.' },
      { name: 'runs', description: 'Inputs through models: activations, edits, outputs.' },
    ],
    paths,
    components: {
      schemas: Object.fromEntries(Object.entries(schemas).sort(([a], [b]) => (a < b ? -1 : 1))),
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'An API key. Needed when the server has any.' },
        apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' },
      },
    },
  }
}

function describeRoute(
  { operation, method, path, tag, tensors, table, plot, picture, file, download, created }: Route,
  schemas: Record<string, Json>,
): Json {
  const inPath = pathParameters(path)
  const input = operation.input as unknown as { properties?: Record<string, TSchema>; required?: string[] }
  // alternatives have no properties of their own
  const parameters = Object.entries(input.properties ?? {})
    .filter(([name]) => method !== 'POST' || inPath.includes(name))
    .map(([name, schema]) =>
      describeParameter(name, { schema, inPath: inPath.includes(name), required: input.required?.includes(name) ?? false, schemas }),
    )
  const json = { schema: toComponents(operation.output, schemas) }
  const svg = plot && { [SVG]: { schema: { type: 'string' } } }
  const content =
    (tensors ?? table)
      ? { [JSON_TYPE]: json, [NPZ]: { schema: binary }, [SAFETENSORS]: { schema: binary }, [ARROW]: { schema: binary }, ...svg }
      : { ...(picture && { [PNG]: { schema: binary } }), [JSON_TYPE]: json, ...svg }
  return {
    operationId: operation.name,
    summary: operation.summary,
    description: `Scope: \`${operation.scope}\`.`,
    tags: [tag],
    ...((parameters.length > 0 || created) && { parameters: [...parameters, ...(created ? [idempotencyKeyHeader] : [])] }),
    ...(method === 'POST' && hasBody(input, inPath) && { requestBody: describeBody(operation, { inPath, schemas }) }),
    responses: file
      ? fileResponses(file)
      : download
        ? downloadResponses(download)
        : { [created ? 201 : 200]: { description: 'The answer.', headers: answerHeaders, content }, default: problemResponse },
  }
}

/** Alternatives have no properties of their own, and fields. */
const hasBody = ({ properties }: { readonly properties?: object }, inPath: readonly string[]) =>
  properties === undefined || inPath.length === 0 || Object.keys(properties).some((name) => !inPath.includes(name))

/** What the path does not say. */
function describeBody(
  { input, example }: Operation,
  { inPath, schemas }: { inPath: readonly string[]; schemas: Record<string, Json> },
): Json {
  const isSaid = ([name]: [string, unknown]) => !inPath.includes(name)
  const without = (fields: object) => Object.fromEntries(Object.entries(fields).filter(isSaid))
  const { properties = {}, required = [] } = input as unknown as { properties?: object; required?: string[] }
  const unsaid = { ...input, properties: without(properties), required: required.filter((name) => !inPath.includes(name)) }
  return {
    required: true,
    content: {
      [JSON_TYPE]: {
        schema: toComponents(inPath.length === 0 ? input : unsaid, schemas),
        ...(example !== undefined && { example: without(example as object) }),
      },
    },
  }
}

const fileResponses = (type: string) => ({
  200: {
    description: type === TEXT ? 'The text.' : 'The picture.',
    headers: { ...answerHeaders, ETag: { schema: { type: 'string' } } },
    content: { [type]: { schema: type === PNG ? binary : { type: 'string' } } },
  },
  304: { description: 'Not modified.' },
  default: problemResponse,
})

const downloadResponses = (type: string) => ({
  200: {
    description: 'The file.',
    headers: { ...answerHeaders, 'Content-Disposition': { description: 'With a name for the file.', schema: { type: 'string' } } },
    content: { [type]: { schema: binary } },
  },
  default: problemResponse,
})

function describeParameter(
  name: string,
  about: { schema: TSchema; inPath: boolean; required: boolean; schemas: Record<string, Json> },
): Json {
  const { description, examples } = about.schema as { description?: string; examples?: unknown[] }
  return {
    name,
    in: about.inPath ? 'path' : 'query',
    required: about.inPath || about.required,
    ...(description !== undefined && { description }),
    // 0,1,2 and not positions=0&positions=1
    ...(!about.inPath && { style: 'form', explode: false }),
    schema: toComponents(about.schema, about.schemas),
    ...(examples?.[0] !== undefined && { example: examples[0] }),
  }
}

function describeUpload(schemas: Record<string, Json>): Json {
  const { uploadImage } = operations
  const content = Object.fromEntries(
    uploadTypes.map((type) => [
      type,
      { schema: type === 'multipart/form-data' ? { type: 'object', required: ['file'], properties: { file: binary } } : binary },
    ]),
  )
  return {
    operationId: uploadImage.name,
    summary: uploadImage.summary,
    description: `Scope: \`${uploadImage.scope}\`. As a form with one file, or the file itself as the body.`,
    tags: ['images'],
    parameters: [idempotencyKeyHeader],
    requestBody: { required: true, content },
    responses: {
      201: {
        description: 'The image.',
        headers: answerHeaders,
        content: { [JSON_TYPE]: { schema: toComponents(uploadImage.output, schemas) } },
      },
      default: problemResponse,
    },
  }
}

function describeDatasetUpload(schemas: Record<string, Json>): Json {
  const { uploadDataset } = operations
  const { file: _, ...said } = (uploadDataset.input as unknown as { properties: Record<string, TSchema> }).properties
  const properties = { file: binary, ...mapValues(said, (each) => toComponents(each, schemas)) }
  const content = Object.fromEntries(
    datasetTypes.map((type) => [
      type,
      { schema: type === 'multipart/form-data' ? { type: 'object', required: ['file'], properties } : binary },
    ]),
  )
  return {
    operationId: uploadDataset.name,
    summary: uploadDataset.summary,
    description: `Scope: \`${uploadDataset.scope}\`. As a form with one file, or the file itself as the body and the rest in the query.`,
    tags: ['datasets'],
    parameters: [
      ...Object.entries(said).map(([name, schema]) => describeParameter(name, { schema, inPath: false, required: false, schemas })),
      idempotencyKeyHeader,
    ],
    requestBody: { required: true, content },
    responses: {
      201: {
        description: 'The data set.',
        headers: answerHeaders,
        content: { [JSON_TYPE]: { schema: toComponents(uploadDataset.output, schemas) } },
      },
      default: problemResponse,
    },
  }
}

function describeImage(schemas: Record<string, Json>): Json {
  const { imageFile, image } = operations
  const { id, size } = (imageFile.input as unknown as { properties: Record<string, TSchema> }).properties
  return {
    operationId: imageFile.name,
    summary: imageFile.summary,
    description: `Scope: \`${imageFile.scope}\`. With \`Accept: application/json\`, its format and size.`,
    tags: ['images'],
    parameters: [
      describeParameter('id', { schema: id!, inPath: true, required: true, schemas }),
      describeParameter('size', { schema: size!, inPath: false, required: false, schemas }),
    ],
    responses: {
      200: {
        description: 'The image.',
        headers: { ...answerHeaders, ETag: { schema: { type: 'string' } } },
        content: {
          'image/png': { schema: binary },
          'image/jpeg': { schema: binary },
          'image/webp': { schema: binary },
          [JSON_TYPE]: { schema: toComponents(image.output, schemas) },
        },
      },
      304: { description: 'Not modified.' },
      default: problemResponse,
    },
  }
}

function describeJobEvents(schemas: Record<string, Json>): Json {
  const after = Type.Integer({ minimum: 0, description: 'Lines of the log after the one with this number; `Last-Event-ID` says the same.' })
  return {
    operationId: 'jobEvents',
    summary: 'A job as it changes, and new lines of its log, until it is over',
    description:
      'Scope: `read`. Server-sent events: `job` with a Job, `line` with a JobLogLine; the id of an event is the number of the last line.',
    tags: ['jobs'],
    parameters: [
      describeParameter('id', { schema: JobId, inPath: true, required: true, schemas }),
      describeParameter('after', { schema: after, inPath: false, required: false, schemas }),
    ],
    responses: {
      200: { description: 'The events.', content: { [EVENT_STREAM]: { schema: toComponents(JobEventShape, schemas) } } },
      default: problemResponse,
    },
  }
}

function describeArtifact(schemas: Record<string, Json>): Json {
  const { jobArtifact } = operations
  const { id, name } = (jobArtifact.input as unknown as { properties: Record<string, TSchema> }).properties
  const types = Object.values(artifactTypes).map((type) => type.split(';')[0]!)
  return {
    operationId: jobArtifact.name,
    summary: jobArtifact.summary,
    description: `Scope: \`${jobArtifact.scope}\`. What there is, the job's result says.`,
    tags: ['jobs'],
    parameters: [
      describeParameter('id', { schema: id!, inPath: true, required: true, schemas }),
      describeParameter('name', { schema: name!, inPath: true, required: true, schemas }),
    ],
    responses: {
      200: {
        description: 'The file.',
        headers: { ...answerHeaders, ETag: { schema: { type: 'string' } } },
        content: Object.fromEntries(types.map((type) => [type, { schema: type === JSON_TYPE ? {} : { type: 'string' } }])),
      },
      304: { description: 'Not modified.' },
      default: problemResponse,
    },
  }
}

const idempotencyKeyHeader = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: 'The same key with other content is refused.',
  schema: { type: 'string', maxLength: 255 },
}

const answerHeaders = {
  'Server-Timing': { description: 'Milliseconds: decode, queue, load, compile, run, encode, total.', schema: { type: 'string' } },
}

const problemSchema: Json = {
  type: 'object',
  description: 'RFC 9457. `code` is stable; docs/errors.md explains each.',
  required: ['type', 'title', 'status', 'detail', 'instance', 'code'],
  properties: {
    type: { type: 'string', description: 'Where the code is explained.', examples: ['/errors/INPUT_INVALID'] },
    title: { type: 'string', examples: [titleOf('INPUT_INVALID')] },
    status: { type: 'integer' },
    detail: { type: 'string' },
    instance: { type: 'string' },
    code: { type: 'string', enum: Object.keys(statuses).sort() },
    errors: {
      type: 'array',
      description: 'Every problem of the request, with its path.',
      items: { type: 'object', required: ['path', 'message'], properties: { path: { type: 'string' }, message: { type: 'string' } } },
    },
    limit: {
      type: 'object',
      description: 'The limit that was passed, by its name in `capabilities`.',
      required: ['name', 'value'],
      properties: { name: { type: 'string' }, value: { type: 'number' }, given: { type: 'number' } },
    },
    requestId: { type: 'string', description: 'Under which the log of the server has the details; with a status of 500 and above.' },
  },
}

const problemResponse = {
  description: 'What was wrong.',
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
}

/** The schema as plain JSON, its titled parts moved to `schemas` and referred to. */
function toComponents(schema: unknown, schemas: Record<string, Json>): unknown {
  if (Array.isArray(schema)) return schema.map((item) => toComponents(item, schemas))
  if (typeof schema !== 'object' || schema === null) return schema
  const { title, ...rest } = schema as Json
  const plain = Object.fromEntries(
    Object.entries(rest)
      .filter(([key]) => key !== 'x-entry' && key !== 'x-scalar')
      .map(([key, value]) => [
        key,
        key === 'properties' ? mapValues(value as Json, (item) => toComponents(item, schemas)) : toComponents(value, schemas),
      ]),
  )
  if (typeof title !== 'string') return plain
  schemas[title] = plain
  return { $ref: `#/components/schemas/${title}` }
}

const mapValues = (object: Json, map: (value: unknown) => unknown): Json =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value)]))
