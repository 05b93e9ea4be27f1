/**
 * What people read in a browser, all of it from this server: the API's description, Swagger UI, and the explanation of each error code.
 */

import { readFileSync } from 'node:fs'
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import { HttpError } from './http-errors.js'
import { openApiDocument } from './openapi.js'

/** At the root of the project, two folders up both from src/ and from dist/. */
const errorsPage = new URL('../../docs/errors.md', import.meta.url)

export async function docs(app: FastifyInstance): Promise<void> {
  const document = openApiDocument()
  const text = JSON.stringify(document)
  app.get('/openapi.json', (_request, reply) => reply.type('application/json; charset=utf-8').send(text))

  await app.register(swagger, { mode: 'static', specification: { document: document as never } })
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    // no badge of an outside validator, and try-it-out at once
    uiConfig: { validatorUrl: null, tryItOutEnabled: true, docExpansion: 'list', displayRequestDuration: true },
    theme: { title: 'Refract API' },
  })

  const sections = errorSections(readFileSync(errorsPage, 'utf8'))
  app.get('/errors', (_request, reply) => reply.type('text/markdown; charset=utf-8').send([...sections.values()].join('\n')))
  app.get('/errors/:code', (request, reply) => {
    const section = sections.get((request.params as { code: string }).code)
    if (section === undefined) throw new HttpError('ROUTE_UNKNOWN', { method: request.method, url: request.url })
    return reply.type('text/markdown; charset=utf-8').send(section)
  })
}

/** The `### CODE` sections of docs/errors.md. */
export function errorSections(markdown: string): Map<string, string> {
  const sections = new Map<string, string>()
  for (const part of markdown.split(/^(?=#{2,3} )/m)) {
    const code = /^### ([A-Z_]+)$/m.exec(part)?.[1]
    if (code !== undefined) sections.set(code, part)
  }
  return sections
}
