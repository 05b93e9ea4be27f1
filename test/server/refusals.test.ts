/** Everything a request can get wrong, over both doors: a clear answer, and a server that serves the next request. */

import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { HookPointInfo } from '../../src/engine/models/model.js'
import { errorSections } from '../../src/server/docs.js'
import { statuses } from '../../src/server/problem.js'
import { errorSamples } from './error-samples.js'
import { type App, get, graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { classifier, clip, noCls } = testModels
const RESID = 'blocks.1.hook_resid_post'
const FORWARD = 'query ($input: ForwardInput!) { forward(input: $input) { cache } }'
const dModel = 16

let server: TestServer
let image: string
/** Codes that requests provoked, by door. */
const provoked = { rest: new Set<string>(), graphql: new Set<string>() }

beforeAll(async () => {
  server = await startTestServer()
  image = (await upload(server.app, await picture(1))).json().id
})
afterAll(() => server.close())
// whatever a test did, the next request is served
afterEach(async () => {
  expect((await post(server.app, '/v1/forward', { model: classifier, inputs: [{ image }] })).statusCode).toBe(200)
})

/** A problem document is one, and says nothing of our insides. */
function problemOf(response: Awaited<ReturnType<typeof get>>) {
  const problem = response.json()
  expect(response.headers['content-type']).toMatch('application/problem+json')
  expect(problem).toMatchObject({
    status: response.statusCode,
    type: `/errors/${problem.code}`,
    title: expect.any(String),
    detail: expect.any(String),
  })
  expect(response.body).not.toMatch(/node_modules|\.[jt]s:\d|\\n +at /)
  expect(problem.requestId === undefined).toBe(response.statusCode < 500)
  provoked.rest.add(problem.code)
  return problem
}

type Edit = { readonly op?: string } & Readonly<Record<string, unknown>>

/** The same refusal from both doors. */
async function refused(input: { readonly edits?: readonly Edit[]; readonly [name: string]: unknown }, app: App = server.app) {
  const body = { model: classifier, inputs: [{ image }], ...input }
  const problem = problemOf(await post(app, '/v1/forward', body))

  const edits = input.edits?.map((edit) => ({ ...edit, ...(edit.op && { op: edit.op.replaceAll('-', '_') }) }))
  const { errors, data } = await graphql(app, FORWARD, { input: { ...body, ...(edits && { edits }) } })
  const [{ message, extensions }] = errors as [(typeof errors)[number]]
  provoked.graphql.add(extensions.code)
  // what GraphQL's own types refuse, they refuse in their own words
  if (extensions.code === 'GRAPHQL_INVALID') return problem
  expect(data).toEqual({ forward: null })
  const { instance: _, detail, requestId, ...rest } = problem
  expect({ ...extensions, message }).toEqual({ ...rest, message: detail, ...(requestId && { requestId: expect.any(String) }) })
  return problem
}

describe('a run is refused', () => {
  test('for an unknown model, with the nearest', async () => {
    expect(await refused({ model: 'hf-vit-clasifier' })).toMatchObject({
      code: 'MODEL_UNKNOWN',
      status: 404,
      detail: expect.stringContaining('Did you mean "hf-vit-classifier"'),
    })
  })

  test.each(['../../etc/passwd', 'a\0b', '%00', "'; drop table models; --", 'x'.repeat(200)])('for the model id %j', async (model) => {
    expect(await refused({ model })).toMatchObject({ code: 'MODEL_UNKNOWN' })
    expect(problemOf(await get(server.app, `/v1/models/${encodeURIComponent(model)}`))).toMatchObject({
      code: 'MODEL_UNKNOWN',
      status: 404,
    })
  })

  test('for unknown hook points, each with the nearest real ones', async () => {
    const problem = await refused({ read: ['blocks.1.hook_resid_pots', RESID, 'blocks.*.hook_resid_pots', 'blocks.99.hook_resid_post'] })
    expect(problem).toMatchObject({ code: 'HOOK_POINT_UNKNOWN', status: 400 })
    expect(problem.errors.map((each: { path: string }) => each.path)).toEqual(['read[0]', 'read[2]', 'read[3]'])
    expect(problem.errors[0].message).toContain('Did you mean "blocks.1.hook_resid_post"')
    expect(problem.errors[1].message).toContain('Did you mean "blocks.*.hook_resid_post"')
  })

  test('for positions and heads out of range, and where there are none', async () => {
    expect(await refused({ read: [RESID], positions: [0, 10_000] })).toMatchObject({
      code: 'POSITION_OUT_OF_RANGE',
      detail: expect.stringMatching(/^positions: position 10000 is out of range; this hook point has positions 0 to \d+\.$/),
    })
    const oneProblem = (path: string, message: string) => ({
      code: 'INPUT_INVALID',
      errors: [{ path, message: expect.stringContaining(message) }],
    })
    expect(await refused({ read: ['hook_embed'], positions: 'cls' })).toMatchObject(oneProblem('positions', 'only patches'))
    expect(await refused({ model: noCls, read: [RESID], positions: 'cls' })).toMatchObject(oneProblem('positions', 'no CLS'))
    expect(await refused({ read: ['hook_post_head_pre_normalize'], positions: 'patches' })).toMatchObject(
      oneProblem('positions', 'no positions'),
    )
    expect(await refused({ read: [RESID], heads: [0] })).toMatchObject(oneProblem('heads', 'no head axis'))
    expect(await refused({ read: ['blocks.0.attn.hook_z'], heads: [7] })).toMatchObject(oneProblem('heads', 'there are heads 0 to'))
  })

  test('for edits that do not fit and reads that are not there: all at once, each with its path', async () => {
    const problem = await refused({
      read: ['hook_embde'],
      edits: [
        { hookPoint: RESID, op: 'add', vector: [1, 2, 3] },
        { hookPoint: 'blocks.1.hook_resid_pst', op: 'zero' },
        { hookPoint: RESID, op: 'project-out', vector: new Array(dModel).fill(0) },
        { hookPoint: RESID, op: 'patch', from: { input: 5 } },
        { hookPoint: RESID, op: 'patch', from: { cache: 'gone' } },
        { hookPoint: RESID, op: 'clamp-projection', vector: new Array(dModel).fill(1), min: 2, max: 1 },
        { hookPoint: RESID, op: 'zero', positions: [99], heads: [0] },
      ],
    })
    expect(problem).toMatchObject({ code: 'INPUT_INVALID', status: 400 })
    expect(problem.errors.map((each: { path: string }) => each.path).sort()).toEqual([
      'edits[0].vector',
      'edits[1].hookPoint',
      'edits[2].vector',
      'edits[3].from.input',
      'edits[4].from',
      'edits[5]',
      'edits[6].heads',
      'edits[6].positions',
      'read[0]',
    ])
  })

  test('for edits of one wrong kind, with their own code', async () => {
    expect(await refused({ edits: [{ hookPoint: RESID, op: 'add', vector: [1] }] })).toMatchObject({ code: 'EDIT_INVALID', status: 400 })
    expect(await refused({ edits: [{ hookPoint: RESID, op: 'patch', from: { cache: 'x' } }] })).toMatchObject({
      code: 'CACHE_UNKNOWN',
      status: 404,
    })
  })

  test('for a patch from a cache that lacks the hook point, or has other inputs', async () => {
    const body = { model: classifier, inputs: [{ image }, { image }, { image }], read: [RESID] }
    const { cache } = (await post(server.app, '/v1/forward', body)).json()
    const patch = (hookPoint: string, from: object, inputs = 1) =>
      refused({ inputs: new Array(inputs).fill({ image }), edits: [{ hookPoint, op: 'patch', from }] })
    expect(await patch('hook_embed', { cache })).toMatchObject({ code: 'ACTIVATION_UNKNOWN' })
    expect(await patch(RESID, { cache }, 2)).toMatchObject({
      code: 'EDIT_INVALID',
      detail: expect.stringContaining('has 3 inputs and this request has 2'),
    })
    expect(await patch(RESID, { cache, input: 3 })).toMatchObject({
      code: 'EDIT_INVALID',
      detail: expect.stringContaining('inputs 0 to 2'),
    })
  })

  test('for strengths that are no number', async () => {
    for (const strength of ['"4"', 'null', '1e999', '1e39', 'true', '[]']) {
      const body = `{"model":"${classifier}","inputs":[{"image":"${image}"}],"edits":[{"hookPoint":"${RESID}","op":"scale","strength":${strength}}]}`
      const problem = problemOf(await post(server.app, '/v1/forward', body))
      expect(problem).toMatchObject({ code: 'INPUT_INVALID', errors: [{ path: 'edits[0].strength' }] })
    }
    expect(problemOf(await post(server.app, '/v1/forward', '{"model": NaN}'))).toMatchObject({ code: 'BODY_MALFORMED', status: 400 })
    // as a literal, where GraphQL itself lets infinity pass
    const query = `{ forward(input: { model: "${classifier}", inputs: [{ image: "${image}" }], edits: [{ hookPoint: "${RESID}", op: scale, strength: 1e999 }] }) { cache } }`
    expect((await graphql(server.app, query)).errors[0]!.extensions).toMatchObject({
      code: 'INPUT_INVALID',
      errors: [{ path: 'edits[0].strength' }],
    })
  })

  test('for misspelt fields', async () => {
    expect(await refused({ raed: [] })).toMatchObject({ errors: [{ path: 'raed', message: expect.stringContaining('"read"') }] })
    expect((await graphql(server.app, FORWARD, { input: { model: classifier, inputs: [], raed: [] } })).errors[0]!.message).toMatch(
      'Did you mean "read"',
    )
  })

  test('for pictures and texts mixed, texts without a text tower, and no input at all', async () => {
    expect(await refused({ model: clip, inputs: [{ image }, { text: 'a' }] })).toMatchObject({
      code: 'INPUT_INVALID',
      errors: [{ path: 'inputs[1]' }],
    })
    expect(await refused({ inputs: [{ text: 'a' }] })).toMatchObject({ code: 'INPUT_INVALID', errors: [{ path: 'inputs[0].text' }] })
    expect(await refused({ inputs: [] })).toMatchObject({ code: 'INPUT_INVALID', errors: [{ path: 'inputs' }] })
    expect(await refused({ inputs: [{ image, text: 'a' }] })).toMatchObject({
      errors: [{ message: expect.stringContaining('only one of') }],
    })
  })

  test('for a text of megabytes; one longer than the context is cut, as CLIP does it', async () => {
    expect(await refused({ model: clip, inputs: [{ text: 'a'.repeat(20_000) }] })).toMatchObject({ errors: [{ path: 'inputs[0].text' }] })
    const long = await post(server.app, '/v1/forward', { model: clip, inputs: [{ text: 'word '.repeat(200) }] })
    expect(long.json().output.shape).toEqual([1, 12])
  })

  test('for pictures that are not there or are none, all at once', async () => {
    const gone = `sha256:${'0'.repeat(64)}`
    expect(await refused({ inputs: [{ image: gone }] })).toMatchObject({
      code: 'IMAGE_UNKNOWN',
      status: 404,
      errors: [{ path: 'inputs[0].image' }],
    })
    const truncated = (await picture(2)).subarray(0, 200).toString('base64')
    const inputs = [{ image }, { image: gone }, { image: { base64: truncated } }, { image: { base64: '***' } }]
    const problem = await refused({ inputs })
    expect(problem).toMatchObject({ code: 'INPUT_INVALID', status: 400 })
    expect(problem.errors.map((each: { path: string }) => each.path)).toEqual(['inputs[1].image', 'inputs[2].image', 'inputs[3].image'])
  })
})

describe('a run is refused before it starts when it asks for too much', () => {
  test('inputs: 17 and 10,000', async () => {
    for (const given of [17, 10_000]) {
      const inputs = new Array(given).fill({ image: { base64: 'aGk=' } })
      expect(await refused({ inputs })).toMatchObject({ code: 'LIMIT_EXCEEDED', status: 422, limit: { name: 'inputs', value: 16, given } })
    }
  })

  test('edits, labels, templates, read patterns, prompts', async () => {
    const limit = async (input: Parameters<typeof refused>[0]) => (await refused(input)).limit
    const labels = (length: number) => Array.from({ length }, (_, index) => `label ${index}`)
    expect(await limit({ edits: new Array(65).fill({ hookPoint: RESID, op: 'zero' }) })).toEqual({ name: 'edits', value: 64, given: 65 })
    expect(await limit({ read: new Array(257).fill(RESID) })).toMatchObject({ name: 'readPatterns' })
    expect(await limit({ model: clip, classify: { labels: labels(2001) } })).toMatchObject({ name: 'labels' })
    expect(await limit({ model: clip, classify: { labels: ['a'], templates: new Array(101).fill('{}') } })).toMatchObject({
      name: 'templates',
    })
    expect(await limit({ model: clip, classify: { labels: labels(1000), templates: new Array(21).fill('{}') } })).toMatchObject({
      name: 'prompts',
    })
  })

  test('numbers to read and to write, estimated from the shapes', async () => {
    let runs = 0
    const withHookPoint = (length: number) =>
      server.another({
        host: { run: async () => Promise.reject(new Error(`ran ${++runs} times`)) },
        catalog: {
          models: {
            ...server.catalog.models,
            async get(id) {
              const model = (await server.catalog.models.get(id))!
              const huge: HookPointInfo = {
                name: 'huge',
                axes: ['batch', 'pos', 'dModel'],
                shape: ['batch', 5, length],
                meaning: '',
                optional: false,
              }
              return { ...model, description: { ...model.description, vision: { ...model.description.vision, hookPoints: [huge] } } }
            },
          },
        },
      })
    expect(await refused({ read: ['huge'] }, await withHookPoint(30_000_000))).toMatchObject({
      limit: { name: 'readBytes', given: 600_000_000 },
    })
    const tooMuchText = await withHookPoint(500_000)
    const body = { model: classifier, inputs: [{ image }], read: ['huge'] }
    expect(problemOf(await post(tooMuchText, '/v1/forward', body))).toMatchObject({ limit: { name: 'jsonNumbers', value: 2_000_000 } })
    expect((await graphql(tooMuchText, FORWARD, { input: body })).errors[0]!.extensions).toMatchObject({
      limit: { name: 'graphqlNumbers' },
    })
    expect(runs).toBe(0)
    // as bytes, or only a part of it, it may run
    await post(tooMuchText, '/v1/forward', body, { accept: 'application/x-npz' })
    await post(tooMuchText, '/v1/forward', { ...body, encoding: 'base64' })
    await post(tooMuchText, '/v1/forward', { ...body, positions: 'cls' })
    expect(runs).toBe(3)
  })
})

describe('a body is refused', () => {
  test('that is not JSON, is empty, holds keys of the prototype, or is of another type', async () => {
    const code = async (payload: string, type = 'application/json') =>
      problemOf(await server.app.inject({ method: 'POST', url: '/v1/forward', payload, headers: { 'content-type': type } })).code
    expect(await code('{"model": ')).toBe('BODY_MALFORMED')
    expect(await code('')).toBe('BODY_MALFORMED')
    expect(await code('{"__proto__": {"admin": true}}')).toBe('BODY_MALFORMED')
    expect(await code('{"a": {"\\u005f_proto\\u005F_": 1}}')).toBe('BODY_MALFORMED')
    expect(await code('{"constructor": {"prototype": {}}}')).toBe('INPUT_INVALID')
    expect(await code(`{"__proto__": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`)).toBe('BODY_MALFORMED')
    expect(await code('[]')).toBe('INPUT_INVALID')
    expect(await code('null')).toBe('INPUT_INVALID')
    expect(await code('model=x', 'application/x-www-form-urlencoded')).toBe('MEDIA_TYPE_UNSUPPORTED')
    expect(await code('{}', 'text/plain')).toBe('MEDIA_TYPE_UNSUPPORTED')
    expect(await code('{}', 'nonsense')).toBe('MEDIA_TYPE_UNSUPPORTED')
    expect(({} as { admin?: unknown }).admin).toBeUndefined()
  })

  test('saying what is wrong with it', async () => {
    const detail = async (payload: string | Buffer) =>
      problemOf(await server.app.inject({ method: 'POST', url: '/v1/forward', payload, headers: { 'content-type': 'application/json' } }))
        .detail
    expect(await detail('{"edits": [{"strength": NaN}]}')).toMatch(/NaN is not JSON; give a finite number\.$/)
    expect(await detail('{"edits": [-Infinity]}')).toContain('Infinity is not JSON')
    expect(await detail('{"model": "a" "b"}')).toMatch(/it is not JSON \(.+\)\.$/)
    expect(await detail('{"model": "NaN" oh, NaN}')).not.toContain('undefined')
    expect(await detail(Buffer.from('{"model": "caf\xe9"}', 'latin1'))).toContain('not UTF-8')
    expect(await detail('{"__proto__": {}}')).toContain('"__proto__"')
    expect(await detail('')).toContain('it is empty')
  })

  test('that nests without end where GraphQL takes any JSON', async () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
    const query = JSON.stringify(FORWARD)
    for (const input of [
      `{"model": "${classifier}", "inputs": [{"image": ${deep}}]}`,
      `{"model": "a", "inputs": [], "positions": ${deep}}`,
    ]) {
      const { errors } = (await post(server.app, '/graphql', `{"query": ${query}, "variables": {"input": ${input}}}`)).json()
      expect(errors[0].extensions.code).toBe('INPUT_INVALID')
    }
  })

  test('that is too large, at once by its length', async () => {
    const response = await post(server.app, '/v1/forward', `"${'x'.repeat(2 ** 20)}"`)
    expect(problemOf(response)).toMatchObject({ code: 'BODY_TOO_LARGE', status: 413, limit: { name: 'bodyBytes', value: 2 ** 20 } })
    const form = await post(server.app, '/graphql', { query: 'x'.repeat(2 ** 20) })
    expect(form.json().errors[0].extensions).toMatchObject({ code: 'BODY_TOO_LARGE', status: 413 })
    expect(form.statusCode).toBe(413)
    provoked.graphql.add('BODY_TOO_LARGE')
  })

  test.each([
    ['by Content-Length', 'content-length: 2147483648', 'application/json'],
    ['in chunks', 'transfer-encoding: chunked', 'application/json'],
    ['as a file by Content-Length', 'content-length: 2147483648', 'application/octet-stream'],
    ['as a file in chunks', 'transfer-encoding: chunked', 'image/png'],
  ])('of 2 GB %s, without being read', async (_, framing, type) => {
    if (!server.app.server.listening) await server.app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = server.app.server.address() as { port: number }
    const url = type === 'application/json' ? '/v1/forward' : '/v1/images'
    const { answer, sent, closed } = await flood(
      port,
      `POST ${url} HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${type}\r\n${framing}\r\n\r\n`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
    expect(answer).toContain('"code":"BODY_TOO_LARGE"')
    expect(sent).toBeLessThan(64 * 2 ** 20)
    await closed
  })

  test('that is too large, and the refusal reaches also a client that first sends everything', async () => {
    if (!server.app.server.listening) await server.app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = server.app.server.address() as { port: number }
    const length = 48 * 2 ** 20
    const socket = connect(port, '127.0.0.1')
    socket.pause()
    const head = `POST /v1/images HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\ncontent-length: ${length}\r\n\r\n`
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.write(head)
      socket.write(Buffer.alloc(length), (error) => (error ? reject(error) : resolve()))
    })
    // and the connection goes on to serve
    socket.end('GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
    const answer = (await socket.setEncoding('utf8').toArray()).join('')
    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
    expect(answer).toContain('HTTP/1.1 200 ')
  })

  test('that does not arrive', () => {
    expect(server.app.server.requestTimeout).toBe(300_000)
  })
})

