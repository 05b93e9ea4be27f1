/**
 * `/healthz`: the process is alive. `/readyz`: it can take work.
 */

import type { FastifyInstance } from 'fastify'
import type { Context } from '../operations/operation.js'

export function health(app: FastifyInstance, { host, catalog }: Context): void {
  app.get('/healthz', async () => ({ status: 'ok' }))
  app.get('/readyz', async (_request, reply) => {
    const database = await catalog.ping()
    const engine = host.status().state
    const ready = database && engine === 'ready'
    return reply
      .code(ready ? 200 : 503)
      .send({ status: ready ? 'ready' : 'not ready', database: database ? 'ready' : 'not answering', engine })
  })
}
