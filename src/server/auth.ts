/**
 * Who calls. With no key configured everyone on this machine may do everything, and the server listens on loopback only; with keys,
 * every call of the API needs one.
 */

import type { FastifyRequest } from 'fastify'
import type { Catalog } from '../catalog/catalog.js'
import { RequestError } from '../operations/errors.js'
import { type Caller, everyone } from '../operations/invoke.js'
import { checkHost, checkOrigin, isLoopback } from './local-guard.js'

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller
  }
}

/** How long a count of keys is believed: a first key, made by another process, counts after this. */
const COUNT_FOR_MS = 1000

export class Authenticator {
  readonly #catalog: Catalog
  readonly #host: string
  #counted = { at: Number.NEGATIVE_INFINITY, needed: Promise.resolve(true) }

  /** @param host  what the server listens on */
  constructor(catalog: Catalog, host: string) {
    this.#catalog = catalog
    this.#host = host
  }

  /** @throws UNAUTHENTICATED, HOST_REFUSED, ORIGIN_REFUSED */
  async authenticate(request: FastifyRequest): Promise<Caller> {
    if (!(await this.#needsKey())) {
      checkHost(request, this.#host)
      checkOrigin(request)
      return everyone
    }
    const secret = secretOf(request)
    if (secret === undefined) throw new RequestError('UNAUTHENTICATED', { why: 'This server needs an API key.' })
    const key = await this.#catalog.apiKeys.verify(secret)
    if (!key) throw new RequestError('UNAUTHENTICATED', { why: 'This API key is unknown or revoked.' })
    return { keyId: key.id, scopes: key.scopes }
  }

  /** Off loopback always: revoking the last key must not open the server to everyone. */
  #needsKey(): Promise<boolean> {
    if (!isLoopback(this.#host)) return Promise.resolve(true)
    const now = performance.now()
    if (now - this.#counted.at > COUNT_FOR_MS) {
      const needed = this.#catalog.apiKeys.countActive().then((count) => count > 0)
      this.#counted = { at: now, needed }
      needed.catch(() => {
        this.#counted = { ...this.#counted, at: Number.NEGATIVE_INFINITY }
      })
    }
    return this.#counted.needed
  }
}

/** `Authorization: Bearer <key>` or `x-api-key: <key>`. */
function secretOf({ headers }: FastifyRequest): string | undefined {
  const bearer = /^Bearer +(\S+) *$/i.exec(headers.authorization ?? '')?.[1]
  if (bearer !== undefined) return bearer
  const key = headers['x-api-key']
  return typeof key === 'string' && key !== '' ? key : undefined
}

/**
 * Why the server may not listen on `host`, or undefined. For `serve`, before it listens.
 * Without a key only loopback is safe: anyone who reaches the port may do everything.
 */
export async function refusalToListen(host: string, catalog: Catalog): Promise<string | undefined> {
  if (isLoopback(host) || (await catalog.apiKeys.countActive()) > 0) return undefined
  return `HOST=${host} can be reached from other machines, and there is no API key. Make one first (npm run refract -- keys create), or listen on 127.0.0.1.`
}
