/**
 * `Idempotency-Key` on a POST that creates: the same key with the same content is the same request, with other content a mistake.
 * What is created here is addressed by its content or knows its key, so repeating is harmless by itself; the key only has to be held to its
 * content. One whose request was refused can be used again, with what was wrong put right.
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
 */

import { createHash } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import { RequestError } from '../operations/errors.js'

const KEEP_FOR_MS = 24 * 60 * 60 * 1000

/** @throws IDEMPOTENCY_KEY_INVALID when it is malformed */
export function idempotencyKeyOf({ headers }: FastifyRequest): string | undefined {
  const key = headers['idempotency-key']
  if (key === undefined) return undefined
  if (typeof key === 'string' && /^[\x21-\x7e]{1,255}$/.test(key)) return key
  throw new RequestError('IDEMPOTENCY_KEY_INVALID', { problem: 'it must be 1 to 255 visible ASCII characters' })
}

export class IdempotencyKeys {
  readonly #contents = new LRUCache<string, string>({ max: 10_000, ttl: KEEP_FOR_MS })

  /**
   * @param content  made only where there is a key
   * @returns        to be called when the request has been carried out: holds the key to the content
   * @throws         IDEMPOTENCY_KEY_INVALID when the key is malformed, or was used with other content
   */
  check(request: FastifyRequest, content: () => Uint8Array | string): () => void {
    const key = idempotencyKeyOf(request)
    if (key === undefined) return () => undefined
    const hash = createHash('sha256').update(content()).digest('hex')
    const whose = `${request.caller.keyId ?? ''} ${request.routeOptions.url} ${key}`
    const before = this.#contents.get(whose)
    if (before !== undefined && before !== hash) {
      throw new RequestError('IDEMPOTENCY_KEY_INVALID', { problem: 'it was used before with other content' })
    }
    return () => void this.#contents.set(whose, hash)
  }
}
