/**
 * The HTTP server, assembled: every part is a small plugin, and everything a part needs is passed in.
 */

import { randomUUID } from 'node:crypto'
import accepts from '@fastify/accepts'
import cors from '@fastify/cors'
import Fastify, { type FastifyInstance, type FastifyServerOptions, LogController } from 'fastify'
import type { Catalog } from '../catalog/catalog.js'
import type { Config } from '../config.js'
import type { EngineHost } from '../engine/host/host.js'
import { graphql } from '../graphql/plugin.js'
import { ClassEmbeddings } from '../operations/class-embeddings.js'
import { DrawnPictures } from '../operations/drawn/drawn-pictures.js'
import { authorize, Invoker } from '../operations/invoke.js'
import type { Context } from '../operations/operation.js'
import { PictureEmbeddings } from '../operations/search/picture-embeddings.js'
import { artifactRoutes } from './artifact-routes.js'
import { Authenticator } from './auth.js'
import { datasetRoutes } from './dataset-routes.js'
import { docs } from './docs.js'
import { callOf, type Doors } from './doors.js'
import { errorHandler, sendProblem, translate } from './error-handler.js'
import { health } from './health.js'
import { HttpError } from './http-errors.js'
import { imageRoutes } from './image-routes.js'
import { jobEventRoutes } from './job-events.js'
import { jsonBodies } from './json-body.js'
import { landing } from './landing.js'
import { isLocalOrigin } from './local-guard.js'
import { malformedHttp } from './malformed-http.js'
import { watchMethods } from './method-not-allowed.js'
import { metrics } from './metrics.js'
import { describeError } from './problem.js'
import { rateLimits } from './rate-limits.js'
import { rest } from './rest.js'
import { securityHeaders } from './security-headers.js'
import { serverTiming, stampTotal } from './server-timing.js'

export interface AppParts {
  readonly host: EngineHost
  readonly catalog: Catalog
  readonly config: Config
  readonly logger?: FastifyServerOptions['loggerInstance']
}

/** A request has this long to arrive, body included: one that trickles in holds its connection and its bytes no longer. */
const ARRIVAL_MS = 300_000

/** Ready to listen. Closing it closes neither host nor catalog: who made them closes them. */
export async function buildApp({ host, catalog, config, logger }: AppParts): Promise<FastifyInstance> {
  const { maxBodyBytes } = config
  const app: FastifyInstance = Fastify({
    ...(logger && { loggerInstance: logger }),
    // one line for each request, below
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    bodyLimit: maxBodyBytes,
    genReqId: () => randomUUID(),
    forceCloseConnections: 'idle',
    requestTimeout: ARRIVAL_MS,
    return503OnClosing: true,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 512 },
    // Fastify's own validation is not used; where a plugin does, it must not convert or drop anything
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false } },
    // no hook runs for these
    frameworkErrors: (error, request, reply) => {
      stampTotal(reply)
      sendProblem(translate(error, { request, maxBodyBytes }), request, reply)
    },
    clientErrorHandler: malformedHttp,
  })
  const context: Context = {
    ...{ host, catalog, config },
    classEmbeddings: new ClassEmbeddings(),
    drawnPictures: new DrawnPictures(),
    pictureEmbeddings: new PictureEmbeddings(),
  }
  const doors: Doors = { context, invoker: new Invoker(context) }

  app.removeContentTypeParser('text/plain')
  jsonBodies(app)
  serverTiming(app)
  errorHandler(app, { maxBodyBytes })
  const refuseOtherMethods = watchMethods(app)
  securityHeaders(app)
  await app.register(cors, {
    origin: (origin, allow) => allow(null, origin !== undefined && isLocalOrigin(origin)),
    methods: ['GET', 'HEAD', 'POST', 'DELETE'],
    exposedHeaders: [
      'etag',
      'location',
      'server-timing',
      'retry-after',
      'ratelimit-limit',
      'ratelimit-remaining',
      'ratelimit-reset',
      'refract-cache',
    ],
  })
  await app.register(accepts)

  const authenticator = new Authenticator(catalog, config.host)
  app.decorateRequest('caller')
  app.addHook('onRequest', async (request) => {
    const { scope } = request.routeOptions.config
    if (scope !== undefined) {
      request.caller = await authenticator.authenticate(request)
      if (scope !== 'any') authorize(request.caller, scope)
    }
    const { takesFiles = false } = request.routeOptions.config
    if (!takesFiles && Number(request.headers['content-length'] ?? 0) > maxBodyBytes)
      throw new HttpError('BODY_TOO_LARGE', { maximum: maxBodyBytes })
  })
  app.addHook('onResponse', async ({ method, url, ip, log }, { statusCode, elapsedTime }) => {
    log.info({ method, url, status: statusCode, ms: Math.round(elapsedTime), ip }, 'request')
  })
  await rateLimits(app, config)

  metrics(app, context)
  health(app, context)
  rest(app, doors)
  await imageRoutes(app, doors)
  await datasetRoutes(app, doors)
  jobEventRoutes(app, doors)
  artifactRoutes(app, doors)
  await app.register(graphql, {
    context,
    invoker: doors.invoker,
    callOf,
    onlyPost: ({ method, url }) => new HttpError('METHOD_NOT_ALLOWED', { method, url, allowed: ['POST'] }),
    describe: (error, request) => describeError(translate(error, { request, maxBodyBytes }), request),
  })
  await docs(app)
  landing(app, context)
  refuseOtherMethods()
  return app
}
