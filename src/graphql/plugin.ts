/**
 * GraphQL over HTTP: POST /graphql, as JSON or as a form with files.
 */

import multipart from '@fastify/multipart'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import mercurius from 'mercurius'
import { checkRequest } from './check-document.js'
import { formatErrors } from './errors.js'
import { graphiql } from './graphiql.js'
import { bodyOfForm } from './multipart.js'
import { buildSchema } from './schema.js'
import { isUpgrade, subscriptions } from './subscriptions.js'
import type { GraphqlContext, GraphqlParts } from './types.js'

/** Documents whose parsed and validated form is kept; each is at most `graphqlCharacters` long. */
const CACHED_DOCUMENTS = 256
const MAX_FILES = 10

export async function graphql(app: FastifyInstance, { context, invoker, callOf, describe, onlyPost }: GraphqlParts): Promise<void> {
  graphiql(app)
  await app.register(multipart, { limits: { files: MAX_FILES, fields: 2, fieldSize: 2 ** 20, fileSize: context.config.maxBodyBytes } })

  app.addHook('preValidation', async (request) => {
    if (request.routeOptions.url !== '/graphql') return
    if (request.method === 'GET' && isUpgrade(request)) return
    if (request.method !== 'POST') throw onlyPost(request)
    if (request.isMultipart()) request.body = await bodyOfForm(request)
    checkRequest(request.body)
  })

  const answerErrors = (errors: readonly unknown[], { request, reply }: { request: FastifyRequest; reply: FastifyReply }) => {
    const { formatted, known } = formatErrors(errors, (error) => describe(error, request))
    for (const { isOurs, error } of known) if (isOurs) request.log.error({ err: error }, 'request failed')
    const retryAfter = Math.max(0, ...known.map(({ retryAfterSeconds = 0 }) => retryAfterSeconds))
    if (retryAfter > 0) reply.header('retry-after', Math.ceil(retryAfter))
    return formatted
  }

  const schema = buildSchema()
  await subscriptions(app, {
    schema,
    contextOf: (request) => ({
      context,
      invoker,
      call: { signal: new AbortController().signal, timing: () => {}, caller: request.caller },
    }),
    format: (errors, request) => formatErrors(errors, (error) => describe(error, request)).formatted as never,
  })
  await app.register(mercurius, {
    schema,
    graphiql: false,
    jit: 0,
    cache: CACHED_DOCUMENTS,
    allowBatchedQueries: false,
    additionalRouteOptions: { config: { scope: 'any', accepts: ['application/json', 'application/graphql', 'multipart/form-data'] } },
    context: (request, reply): GraphqlContext => ({ context, invoker, call: { ...callOf(request, reply), caller: request.caller } }),
    // a field that was refused leaves the others standing: 200, as GraphQL over HTTP says; where nothing was executed, 400
    errorFormatter: (execution, { reply }) => ({
      statusCode: execution.data === undefined ? 400 : 200,
      response: { data: execution.data ?? null, errors: answerErrors(execution.errors ?? [], { request: reply.request, reply }) as never },
    }),
    errorHandler: async (error, request, reply) => {
      const errors = answerErrors([error], { request, reply })
      const status = Number(errors[0]?.extensions?.status ?? 500)
      if (status === 405) reply.header('allow', 'POST')
      await reply.code(status).header('cache-control', 'no-store').send({ data: null, errors })
    },
  })
}
