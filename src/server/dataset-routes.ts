/**
 * Data sets come as zip files of any length: they are written to the disk as they arrive, and are never whole in memory.
 */

import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import multipart from '@fastify/multipart'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { withScratchFolder } from '../catalog/scratch-folder.js'
import { EngineError } from '../engine/errors.js'
import { isRefusal, RequestError } from '../operations/errors.js'
import { operations } from '../operations/operations.js'
import type { SavedFile } from '../operations/register-dataset.js'
import { callOf, type Doors } from './doors.js'
import { HttpError } from './http-errors.js'
import { IdempotencyKeys } from './idempotency.js'
import { fromQuery } from './query-values.js'

const zipTypes = ['application/zip', 'application/x-zip-compressed', 'application/octet-stream']
export const datasetTypes = ['multipart/form-data', ...zipTypes]

/** Of a form beside its file: id, name and the like. */
const MAX_FIELDS = 10
const MAX_FIELD_BYTES = 2 ** 16

export async function datasetRoutes(app: FastifyInstance, { context, invoker }: Doors): Promise<void> {
  const maximum = context.config.maxDatasetBytes
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    await scope.register(multipart, {
      limits: { files: 2, fields: MAX_FIELDS, fieldSize: MAX_FIELD_BYTES, fileSize: Number.POSITIVE_INFINITY },
    })
    scope.addContentTypeParser(zipTypes, (_request, payload, done) => done(null, payload))
    const keys = new IdempotencyKeys()

    scope.post('/v1/datasets', { config: { scope: 'write', accepts: datasetTypes, takesFiles: true } }, async (request, reply) => {
      requireLength(Number(request.headers['content-length'] ?? 0), maximum)
      const dataset = await withScratchFolder(context.config.dataDir, async (folder) => {
        const { file, sha256, fields } = await received(request, folder, maximum)
        if ('file' in fields) throw new EngineError('INPUT_INVALID', { path: 'file', problem: 'is a text; it must be a zip file' })
        const done = keys.check(request, () => JSON.stringify([sha256, fields]))
        const input = { ...fromQuery(operations.uploadDataset.input, fields), ...(file && { file }) }
        const call = { ...callOf(request, reply), caller: request.caller }
        const made = await invoker.invoke(operations.uploadDataset, input, call)
        done()
        return made
      })
      return reply.code(201).header('location', `/v1/datasets/${dataset.id}`).send(dataset)
    })
  })
}

interface Received {
  readonly file: SavedFile | undefined
  readonly sha256: string | undefined
  readonly fields: Readonly<Record<string, unknown>>
}

/** A form with one file, or the file itself, whose fields are then in the query. */
async function received(request: FastifyRequest, folder: string, maximum: number): Promise<Received> {
  const query = request.query as Record<string, unknown>
  if (!request.isMultipart()) {
    if (request.body === undefined || request.body === null) return { file: undefined, sha256: undefined, fields: query }
    return { ...(await saved(request.body as Readable, path.join(folder, 'upload.zip'), maximum)), fields: query }
  }
  try {
    return await receivedForm(request, { folder, maximum, query })
  } catch (error) {
    // the parser of forms throws bare errors, and with codes only for limits
    if (isRefusal(error) || error instanceof HttpError || 'code' in (error as object)) throw error
    throw new HttpError('BODY_MALFORMED', { problem: `${(error as Error).message.replace(/\.+$/, '')}.` })
  }
}

async function receivedForm(
  request: FastifyRequest,
  { folder, maximum, query }: { readonly folder: string; readonly maximum: number; readonly query: Readonly<Record<string, unknown>> },
): Promise<Received> {
  const fields: Record<string, unknown> = { ...query }
  let zip: Pick<Received, 'file' | 'sha256'> | undefined
  for await (const part of request.parts()) {
    // the parser of forms lets a part be without a name
    const name = ((part.fieldname as string | undefined) ?? '').slice(0, 100)
    const invalid = (problem: string) => new EngineError('INPUT_INVALID', { path: name, problem })
    if (part.type === 'file') {
      if (zip) throw invalid('is a second file; upload one data set at a time')
      zip = await saved(part.file, path.join(folder, zipName(part.filename)), maximum)
    } else {
      if (Object.hasOwn(fields, name)) throw invalid('is there twice')
      fields[name] = part.value
    }
  }
  return { file: zip?.file, sha256: zip?.sha256, fields }
}

/** The client's own name for the file, as one that is a name here: what the data set is called unless it is said. */
function zipName(given: string | undefined): string {
  const stem = (given ?? '')
    .replace(/\.zip$/i, '')
    .replaceAll(/[^\p{L}\p{N} _.-]+/gu, '-')
    .replace(/^[. -]+/, '')
    .slice(0, 60)
    .trim()
  return `${stem === '' ? 'upload' : stem}.zip`
}

/** Writes a file as it comes. @throws LIMIT_EXCEEDED, STORAGE_FULL */
async function saved(bytes: Readable, file: string, maximum: number): Promise<{ file: SavedFile; sha256: string }> {
  const hash = createHash('sha256')
  let length = 0
  await pipeline(
    async function* () {
      // what is left of a body that is refused is read by the error handler: destroyed, it would take the answer with it
      for await (const chunk of bytes.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
        length += chunk.byteLength
        requireLength(length, maximum)
        hash.update(chunk)
        yield chunk
      }
    },
    createWriteStream(file, { flags: 'wx' }),
  )
  return { file: { path: file }, sha256: hash.digest('hex') }
}

function requireLength(given: number, maximum: number): void {
  if (given <= maximum) return
  const instead = 'Register it from the server itself (refract datasets add), or raise REFRACT_MAX_DATASET_MB.'
  throw new RequestError('LIMIT_EXCEEDED', { limit: 'datasetBytes', given, maximum, what: 'Bytes of the zip file', instead })
}
