/**
 * Pictures: the two routes that take and give files.
 */

import multipart from '@fastify/multipart'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { EngineError } from '../engine/errors.js'
import { isRefusal } from '../operations/errors.js'
import { operations } from '../operations/operations.js'
import { callOf, type Doors } from './doors.js'
import { FOR_EVER, hasTag } from './file-answer.js'
import { HttpError } from './http-errors.js'
import { IdempotencyKeys } from './idempotency.js'
import { JSON_TYPE, negotiate } from './negotiate.js'
import { fromQuery } from './query-values.js'

export const rawUploadTypes = ['image/png', 'image/jpeg', 'image/webp', 'application/octet-stream']
export const uploadTypes = ['multipart/form-data', ...rawUploadTypes]

export async function imageRoutes(app: FastifyInstance, doors: Doors): Promise<void> {
  app.get('/v1/images/:id', { config: { scope: 'read' } }, (request, reply) => sendImage(request, reply, doors))

  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    await scope.register(multipart, { limits: { files: 2, fields: 10, fileSize: doors.context.config.maxBodyBytes } })
    scope.addContentTypeParser(rawUploadTypes, { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
    const keys = new IdempotencyKeys()
    scope.post('/v1/images', { config: { scope: 'write', accepts: uploadTypes } }, async (request, reply) => {
      const file = await uploadedFile(request)
      const done = file && keys.check(request, () => file)
      const image = await doors.invoker.invoke(operations.uploadImage, { file }, { ...callOf(request, reply), caller: request.caller })
      done?.()
      return reply.code(201).header('location', `/v1/images/${image.id}`).send(image)
    })
  })
}

/** @throws INPUT_INVALID when there is more than one file or anything else beside it, BODY_MALFORMED when the form is none */
async function uploadedFile(request: FastifyRequest): Promise<Uint8Array | undefined> {
  if (!request.isMultipart()) return request.body as Buffer | undefined
  try {
    return await fileOfForm(request)
  } catch (error) {
    // the parser of forms throws bare errors, and with codes only for limits
    if (isRefusal(error) || 'code' in (error as object)) throw error
    throw new HttpError('BODY_MALFORMED', { problem: `${(error as Error).message.replace(/\.+$/, '')}.` })
  }
}

async function fileOfForm(request: FastifyRequest): Promise<Uint8Array | undefined> {
  let file: Buffer | undefined
  for await (const part of request.parts()) {
    // the parser of forms lets a part be without a name
    const path = ((part.fieldname as string | undefined) ?? '').slice(0, 100)
    if (part.type === 'field') {
      throw new EngineError('INPUT_INVALID', { path, problem: 'is not a file; the form holds one file and nothing else' })
    }
    if (file) throw new EngineError('INPUT_INVALID', { path, problem: 'is a second file; upload one at a time' })
    file = await part.toBuffer()
  }
  return file
}

/** The file, a thumbnail, or (where JSON is asked for) what is known of it. */
async function sendImage(request: FastifyRequest, reply: FastifyReply, { invoker }: Doors) {
  const input = fromQuery(operations.imageFile.input, { ...(request.query as object), ...(request.params as object) })
  const call = { ...callOf(request, reply), caller: request.caller }
  const record = await invoker.invoke(operations.image, { id: input.id }, call)
  const type = negotiate(request, reply, [`image/${record.format}`, JSON_TYPE])
  const variant = type === JSON_TYPE ? 'json' : (input.size ?? 'file')
  const tag = `"${record.id.slice('sha256:'.length)}-${String(variant)}"`
  const isKnown = hasTag(request, tag)
  const answer = isKnown || type === JSON_TYPE ? undefined : await invoker.invoke(operations.imageFile, input, call)
  reply.header('etag', tag).header('cache-control', FOR_EVER)
  if (isKnown) return reply.code(304).send()
  return answer ? reply.type(type).send(answer.bytes) : reply.send(record)
}
