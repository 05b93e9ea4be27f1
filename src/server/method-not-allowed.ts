/**
 * A known path with another method is a 405 that says what the path takes; OPTIONS asks just that.
 */

import type { FastifyInstance, HTTPMethods } from 'fastify'
import { HttpError } from './http-errors.js'

const METHODS: readonly HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

/** Call it before the first route; call what it returns after the last one. */
export function watchMethods(app: FastifyInstance): () => void {
  const byPath = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    // a parameter may have another name in another route of the same path
    const path = url.replaceAll(/:\w+/g, ':_')
    byPath.set(path, new Set([...(byPath.get(path) ?? []), ...[method].flat()]))
  })
  return () => {
    for (const [url, methods] of [...byPath]) {
      const allowed = [...methods].filter((method) => method !== 'OPTIONS')
      const others = METHODS.filter((method) => !methods.has(method))
      if (url.endsWith('*')) continue
      // of pages that may call this server, preflight requests are answered before any route
      if (!methods.has('OPTIONS')) {
        app.route({ method: 'OPTIONS', url, handler: (_request, reply) => reply.code(204).header('allow', allowed.join(', ')).send() })
      }
      if (others.length === 0) continue
      app.route({
        method: others,
        url,
        handler: (request, reply) => {
          reply.header('allow', allowed.join(', '))
          throw new HttpError('METHOD_NOT_ALLOWED', { method: request.method, url: request.url, allowed })
        },
      })
    }
  }
}
