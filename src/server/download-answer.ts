/** Files that are made while they are sent. */

import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Download } from '../operations/download.js'

/** Its length is known from the start: a client sees it when one broke off. */
export function sendDownload({ filename, byteLength, chunks }: Download, { type, reply }: { type: string; reply: FastifyReply }) {
  reply.type(type).header('content-length', byteLength).header('content-disposition', `attachment; filename="${filename}"`)
  return reply.send(Readable.from(chunks, { objectMode: false }))
}
