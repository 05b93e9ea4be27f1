/**
 * `/`: where a person who opens the server in a browser finds the rest.
 */

import type { FastifyInstance } from 'fastify'
import { version } from '../operations/capabilities.js'
import type { Context } from '../operations/operation.js'
import { checkHost, isLoopback } from './local-guard.js'

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escapeHtml = (text: string) => text.replaceAll(/[&<>"']/g, (character) => escapes[character]!)

const MAX_MODELS = 50

export function landing(app: FastifyInstance, { catalog, host, config }: Context): void {
  app.get('/', async (request, reply) => {
    const needsKey = !isLoopback(config.host) || (await catalog.apiKeys.countActive()) > 0
    if (!needsKey) checkHost(request, config.host)
    const { items, totalCount } = needsKey ? { items: [], totalCount: 0 } : await catalog.models.list({ limit: MAX_MODELS })
    const { backend, device } = host.status()
    const base = `${request.protocol}://${request.host}`
    const rows = items.map(({ id, description: { layout, vision, text } }) => {
      const { nLayers, dModel } = vision.config
      const towers = text ? 'vision and text' : 'vision'
      return `<tr><td><a href="/v1/models/${encodeURIComponent(id)}">${escapeHtml(id)}</a><td>${escapeHtml(layout)}<td>${towers}<td>${nLayers} x ${dModel}<td><a href="/v1/models/${encodeURIComponent(id)}/hooks">${vision.hookPoints.length} hook points</a>`
    })
    const models = needsKey
      ? '<p>This server needs an API key; <code>GET /v1/models</code> with one lists its models.'
      : rows.length === 0
        ? '<p>No model yet. Import one: <code>npm run refract -- import &lt;folder or hub repository&gt;</code>'
        : `<table><tr><th>model<th>layout<th>towers<th>layers x width<th>${rows.join('')}</table>${totalCount > MAX_MODELS ? `<p>and ${totalCount - MAX_MODELS} more` : ''}`
    return reply
      .header('cache-control', 'no-store')
      .type('text/html; charset=utf-8')
      .send(page({ models, example: example(base, items[0]?.id ?? 'MODEL'), engine: escapeHtml(`${backend} on ${device}`) }))
  })
}

const example = (base: string, model: string) =>
  escapeHtml(`curl ${base}/v1/images -F file=@picture.png        # answers the id of the image

curl ${base}/v1/forward -H 'content-type: application/json' \\
  -H 'accept: application/x-npz' -o run.npz -d '{
    "model": "${model}", "inputs": [{ "image": "sha256:..." }],
    "read": ["blocks.*.hook_resid_post"]
  }'

python -c "import numpy; run = numpy.load('run.npz'); print({name: run[name].shape for name in run})"`)

const page = ({ models, example, engine }: { models: string; example: string; engine: string }) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Refract</title>
<link rel="icon" href="data:,">
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 3rem auto; padding: 0 1rem; color: #1b1f24; background: #fff }
  h1 { margin-bottom: 0 } h2 { margin-top: 2rem; font-size: 1.1rem } a { color: #0550ae }
  table { border-collapse: collapse } td, th { padding: .3rem 1rem .3rem 0; text-align: left; border-bottom: 1px solid #d0d7de }
  pre { background: #f6f8fa; padding: 1rem; overflow-x: auto; font-size: 13px } nav a { margin-right: 1.2rem } small { color: #57606a }
  @media (prefers-color-scheme: dark) { body { background: #0d1117; color: #e6edf3 } pre { background: #161b22 } a { color: #79c0ff } td, th { border-color: #30363d } }
</style>
<h1>Refract</h1>
<p>Looking inside vision transformers, and changing what they do. <small>${escapeHtml(version)}, ${engine}</small>
<nav><a href="/docs">REST</a><a href="/graphiql">GraphQL</a><a href="/openapi.json">OpenAPI</a><a href="/errors">errors</a><a href="/v1/capabilities">capabilities</a><a href="/metrics">metrics</a></nav>
<h2>Models</h2>
${models}
<h2>Activations of a picture, in numpy</h2>
<pre>${example}</pre>
</html>
`