/** Sends a head and then bytes without end, until there is an answer or the other side closes. */
function flood(port: number, head: string): Promise<{ answer: string; sent: number; closed: Promise<unknown> }> {
  return new Promise((resolve) => {
    const block = Buffer.alloc(65_536, 0x20)
    const chunk = head.includes('chunked') ? Buffer.concat([Buffer.from('10000\r\n'), block, Buffer.from('\r\n')]) : block
    const socket = connect(port, '127.0.0.1')
    let answer = ''
    let sent = 0
    const pour = () => {
      while (!socket.destroyed && socket.writable) {
        sent += chunk.length
        if (!socket.write(chunk)) break
      }
    }
    const closed = new Promise((done) => socket.once('close', done))
    socket.on('data', (data) => {
      answer += data
      if (!answer.endsWith('}')) return
      socket.destroy()
      resolve({ answer, sent, closed })
    })
    socket
      .on('drain', pour)
      .on('error', () => undefined)
      .on('close', () => resolve({ answer, sent, closed }))
    socket.write(head)
    pour()
  })
}

describe('a URL is refused', () => {
  test('that is not there, takes another method, or is not a URL', async () => {
    expect(problemOf(await get(server.app, '/v2/models'))).toMatchObject({ code: 'ROUTE_UNKNOWN', status: 404 })
    const response = await server.app.inject({ method: 'DELETE', url: '/v1/models' })
    expect(problemOf(response)).toMatchObject({ code: 'METHOD_NOT_ALLOWED', status: 405 })
    expect(response.headers.allow).toBe('GET, HEAD')
    expect((await server.app.inject({ method: 'PUT', url: '/v1/images' })).headers.allow).toBe('GET, HEAD, POST')
    expect(problemOf(await server.app.inject({ url: '/v1/models/%zz' }))).toMatchObject({ code: 'URL_INVALID', status: 400 })
    expect((await server.app.inject({ url: '/v1/images/..%2f..%2fetc%2fpasswd' })).json()).toMatchObject({ code: 'INPUT_INVALID' })
    expect((await server.app.inject({ url: '/docs/static/..%2f..%2f..%2fpackage.json' })).statusCode).toBe(404)
    expect((await server.app.inject({ url: '/graphiql/..%2f..%2fpackage.json' })).statusCode).toBe(404)
    for (const url of ['/docs/static/..%5c..%5cpackage.json', '/docs/static/%2e%2e/%2e%2e/package.json']) {
      expect(problemOf(await server.app.inject({ url }))).toMatchObject({ code: 'ROUTE_UNKNOWN', status: 404 })
    }
    const unread = [`/v1/models/${'a'.repeat(2000)}`, '/%', '/v1/models/%ff']
    for (const url of unread) {
      const refusal = await server.app.inject({ url })
      expect(problemOf(refusal)).toMatchObject({ code: 'URL_INVALID', status: 400 })
      expect(refusal.headers['server-timing']).toMatch(/^total;dur=/)
    }
  })

  test('by OPTIONS one learns what a path takes', async () => {
    const ask = async (url: string) => {
      const { statusCode, headers } = await server.app.inject({ method: 'OPTIONS', url })
      return [statusCode, headers.allow]
    }
    expect(await ask('/v1/models')).toEqual([204, 'GET, HEAD'])
    expect(await ask('/v1/images')).toEqual([204, 'GET, HEAD, POST'])
    expect(await ask('/v1/nothing')).toEqual([404, undefined])
    expect((await server.app.inject({ url: '/graphql' })).headers.allow).toBe('POST')
  })

  test('with unknown, repeated or unreadable query parameters', async () => {
    const errors = async (url: string) => problemOf(await get(server.app, url)).errors
    expect(await errors('/v1/models?limti=3')).toMatchObject([{ path: 'limti', message: expect.stringContaining('"limit"') }])
    expect(await errors('/v1/models?limit=many')).toMatchObject([{ path: 'limit', message: '"many" is not an integer' }])
    expect(await errors('/v1/models?limit=1000')).toMatchObject([{ path: 'limit', message: '1000 is more than 100' }])
    expect(await errors('/v1/models?limit=1&limit=2')).toMatchObject([{ path: 'limit' }])
    expect(await errors('/v1/models?text=%00')).toMatchObject([{ path: 'text' }])
    expect(await errors(`/v1/models/${clip}/hooks?tower=vison`)).toMatchObject([
      { message: expect.stringContaining('Did you mean "vision"') },
    ])
    expect(await errors(`/v1/models/${clip}/hooks?model=x`)).toHaveLength(1)
  })

  test('with a cursor of nothing or of another list', async () => {
    expect(problemOf(await get(server.app, '/v1/models?cursor=nonsense'))).toMatchObject({ code: 'CURSOR_INVALID', status: 400 })
    const { nextCursor } = (await get(server.app, '/v1/models?limit=1')).json()
    expect(problemOf(await get(server.app, `/v1/images?cursor=${nextCursor}`))).toMatchObject({ code: 'CURSOR_INVALID' })
    expect((await graphql(server.app, '{ images(after: "nonsense") { totalCount } }')).errors[0]!.extensions.code).toBe('CURSOR_INVALID')
  })

  test('of a cache or an activation that is not there', async () => {
    expect(problemOf(await get(server.app, '/v1/caches/gone'))).toMatchObject({ code: 'CACHE_UNKNOWN', status: 404 })
    const { cache } = (await post(server.app, '/v1/forward', { model: classifier, inputs: [{ image }], read: [RESID] })).json()
    const url = `/v1/caches/${cache}`
    expect(problemOf(await get(server.app, `${url}/blocks.1.hook_resid_pots`))).toMatchObject({
      code: 'ACTIVATION_UNKNOWN',
      detail: expect.stringContaining(`Did you mean "${RESID}"`),
    })
    for (const name of ['__proto__', 'constructor', 'toString'])
      expect((await get(server.app, `${url}/${name}`)).json().code).toBe('ACTIVATION_UNKNOWN')
    expect(problemOf(await get(server.app, `${url}/${RESID}?positions=500`))).toMatchObject({ code: 'POSITION_OUT_OF_RANGE' })
    expect(problemOf(await get(server.app, `${url}/${RESID}?positions=some`))).toMatchObject({ code: 'INPUT_INVALID' })
    expect(problemOf(await get(server.app, `${url}/${RESID}`, { accept: 'image/png' }))).toMatchObject({
      code: 'NOT_ACCEPTABLE',
      status: 406,
    })
  })

  test('that is not HTTP', async () => {
    if (!server.app.server.listening) await server.app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = server.app.server.address() as { port: number }
    const { answer } = await flood(port, 'this is not http\r\n\r\n')
    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer).toContain('"code":"REQUEST_MALFORMED"')
    provoked.rest.add('REQUEST_MALFORMED')
  })
})

