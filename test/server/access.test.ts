/** Keys, scopes, who may call without one, and how often. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { refusalToListen } from '../../src/server/auth.js'
import { isLoopback } from '../../src/server/local-guard.js'
import { type App, get, graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())

const problem = (code: string, status: number) => ({ code, status })
const body = { model: testModels.clip, inputs: [{ text: 'hi' }] }

describe('without any key', () => {
  test('requests to localhost are answered, whatever it is called', async () => {
    for (const host of ['localhost', 'localhost:8080', '127.0.0.1:9', '[::1]:8080', '127.1.2.3']) {
      expect((await get(server.app, '/v1/models', { host })).statusCode).toBe(200)
    }
  })

  test('a name that was bound to this machine by someone else is refused', async () => {
    for (const host of ['evil.example', 'evil.example:8080', 'localhost.evil.example', '127.0.0.1.evil.example', '10.0.0.1', 'a b']) {
      expect((await get(server.app, '/v1/models', { host })).json()).toMatchObject(problem('HOST_REFUSED', 403))
    }
    expect((await get(server.app, '/', { host: 'evil.example' })).statusCode).toBe(403)
    expect((await graphql(server.app, '{ capabilities { version } }', {}, { host: 'evil.example' })).errors[0]!.extensions.code).toBe(
      'HOST_REFUSED',
    )
  })

  test('a page from elsewhere cannot do anything, a page on localhost can', async () => {
    const send = (headers: Record<string, string>) => post(server.app, '/v1/forward', body, headers)
    for (const origin of ['https://evil.example', 'null', 'http://localhost.evil.example', 'file://']) {
      expect((await send({ origin })).json()).toMatchObject(problem('ORIGIN_REFUSED', 403))
      expect(
        (await post(server.app, '/graphql', { query: '{ capabilities { version } }' }, { origin })).json().errors[0].extensions.code,
      ).toBe('ORIGIN_REFUSED')
    }
    expect((await send({ 'sec-fetch-site': 'cross-site' })).statusCode).toBe(403)
    for (const origin of ['http://localhost:3000', 'http://127.0.0.1:8888', 'https://localhost', 'http://[::1]:1']) {
      const response = await send({ origin })
      expect(response.statusCode).toBe(200)
      expect(response.headers['access-control-allow-origin']).toBe(origin)
    }
    const read = await get(server.app, '/v1/models', { origin: 'https://evil.example' })
    expect(read.headers).not.toHaveProperty('access-control-allow-origin')
    const upgrade = await get(server.app, '/graphql', { origin: 'https://evil.example', upgrade: 'websocket', connection: 'upgrade' })
    expect(upgrade.statusCode).toBe(403)
  })

  test('a preflight from localhost is answered, with the headers that clients send', async () => {
    const response = await server.app.inject({
      method: 'OPTIONS',
      url: '/v1/forward',
      headers: {
        origin: 'http://localhost:3000',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type,x-api-key',
      },
    })
    expect(response.statusCode).toBe(204)
    expect(response.headers['access-control-allow-headers']).toBe('content-type,x-api-key')
  })

  test('only loopback may be listened on', async () => {
    expect(await refusalToListen('127.0.0.1', server.catalog)).toBeUndefined()
    expect(await refusalToListen('localhost', server.catalog)).toBeUndefined()
    for (const host of ['0.0.0.0', '::', '192.168.1.5', 'example.org'])
      expect(await refusalToListen(host, server.catalog)).toMatch(/API key/)
    expect(['127.8.9.1', '::1', '[::1]', 'a.localhost'].map(isLoopback)).toEqual([true, true, true, true])
    expect(['128.0.0.1', '127.0.0.1.example', '::2', 'localhost.example'].map(isLoopback)).toEqual([false, false, false, false])
  })
})

describe('off loopback', () => {
  test('a key is needed even when there is none: revoking the last one opens nothing', async () => {
    const open = await server.another({ config: { host: '0.0.0.0' } })
    expect((await get(open, '/v1/models')).json()).toMatchObject(problem('UNAUTHENTICATED', 401))
  })
})

describe('with keys', () => {
  let app: App
  let keys: Record<'read' | 'run' | 'write' | 'admin', string>
  beforeAll(async () => {
    keys = {
      read: await server.addKey('read'),
      run: await server.addKey('run'),
      write: await server.addKey('write'),
      admin: await server.addKey('admin'),
    }
    app = await server.another({})
  })
  const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

  test('every call of the API needs one; health and documentation do not', async () => {
    for (const url of ['/v1/models', '/v1/capabilities', `/v1/images/sha256:${'0'.repeat(64)}`, '/v1/caches/x']) {
      const response = await get(app, url)
      expect(response.json()).toMatchObject(problem('UNAUTHENTICATED', 401))
      expect(response.headers['www-authenticate']).toMatch(/^Bearer/)
    }
    expect((await post(app, '/graphql', { query: '{ __typename }' })).json().errors[0].extensions).toMatchObject(
      problem('UNAUTHENTICATED', 401),
    )
    for (const url of ['/healthz', '/readyz', '/docs', '/openapi.json', '/graphiql', '/metrics', '/', '/errors']) {
      expect((await get(app, url)).statusCode).toBe(200)
    }
    expect((await get(app, '/')).body).not.toContain(testModels.clip)
  })

  test('a wrong one, an empty one and a malformed header are refused', async () => {
    for (const headers of [
      bearer('rf_wrong'),
      { 'x-api-key': 'wrong' },
      { 'x-api-key': '' },
      { authorization: 'Basic abc' },
      { authorization: 'Bearer' },
    ]) {
      expect((await get(app, '/v1/models', headers)).json()).toMatchObject(problem('UNAUTHENTICATED', 401))
    }
  })

  test('scopes open what they name, admin opens all, by either header', async () => {
    expect((await get(app, '/v1/models', bearer(keys.read))).statusCode).toBe(200)
    expect((await get(app, '/v1/models', { 'x-api-key': keys.read })).statusCode).toBe(200)
    expect((await get(app, '/v1/models', bearer(keys.run))).json()).toMatchObject(problem('FORBIDDEN', 403))
    expect((await post(app, '/v1/forward', body, bearer(keys.read))).json()).toMatchObject({
      ...problem('FORBIDDEN', 403),
      detail: expect.stringContaining('"run"'),
    })
    expect((await post(app, '/v1/forward', body, bearer(keys.run))).statusCode).toBe(200)
    expect((await upload(app, await picture(), bearer(keys.run))).statusCode).toBe(403)
    expect((await upload(app, await picture(), bearer(keys.write))).statusCode).toBe(201)
    expect((await post(app, '/v1/forward', body, bearer(keys.admin))).statusCode).toBe(200)
  })

  test('the same over GraphQL, field by field', async () => {
    const query = 'query ($input: ForwardInput!) { capabilities { version } forward(input: $input) { tower } node(id: "hf-clip") { id } }'
    const asReader = await graphql(app, query, { input: body }, bearer(keys.read))
    expect(asReader.data).toMatchObject({ capabilities: { version: expect.any(String) }, forward: null, node: { id: 'hf-clip' } })
    expect(asReader.errors).toMatchObject([{ path: ['forward'], extensions: problem('FORBIDDEN', 403) }])
    const asRunner = await graphql(app, query, { input: body }, bearer(keys.run))
    expect(asRunner.data).toMatchObject({ capabilities: null, forward: { tower: 'text' }, node: null })
  })

  test('with a key any host name and origin will do: a page that is not ours has no key', async () => {
    const headers = { ...bearer(keys.run), host: 'refract.example.org', origin: 'https://refract.example.org' }
    expect((await post(app, '/v1/forward', body, headers)).statusCode).toBe(200)
  })

  test('a revoked key is refused', async () => {
    const { key, id } = await server.catalog.apiKeys.create({ label: 'short', scopes: ['read'] })
    expect((await get(app, '/v1/models', bearer(key))).statusCode).toBe(200)
    await server.catalog.apiKeys.revoke(id)
    expect((await get(app, '/v1/models', bearer(key))).statusCode).toBe(401)
  })

  test('requests a minute are counted for each key', async () => {
    const limited = await server.another({ config: { rateLimitPerMinute: 2 } })
    const ask = (key: string) => get(limited, '/v1/models', bearer(key))
    const first = await ask(keys.read)
    expect(first.headers).toMatchObject({ 'ratelimit-limit': '2', 'ratelimit-remaining': '1', 'ratelimit-reset': expect.any(String) })
    await ask(keys.read)
    const third = await ask(keys.read)
    expect(third.json()).toMatchObject({ ...problem('RATE_LIMITED', 429), limit: { name: 'requestsPerMinute', value: 2 } })
    expect(Number(third.headers['retry-after'])).toBeGreaterThan(0)
    expect((await ask(keys.admin)).statusCode).toBe(200)
    expect((await graphql(limited, '{ __typename }', {}, bearer(keys.read))).errors[0]!.extensions).toMatchObject(
      problem('RATE_LIMITED', 429),
    )
    expect((await get(limited, '/healthz')).statusCode).toBe(200)
  })
})

test('readiness follows the database and the engine', async () => {
  const broken = await server.another({
    catalog: { ping: async () => false },
    host: { status: () => ({ ...server.host.status(), state: 'restarting' }) },
  })
  const response = await get(broken, '/readyz')
  expect([response.statusCode, response.json()]).toEqual([503, { status: 'not ready', database: 'not answering', engine: 'restarting' }])
  expect((await get(broken, '/healthz')).statusCode).toBe(200)
})

test('metrics count requests by route and show the engine', async () => {
  await get(server.app, '/v1/models')
  const { body: text } = await get(server.app, '/metrics')
  expect(text).toMatch(/http_request_duration_seconds_count\{method="GET",route="\/v1\/models",status="200"\} [1-9]/)
  for (const name of [
    'refract_queue_length',
    'refract_memory_used_bytes',
    'refract_programs_compiled_total',
    'nodejs_eventloop_lag_seconds',
  ]) {
    expect(text).toMatch(new RegExp(`^${name} `, 'm'))
  }
  const { runs } = server.host.status()
  expect(text).toContain(`refract_device_runs_total{device="cpu",place="0"} ${runs.count}\n`)
  expect(text).toContain('refract_device_ready{device="cpu",place="0"} 1\n')
})

test('how full the memory of an accelerator is stands in the metrics and in the capabilities', async () => {
  const status = server.host.status()
  const deviceMemory = { budgetBytes: 1000, usedBytes: 400, nPagedOut: 2 }
  const devices = [{ ...status.devices[0]!, device: 'cuda:1', deviceMemory }, status.devices[0]!]
  const app = await server.another({ host: { status: () => ({ ...status, devices }) } })
  const text = (await get(app, '/metrics')).body
  expect(text).toContain('refract_device_own_memory_budget_bytes{device="cuda:1",place="0"} 1000\n')
  expect(text).toContain('refract_device_own_memory_used_bytes{device="cuda:1",place="0"} 400\n')
  expect(text).toContain('refract_device_weights_paged_out_total{device="cuda:1",place="0"} 2\n')
  expect(text).not.toContain('refract_device_own_memory_used_bytes{device="cpu"')
  const headers = { authorization: `Bearer ${await server.addKey('read')}` }
  const told = (await get(app, '/v1/capabilities', headers)).json().devices
  expect(told.map((each: { deviceMemory: unknown }) => each.deviceMemory)).toEqual([deviceMemory, null])
})
