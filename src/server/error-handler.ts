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
  app.setNotFoundHandler((request, reply) =>
    sendProblem(new HttpError('ROUTE_UNKNOWN', { method: request.method, url: request.url }), request, reply),
  )
}

export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply) {
  const { problem, retryAfterSeconds, isOurs } = describeError(error, request)
  if (isOurs) request.log.error({ err: error }, 'request failed')
  if (retryAfterSeconds !== undefined) reply.header('retry-after', Math.ceil(retryAfterSeconds))
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer realm="refract"')
  // what is left of a body that was not read would be taken for the next request
  if (problem.status === 413) reply.header('connection', 'close')
  reply.removeHeader('content-length').removeHeader('etag')
  return reply.code(problem.status).header('cache-control', 'no-store').type('application/problem+json').send(JSON.stringify(problem))
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
    case 404:
      return new HttpError('ROUTE_UNKNOWN', { method: about.request.method, url: about.request.url })
    case 400:
    case 406:
      return new HttpError(code === 'FST_ERR_BAD_URL' ? 'URL_INVALID' : 'BODY_MALFORMED', {
        problem: sentence(message ?? 'it is not valid'),
        url: about.request.url,
      })
    default:
      return error
  }
}

const sentence = (text: string) => (text.endsWith('.') ? text : `${text}.`)