describe('every refusal of the engine and the catalog', () => {
  let failing: App
  let thrown: unknown
  beforeAll(async () => {
    failing = await server.another({ host: { run: () => Promise.reject(thrown) } })
  })

  test.each(errorSamples.map((error) => [error.code, error] as const))('%s has its status, over both doors', async (code, error) => {
    thrown = error
    const body = { model: classifier, inputs: [{ image }] }
    const response = await post(failing, '/v1/forward', body)
    expect(problemOf(response)).toMatchObject({ code, status: statuses[code], detail: error.message })
    const answer = await post(failing, '/graphql', { query: FORWARD, variables: { input: body } })
    expect(answer.json()).toMatchObject({
      data: { forward: null },
      errors: [{ message: error.message, path: ['forward'], extensions: { code } }],
    })
    provoked.graphql.add(code)
    const wait = { QUEUE_FULL: '3', ENGINE_UNHEALTHY: '30', WORKER_DIED: '1' }[code as string]
    if (wait) for (const { headers } of [response, answer]) expect(headers['retry-after']).toBe(wait)
  })

  test('an unexpected error says nothing of itself', async () => {
    thrown = new TypeError('password is hunter2')
    const body = { model: classifier, inputs: [{ image }] }
    const response = await post(failing, '/v1/forward', body)
    expect(problemOf(response)).toMatchObject({ code: 'INTERNAL', status: 500, requestId: expect.stringMatching(/^[0-9a-f-]{36}$/) })
    const answer = await post(failing, '/graphql', { query: FORWARD, variables: { input: body } })
    expect(answer.json().errors[0].extensions).toMatchObject({ code: 'INTERNAL', status: 500 })
    expect(response.body + answer.body).not.toMatch(/hunter2|TypeError/)
    provoked.graphql.add('INTERNAL')
  })
})

