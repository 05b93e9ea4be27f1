/**
 * JSON bodies, read strictly: what is not UTF-8 is refused instead of being replaced by question marks, and the error says where the text
 * stops being JSON.
 */

import type { FastifyInstance } from 'fastify'
import { HttpError } from './http-errors.js'

export const JSON_BODY = 'application/json'

export function jsonBodies(app: FastifyInstance): void {
  app.removeContentTypeParser(JSON_BODY)
  app.addContentTypeParser(JSON_BODY, { parseAs: 'buffer' }, async (_request: unknown, body: Buffer) => parseJson(body))
}

/** @throws BODY_MALFORMED */
export function parseJson(body: Uint8Array): unknown {
  if (body.length === 0) throw malformed('it is empty.')
  const text = decodeUtf8(body)
  try {
    return JSON.parse(text, mayNamePrototype(text) ? refusePrototype : undefined)
  } catch (error) {
    if (error instanceof HttpError) throw error
    // with a reviver, JSON.parse is recursive
    if (error instanceof RangeError) throw malformed('it nests too deeply.')
    const notNumbers = /[[,:]\s*-?(NaN|Infinity)\b/.exec(text)?.[1]
    const hint = notNumbers === undefined ? '' : ` ${notNumbers} is not JSON; give a finite number.`
    throw malformed(`it is not JSON (${(error as Error).message}).${hint}`)
  }
}

function decodeUtf8(body: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch {
    throw malformed('it is not UTF-8, which JSON is written in.')
  }
}

/** A field of this name would be taken for the prototype by some code on its way. Spelt with escapes it has at least one of these. */
const mayNamePrototype = (text: string) => text.includes('__proto__') || /\\u00(5f|[67])/i.test(text)

function refusePrototype(key: string, value: unknown): unknown {
  if (key === '__proto__') throw malformed('it has a field named "__proto__".')
  return value
}

const malformed = (problem: string) => new HttpError('BODY_MALFORMED', { problem })
