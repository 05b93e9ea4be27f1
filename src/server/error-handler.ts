/**
 * Turns whatever went wrong, ours or Fastify's, into one problem document.
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { HttpError } from './http-errors.js'
import { describeError } from './problem.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Content types that a route reads, for the error; JSON when absent. */
    accepts?: readonly string[]
  }
}

export function errorHandler(app: FastifyInstance, { maxBodyBytes }: { readonly maxBodyBytes: number }): void {
  app.setErrorHandler((error, request, reply) => sendProblem(translate(error, { request, maxBodyBytes }), request, reply))
  app.setNotFoundHandler((request, reply) => sendProblem(routeUnknown(request), request, reply))
}

export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply) {
  const { problem, retryAfterSeconds, isOurs } = describeError(error, request)
  if (isOurs) request.log.error({ err: error }, 'request failed')
  if (retryAfterSeconds !== undefined) reply.header('retry-after', Math.ceil(retryAfterSeconds))
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer realm="refract"')
  if (problem.status === 413 || request.routeOptions.config.takesFiles) dropRest(request, reply)
  reply.removeHeader('content-length').removeHeader('etag')
  return reply.code(problem.status).header('cache-control', 'no-store').type('application/problem+json').send(JSON.stringify(problem))
}

/** How long a client that was refused may go on sending. */
const DROP_REST_MS = 10_000

/**
 * Reads what is left of a body that is too large, and drops it. Closing the connection at once would take the answer away from a client
 * that reads only when it has sent everything.
 */
function dropRest({ raw }: FastifyRequest, reply: FastifyReply): void {
  if (raw.complete) return
  // set by Fastify for a body that was not read to its end
  reply.removeHeader('connection')
  const timer = setTimeout(() => raw.destroy(), DROP_REST_MS).unref()
  raw.once('close', () => clearTimeout(timer))
  raw.unpipe()
  raw.resume()
}

/** Fastify's and its plugins' errors say by their status what they mean. */
export function translate(error: unknown, about: { readonly request: FastifyRequest; readonly maxBodyBytes: number }): unknown {
  const { statusCode, code, message } = error as { statusCode?: number; code?: string; message?: string }
  if (!code?.startsWith('FST_') && !(error instanceof SyntaxError)) return error
  switch (statusCode) {
    case 413:
      return new HttpError('BODY_TOO_LARGE', { maximum: about.maxBodyBytes })
    case 415:
      return new HttpError('MEDIA_TYPE_UNSUPPORTED', {
        given: about.request.headers['content-type'] ?? '',
        accepted: about.request.routeOptions.config.accepts ?? ['application/json'],
      })
    // a path out of a folder of static files
    case 403:
    case 404:
      return routeUnknown(about.request)
    case 414:
      return new HttpError('URL_INVALID', { url: about.request.url, problem: 'a part of it is too long' })
    case 400:
    case 406:
      return code === 'FST_ERR_BAD_URL'
        ? new HttpError('URL_INVALID', { url: about.request.url, problem: 'check its percent-encoding' })
        : new HttpError('BODY_MALFORMED', { problem: sentence(message ?? 'it is not valid') })
    default:
      return error
  }
}

const routeUnknown = ({ method, url }: FastifyRequest) => new HttpError('ROUTE_UNKNOWN', { method, url })

const sentence = (text: string) => (text.endsWith('.') ? text : `${text}.`)