describe('whatever is sent', () => {
  const name = fc.constantFrom('model', 'inputs', 'read', 'positions', 'heads', 'edits', 'classify', 'topK', 'output', 'encoding')
  const junk = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(-1, 1e308, 2 ** 31, '\0', '\ud800', '*', '**.*', 'sha256:', [], [[]], {}, { base64: '' }, null),
  )
  /** A good request with some of its fields replaced, or junk altogether. */
  const bodies = fc.oneof(
    fc.dictionary(name, junk).map((change) => ({ model: clip, inputs: [{ image }], read: [RESID], ...change })),
    fc
      .record({
        hookPoint: fc.constantFrom(RESID, 'hook_embed', '*'),
        op: fc.constantFrom('set', 'patch', 'add'),
        vector: junk,
        value: junk,
        from: junk,
      })
      .map((edit) => ({
        model: classifier,
        inputs: [{ image }],
        edits: [edit],
      })),
    junk,
  )

  test('as a run, the answer is no 5xx, over either door', async () => {
    await fc.assert(
      fc.asyncProperty(bodies, async (body) => {
        expect((await post(server.app, '/v1/forward', body)).statusCode).toBeLessThan(500)
        const { errors } = await graphql(server.app, FORWARD, { input: body })
        for (const { extensions } of errors) expect(extensions.status).toBeLessThan(500)
      }),
      { numRuns: 80 },
    )
  })

  test('as a query or a path, the answer is no 5xx', async () => {
    const text = fc
      .uint8Array({ maxLength: 40 })
      .map((bytes) => Array.from(bytes, (byte) => `%${byte.toString(16).padStart(2, '0')}`).join(''))
    const routes = [
      '/v1/models?text=',
      '/v1/models?cursor=',
      '/v1/models/',
      '/v1/models/hf-clip/hooks?tower=',
      '/v1/images/',
      '/v1/images?limit=',
      '/v1/caches/',
      '/v1/caches/x/',
      '/errors/',
    ]
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...routes), text, async (route, end) => {
        expect((await get(server.app, route + end)).statusCode).toBeLessThan(500)
      }),
      { numRuns: 80 },
    )
  })
})

