import { setMaxListeners } from 'node:events'
import type { FastifyReply } from 'fastify'
import { EngineError } from '../engine/errors.js'

/** A signal that aborts when the client closes the connection before it has its answer. */
export function clientGone(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  // every picture of a request listens to it; Node would take more than ten listeners for a leak and warn
  setMaxListeners(0, controller.signal)
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort(new EngineError('CANCELLED', { why: 'the client went away' }))
  })
  return controller.signal
}
