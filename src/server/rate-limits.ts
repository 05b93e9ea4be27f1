/**
 * Requests a minute for each client, where the configuration sets a limit.
 */

import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance } from 'fastify'
import type { Config } from '../config.js'
import { HttpError } from './http-errors.js'

export async function rateLimits(app: FastifyInstance, { rateLimitPerMinute }: Config): Promise<void> {
  if (rateLimitPerMinute === 0) return
  await app.register(rateLimit, {
    max: rateLimitPerMinute,
    timeWindow: 60_000,
    enableDraftSpec: true,
    keyGenerator: (request) => request.caller?.keyId ?? request.ip,
    allowList: (request) => request.routeOptions.config.scope === undefined,
    errorResponseBuilder: (_request, { max, ttl }) =>
      new HttpError('RATE_LIMITED', { maximum: max, retryAfterSeconds: Math.ceil(ttl / 1000) }),
  })
}
