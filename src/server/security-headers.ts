/**
 * Headers that keep pages of this server, and pages of others, from what they need not do. One middleware for all requests: made anew for
 * each, as Fastify's plugin has it, it ties every request to the one before, and none is freed until the whole heap is collected.
 */

import type { FastifyInstance } from 'fastify'
import helmet from 'helmet'

export function securityHeaders(app: FastifyInstance): void {
  const secure = helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'self'"],
        // both UIs set styles on elements; no script is inline
        styleSrc: ["'self'", "'unsafe-inline'"],
        imgSrc: ["'self'", 'data:', 'blob:'],
        fontSrc: ["'self'", 'data:'],
        workerSrc: ["'self'", 'blob:'],
        objectSrc: ["'none'"],
        baseUri: ["'self'"],
        formAction: ["'self'"],
        frameAncestors: ["'self'"],
      },
    },
    // pages of other ports of this machine may show images
    crossOriginResourcePolicy: { policy: 'same-site' },
    crossOriginOpenerPolicy: false,
    originAgentCluster: false,
    // TLS, where there is any, ends before this server
    strictTransportSecurity: false,
  })
  app.addHook('onRequest', (request, reply, done) => secure(request.raw, reply.raw, () => done()))
}
