/**
 * Files that clients keep: a tag says whether they still have the right one.
 */

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { DrawnFile } from '../operations/drawn/drawn-file.js'
import { TEXT } from './negotiate.js'

/** Of an address that says what its content is; `private`, since a key may have been needed to read it. */
export const FOR_EVER = 'private, max-age=31536000, immutable'
/** Of an address whose content may become another: kept, and asked after each time. */
const ASK_AGAIN = 'private, no-cache'

/** Whether the client has this file already, by `If-None-Match`: a list of tags, or `*` for any. @param tag  with its quotes */
export function hasTag(request: FastifyRequest, tag: string): boolean {
  const known = (request.headers['if-none-match'] ?? '').split(',').map((each) => each.trim().replace(/^W\//, ''))
  return known.includes(tag) || known.includes('*')
}

/** Drawn only when the client does not have it. @param version  the tag that the address names */
export async function sendFile(
  { tag, draw }: DrawnFile,
  { type, version, request, reply }: { type: string; version: string | undefined; request: FastifyRequest; reply: FastifyReply },
) {
  const isKnown = hasTag(request, `"${tag}"`)
  const bytes = isKnown ? undefined : await draw()
  reply.header('etag', `"${tag}"`).header('cache-control', version === tag ? FOR_EVER : ASK_AGAIN)
  return bytes ? reply.type(type === TEXT ? `${TEXT}; charset=utf-8` : type).send(bytes) : reply.code(304).send()
}
