/** Files that jobs left, under their names. */

import type { FastifyInstance } from 'fastify'
import { operations } from '../operations/operations.js'
import { callOf, type Doors } from './doors.js'
import { FOR_EVER, hasTag } from './file-answer.js'
import { negotiate } from './negotiate.js'
import { fromQuery } from './query-values.js'

export const ARTIFACT_PATH = '/v1/jobs/{id}/artifacts/{name}'

export function artifactRoutes(app: FastifyInstance, { invoker }: Doors): void {
  const { jobArtifact } = operations
  app.get('/v1/jobs/:id/artifacts/:name', { config: { scope: jobArtifact.scope } }, async (request, reply) => {
    const input = fromQuery(jobArtifact.input, { ...(request.query as object), ...(request.params as object) })
    const { tag, type, read } = await invoker.invoke(jobArtifact, input, { ...callOf(request, reply), caller: request.caller })
    negotiate(request, reply, [type.split(';')[0]!])
    const isKnown = hasTag(request, `"${tag}"`)
    const bytes = isKnown ? undefined : await read()
    // a job that is over leaves nothing else under this name
    reply.header('etag', `"${tag}"`).header('cache-control', FOR_EVER)
    return bytes ? reply.type(type).send(bytes) : reply.code(304).send()
  })
}
