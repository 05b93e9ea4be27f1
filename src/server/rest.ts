/**
 * The routes of the table: each is its operation and the way its answer is written.
 */

import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ByteStream } from '../engine/io/zip-writer.js'
import type { Download } from '../operations/download.js'
import type { DrawnFile } from '../operations/drawn/drawn-file.js'
import { fixedLimits } from '../operations/limits.js'
import type { Call } from '../operations/operation.js'
import { callOf, type Doors } from './doors.js'
import { sendDownload } from './download-answer.js'
import { encode } from './encode.js'
import { sendFile } from './file-answer.js'
import { IdempotencyKeys, idempotencyKeyOf } from './idempotency.js'
import { JSON_TYPE, negotiate, PNG, SVG, type TensorType, tensorTypes } from './negotiate.js'
import { fromQuery } from './query-values.js'
import { pathParameters, type Route, routes } from './routes.js'

/** Pieces of an answer up to here are joined. */
const MAX_JOINED_BYTES = 2 ** 20

export function rest(app: FastifyInstance, doors: Doors): void {
  const keys = new IdempotencyKeys()
  for (const route of routes) {
    app.route({
      method: route.method,
      url: route.path.replaceAll(/\{(\w+)\}/g, ':$1'),
      config: { scope: route.operation.scope },
      handler: (request, reply) => answer(route, { request, reply, doors, keys }),
    })
  }
}

interface Asked {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly doors: Doors
  readonly keys: IdempotencyKeys
}

async function answer(route: Route, { request, reply, doors, keys }: Asked) {
  // before anything is computed: an answer that nobody can read is not worth a run
  const type = negotiate(request, reply, offered(route))
  const input = inputOf(route, request)
  const encoding = isRecord(input) && input.encoding === 'base64' ? 'base64' : 'json'
  const isNumbersAsText = (route.tensors ?? route.table) !== undefined && type === JSON_TYPE && encoding === 'json'
  const idempotencyKey = route.created && idempotencyKeyOf(request)
  const done = route.created && keys.check(request, () => inOneOrder(input))
  const call: Call = {
    ...callOf(request, reply),
    ...(idempotencyKey !== undefined && { idempotencyKey }),
    ...(isNumbersAsText && { maxNumbers: { limit: 'jsonNumbers', value: fixedLimits.jsonNumbers } as const }),
  }
  const output = await doors.invoker.invoke(route.operation, input, { ...call, caller: request.caller })
  done?.()

  if (route.file) return sendFile(output as DrawnFile, { type: route.file, version: (input as { v?: string }).v, request, reply })
  if (route.download) return sendDownload(output as Download, { type: route.download, reply })
  if (route.created) reply.code(201).header('location', route.created(output as never))
  if (type === PNG) return reply.type(PNG).send(route.picture!(output as never))
  if (type === SVG) return reply.type(SVG).send(route.plot!(output as never))
  const started = performance.now()
  const metadata = metadataOf(output)
  const { tensors, table } = route
  const { byteLength, chunks } = await encode(type as TensorType, {
    ...{ output, encoding, metadata, signal: call.signal },
    ...(tensors && { tensors: () => tensors(output as never, input as Record<string, unknown>) }),
    ...(table && { table: () => table(output as never) }),
  })
  call.timing('encode', performance.now() - started)

  if (metadata.cache !== undefined) reply.header('refract-cache', metadata.cache)
  reply.type(type === JSON_TYPE ? 'application/json; charset=utf-8' : type).header('content-length', byteLength)
  return reply.send(bodyOf(chunks, byteLength))
}

/**
 * What goes through a stream is not freed before the whole heap is collected, since each stream is reached from the one before; so only what
 * is large does.
 */
function bodyOf(chunks: ByteStream['chunks'], byteLength: number): Uint8Array | Readable {
  if (!Array.isArray(chunks)) return Readable.from(chunks, { objectMode: false })
  if (chunks.length === 1) return chunks[0]
  return byteLength <= MAX_JOINED_BYTES ? Buffer.concat(chunks) : Readable.from(chunks, { objectMode: false })
}

function offered({ tensors, table, plot, picture, file, download }: Route) {
  if (tensors || table) return plot ? ([...tensorTypes, SVG] as const) : tensorTypes
  if (file) return [file]
  if (download) return [download]
  if (plot) return [JSON_TYPE, SVG] as const
  return picture ? ([PNG, JSON_TYPE] as const) : ([JSON_TYPE] as const)
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

/** As JSON, whatever the order of its fields. */
function inOneOrder(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => (isRecord(item) ? Object.fromEntries(Object.entries(item).sort()) : item)) ?? ''
}

/** The plain texts of an answer (`model`, `tower`, `cache`), for binary forms and headers. */
function metadataOf(output: unknown): Record<string, string> {
  return isRecord(output) && !('dtype' in output)
    ? Object.fromEntries(Object.entries(output).filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
    : {}
}

function inputOf({ operation, method, path }: Route, request: FastifyRequest): unknown {
  if (method === 'POST' && pathParameters(path).length === 0) return request.body
  // a POST whose path says it all needs no body; what is in one counts, and is not converted
  const given = method === 'POST' ? (request.body ?? {}) : request.query
  if (!isRecord(given)) return given
  const params = fromQuery(operation.input, request.params as Record<string, string>)
  const rest = method === 'POST' ? given : fromQuery(operation.input, given)
  // the path says it; a parameter of the same name would say it twice
  const where = method === 'POST' ? 'body' : 'query'
  const twice = pathParameters(path).filter((name) => name in given)
  return { ...rest, ...params, ...Object.fromEntries(twice.map((name) => [`${name} (${where})`, given[name]])) }
}
