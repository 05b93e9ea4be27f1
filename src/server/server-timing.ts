/**
 * `Server-Timing` on every answer: where the time went, in milliseconds.
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { TimingName } from '../operations/operation.js'

declare module 'fastify' {
  interface FastifyRequest {
    timings: Map<TimingName, number>
    startedAt: number
  }
}

export function addTiming(request: FastifyRequest, name: TimingName, ms: number): void {
  request.timings.set(name, (request.timings.get(name) ?? 0) + ms)
}

/** For an answer that no hook sees: a request that never became one. */
export function stampTotal(reply: FastifyReply): void {
  reply.header('server-timing', `total;dur=${reply.elapsedTime.toFixed(2)}`)
}

export function serverTiming(app: FastifyInstance): void {
  app.decorateRequest('timings')
  app.decorateRequest('startedAt', 0)
  app.addHook('onRequest', async (request) => {
    request.timings = new Map()
    request.startedAt = performance.now()
  })
  app.addHook('onSend', async (request, reply) => {
    const total = performance.now() - request.startedAt
    const entries = [...request.timings, ['total', total] as const]
    reply.header('server-timing', entries.map(([name, ms]) => `${name};dur=${ms.toFixed(2)}`).join(', '))
  })
}