describe('the list of codes', () => {
  /** Provoked where keys, uploads and rate limits are tested. */
  const elsewhere = [
    'UNAUTHENTICATED',
    'FORBIDDEN',
    'HOST_REFUSED',
    'ORIGIN_REFUSED',
    'RATE_LIMITED',
    'IDEMPOTENCY_KEY_INVALID',
    'GRAPHQL_INVALID',
    // of SAEs and their features, where their pictures are tested
    'SAE_UNKNOWN',
    'SAE_NOT_DOWNLOADED',
    'FEATURE_UNKNOWN',
    'FEATURES_UNKNOWN',
    // of jobs and what they left, and of what is in the catalog, where those are tested
    'JOB_UNKNOWN',
    'JOB_CONFLICT',
    'ARTIFACT_UNKNOWN',
    'DATASET_UNKNOWN',
    'EXPLANATION_UNKNOWN',
    'VECTOR_UNKNOWN',
    'RUN_UNKNOWN',
    'RUN_OUTDATED',
    'MODEL_NOT_DOWNLOADED',
  ]

  test('was provoked over REST, all of it', () => {
    expect([...new Set([...provoked.rest, ...elsewhere])].sort()).toEqual(Object.keys(statuses).sort())
  })

  test('is what docs/errors.md explains, with the same statuses', () => {
    const sections = errorSections(readFileSync(path.resolve(import.meta.dirname, '../../docs/errors.md'), 'utf8'))
    expect([...sections.keys()].sort()).toEqual(Object.keys(statuses).sort())
    for (const [code, text] of sections) expect(text.split('\n')[1]).toMatch(new RegExp(`^${statuses[code as keyof typeof statuses]}\\b`))
  })
})
