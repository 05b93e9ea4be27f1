/**
 * GraphiQL, from this server alone: the packages' own files, no CDN.
 */

import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import type { FastifyInstance } from 'fastify'

const require = createRequire(import.meta.url)
// react's umd folder is not among its exports, so files are found beside its package.json
const file = (name: string, inside: string) => path.join(path.dirname(require.resolve(`${name}/package.json`)), inside)

const files: Readonly<Record<string, readonly [path: string, type: string]>> = {
  'react.js': [file('react', 'umd/react.production.min.js'), 'text/javascript'],
  'react-dom.js': [file('react-dom', 'umd/react-dom.production.min.js'), 'text/javascript'],
  'graphiql.js': [file('graphiql', 'graphiql.min.js'), 'text/javascript'],
  'graphiql.css': [file('graphiql', 'graphiql.min.css'), 'text/css'],
}

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Refract GraphQL</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/graphiql/graphiql.css">
<style>body { margin: 0 } #graphiql { height: 100vh }</style>
<div id="graphiql"></div>
<script src="/graphiql/react.js"></script>
<script src="/graphiql/react-dom.js"></script>
<script src="/graphiql/graphiql.js"></script>
<script src="/graphiql/start.js"></script>
</html>
`

const FIRST_QUERY = `# Every model, and what can be read inside it
{
  models(first: 5) {
    totalCount
    edges { node { id layout vision { nHookPoints config { nLayers dModel nHeads } } } }
  }
  capabilities { version engine { backend device state } }
}
`

const START = `const fetcher = GraphiQL.createFetcher({ url: '/graphql' })
const element = React.createElement(GraphiQL, { fetcher, defaultQuery: ${JSON.stringify(FIRST_QUERY)} })
ReactDOM.createRoot(document.getElementById('graphiql')).render(element)
`

export function graphiql(app: FastifyInstance): void {
  app.get('/graphiql', (_request, reply) => reply.type('text/html; charset=utf-8').send(PAGE))
  app.get('/graphiql/start.js', (_request, reply) => reply.type('text/javascript; charset=utf-8').send(START))
  for (const [name, [from, type]] of Object.entries(files)) {
    app.get(`/graphiql/${name}`, async (_request, reply) =>
      reply
        .type(`${type}; charset=utf-8`)
        .header('cache-control', 'public, max-age=86400')
        .send(await readFile(from)),
    )
  }
}
