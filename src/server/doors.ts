/**
 * What the routes are given.
 */

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Invoker } from '../operations/invoke.js'
import type { Call, Context, Scope } from '../operations/operation.js'
import { clientGone } from './client-gone.js'
import { addTiming } from './server-timing.js'

export interface Doors {
  readonly context: Context
  readonly invoker: Invoker
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The right that a route needs; `any`: a key, whatever its scopes. A route without it is open to everyone. */
    scope?: Scope | 'any'
    /** Bodies are written to the disk as they come, under a limit of the route's own. */
    takesFiles?: boolean
  }
}

/** One HTTP request as an operation's call. */
export function callOf(request: FastifyRequest, reply: FastifyReply): Call {
  return { signal: clientGone(reply), timing: (name, ms) => addTiming(request, name, ms) }
}
