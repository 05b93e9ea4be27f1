/** Long work over REST and GraphQL. Who does it is not asked here: a test holds the shards itself. */

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createClient } from 'graphql-ws'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import WebSocket from 'ws'
import type { ShardLease } from '../../src/catalog/jobs/job.js'
import { get, graphql, post, startTestServer, type TestServer, testModels } from './test-server.js'

let server: TestServer
let address: string
beforeAll(async () => {
  server = await startTestServer()
  await server.app.listen({ port: 0, host: '127.0.0.1' })
  address = `127.0.0.1:${(server.app.server.address() as AddressInfo).port}`
})
afterAll(() => server.close())
beforeEach(async () => {
  await server.catalog.prisma.$executeRaw`delete from jobs`
})

const trainingJob = {
  recipe: 'model',
  config: {
    model: { nLayers: 1, dModel: 16, nHeads: 2, imageSize: 16, patchSize: 8 },
    data: { train: { kind: 'circle' } },
    ...{ batchSize: 8, steps: 10 },
  },
}
const trainedSae = { name: 'first', hookPoint: 'blocks.0.hook_resid_post', architecture: 'topk', k: 2, expansionFactor: 2 }
const saeJob = (changes: object = {}) => ({
  kind: 'train-sae',
  input: { config: { model: testModels.clip, data: { kind: 'circle' }, saes: [trainedSae], steps: 4, ...changes } },
})

const anImport = { kind: 'import', input: { source: 'org/name', revision: 'main' } }
const make = async (body: unknown = anImport, headers: Record<string, string> = {}) =>
  (await post(server.app, '/v1/jobs', body, headers)).json()

async function take(): Promise<ShardLease> {
  const { places, jobLeases } = server.catalog
  const kinds = ['import', 'train-model', 'train-sae']
  for (const lane of ['transfer', 'compute'] as const) {
    const lease = await jobLeases.claim({ worker: 'test', leaseMs: 60_000, lane, places: [places.dataFolder], kinds })
    if (lease) return lease
  }
  throw new Error('there is nothing to take')
}
/** Does a job as a worker would, up to its result. */
async function complete(result: unknown = { model: 'x' }) {
  const { jobLeases } = server.catalog
  await jobLeases.commitPlan(await take(), [null])
  const shard = await take()
  await jobLeases.report(
    shard,
    {
      progress: 0.5,
      message: 'half',
      lines: [
        { level: 'info', text: 'one' },
        { level: 'warning', text: 'two' },
      ],
    },
    60_000,
  )
  await jobLeases.commitPart(shard, { json: null })
  await jobLeases.commitResult(await take(), result as never)
}

describe('a job over REST', () => {
  test('is made, found, listed, followed to its end and kept', async () => {
    const made = await post(server.app, '/v1/jobs', anImport)
    expect(made.statusCode).toBe(201)
    const { id } = made.json()
    expect(made.headers.location).toBe(`/v1/jobs/${id}`)
    expect(made.json()).toMatchObject({ ...anImport, state: 'queued', progress: 0, result: null, error: null, createdBy: null })
    await complete()
    const { state, result, progress, nLogLines } = (await get(server.app, `/v1/jobs/${id}`)).json()
    expect({ state, result, progress, nLogLines }).toEqual({ state: 'succeeded', result: { model: 'x' }, progress: 1, nLogLines: 2 })
    expect((await get(server.app, '/v1/jobs?state=succeeded&kind=import')).json().items.map((job: { id: string }) => job.id)).toContain(id)
    expect((await get(server.app, '/v1/jobs?state=done')).statusCode).toBe(400)
    const log = (await get(server.app, `/v1/jobs/${id}/log?after=1`)).json()
    expect(log).toMatchObject({ nLines: 2, lines: [{ number: 2, level: 'warning', text: 'two' }] })
  })

  test('is cancelled by DELETE, again without effect, and resumed', async () => {
    const { id } = await make()
    const cancel = () => server.app.inject({ method: 'DELETE', url: `/v1/jobs/${id}` })
    expect((await cancel()).json().state).toBe('cancelled')
    const again = await cancel()
    expect([again.statusCode, again.json().state]).toEqual([200, 'cancelled'])
    const resumed = await server.app.inject({ method: 'POST', url: `/v1/jobs/${id}/resume` })
    expect([resumed.statusCode, resumed.json().state]).toEqual([200, 'queued'])
    const refused = await server.app.inject({ method: 'POST', url: `/v1/jobs/${id}/resume` })
    expect([refused.statusCode, refused.json().code]).toEqual([409, 'JOB_CONFLICT'])
    await cancel()
  })

  test('asked for twice with one Idempotency-Key is one job; with other content the key is refused', async () => {
    const headers = { 'idempotency-key': 'import-1' }
    const [first, second] = [
      await make(anImport, headers),
      await make({ input: { revision: 'main', source: 'org/name' }, kind: 'import' }, headers),
    ]
    expect(second.id).toBe(first.id)
    expect(await make({ ...anImport, input: { source: 'org/other' } }, headers)).toMatchObject({ code: 'IDEMPOTENCY_KEY_INVALID' })
    expect(await make(anImport, { 'idempotency-key': 'ä b' })).toMatchObject({ code: 'IDEMPOTENCY_KEY_INVALID' })
    await server.app.inject({ method: 'DELETE', url: `/v1/jobs/${first.id}` })
  })

  test.each([
    ['an unknown kind', { kind: 'imort', input: {} }, 'kind', /Did you mean "import"/],
    ['a misspelt field', { kind: 'import', input: { sorce: 'a/b' } }, 'input.sorce', /Did you mean "source"/],
    ['no input', { kind: 'import' }, 'input', /missing/],
    ['what is neither a folder nor a repository', { kind: 'import', input: { source: 'no such thing!' } }, 'source', /neither a folder/],
    ['a name that is taken', { kind: 'train-model', input: { ...trainingJob, id: testModels.clip } }, 'input.id', /there is such a model/],
    ['a name that is none', { kind: 'train-model', input: { ...trainingJob, id: 'A model' } }, 'input.id', /cannot be a model's id/],
    ['a model that is not there', saeJob({ model: 'no-such-model' }), 'input.config.model', /neither a catalogued model nor a folder/],
    [
      'a hook point that the model does not have',
      saeJob({ saes: [{ ...trainedSae, hookPoint: 'blocks.0.hook_resid_pst' }] }),
      'input.config.saes[0].hookPoint',
      /nearest is "blocks\.0\.hook_resid_p/,
    ],
    [
      'a character that cannot be stored',
      { kind: 'train-sae', input: { config: { a: ['x\0'] } } },
      'input.config.a[0]',
      /cannot be stored/,
    ],
    [
      'half a character',
      JSON.stringify({ kind: 'train-sae', input: { config: { b: 1 } } }).replace('"b"', '"\\ud800"'),
      'input.config',
      /cannot be stored/,
    ],
    [
      'nesting without end',
      `{"kind":"train-sae","input":{"config":{"a":${'['.repeat(500)}${']'.repeat(500)}}}}`,
      undefined,
      /nested deeper/,
    ],
    ['more than a configuration', { kind: 'train-sae', input: { config: { text: 'x'.repeat(300_000) } } }, 'input', /larger than/],
  ])('with %s is refused at once', async (_what, body, path, message) => {
    const response = await post(server.app, '/v1/jobs', body)
    expect(response.statusCode).toBeGreaterThanOrEqual(400)
    expect(response.statusCode).toBeLessThan(500)
    const { detail, errors } = response.json()
    expect(`${detail} ${JSON.stringify(errors)}`).toMatch(message)
    if (path !== undefined) expect(errors?.[0]?.path ?? detail).toContain(path)
  })

  test.each([
    [
      'train-model',
      { recipe: 'model', config: { ...trainingJob.config, steps: 0, batchSize: 'many', optimiser: {} }, id: testModels.clip },
      ['input.config.batchSize', 'input.config.optimiser', 'input.config.steps', 'input.id'],
      400,
    ],
    ['train-model', { recipe: 'clip', config: { steps: 5, batchSize: 2 } }, ['input.config.data', 'input.config.model'], 422],
    [
      'train-sae',
      { config: { ...saeJob().input.config, positions: 'some', saes: [{ ...trainedSae, hookPoint: 'nowhere', k: 'few' }] } },
      ['input.config.positions', 'input.config.saes[0].hookPoint', 'input.config.saes[0].k'],
      422,
    ],
  ])('%s with a configuration that is wrong names everything that is, and makes no job', async (kind, input, paths, status) => {
    const response = await post(server.app, '/v1/jobs', { kind, input })
    expect(
      response
        .json()
        .errors?.map(({ path }: { path: string }) => path)
        .sort(),
    ).toEqual(paths)
    expect(response.statusCode).toBe(status)
    expect((await get(server.app, '/v1/jobs')).json().totalCount).toBe(0)
  })

  test('that is none is a 404, whatever its id looks like', async () => {
    for (const id of ['none', '00000000-0000-4000-8000-000000000000', '%00', 'a'.repeat(300)]) {
      for (const [method, url] of [
        ['GET', ''],
        ['DELETE', ''],
        ['POST', '/resume'],
        ['GET', '/log'],
        ['GET', '/events'],
      ] as const) {
        const { statusCode } = await server.app.inject({ method, url: `/v1/jobs/${id}${url}` })
        expect([statusCode, method, url, id.length > 200 && statusCode === 400]).toEqual([
          id.length > 200 && url !== '/events' ? 400 : 404,
          method,
          url,
          id.length > 200 && url !== '/events',
        ])
      }
    }
  })

  test('that reads paths of this machine needs the scope admin, and one from the hub only write', async () => {
    const [write, read] = [await server.addKey('write'), await server.addKey('read')]
    const as = (key: string) => ({ 'x-api-key': key })
    // how many keys there are is believed for a moment
    const app = await server.another({})
    try {
      const statusOf = async (body: unknown, key: string) => (await post(app, '/v1/jobs', body, as(key))).statusCode
      expect(await statusOf(anImport, read)).toBe(403)
      expect(await statusOf({ kind: 'import', input: { source: '/' } }, write)).toBe(403)
      expect(await statusOf({ kind: 'train-sae', input: { config: {} } }, write)).toBe(403)
      const made = await post(app, '/v1/jobs', anImport, as(write))
      expect(made.json().createdBy).toEqual(expect.any(String))
      expect((await app.inject({ method: 'DELETE', url: `/v1/jobs/${made.json().id}`, headers: as(read) })).statusCode).toBe(403)
      expect((await app.inject({ method: 'DELETE', url: `/v1/jobs/${made.json().id}`, headers: as(write) })).statusCode).toBe(200)
      expect((await get(app, `/v1/jobs/${made.json().id}/events`)).statusCode).toBe(401)
    } finally {
      for (const { id } of await server.catalog.apiKeys.list()) await server.catalog.apiKeys.revoke(id)
    }
  })
})

interface Sent {
  readonly id: string
  readonly event: string
  readonly data: Record<string, unknown>
}
const eventsOf = (text: string): Sent[] =>
  text
    .split('\n\n')
    .filter((block) => block.includes('data: '))
    .map((block) => Object.fromEntries(block.split('\n').map((line) => line.split(/: (.*)/s, 2) as [string, string])))
    .map(({ id, event, data }) => ({ id: id!, event: event!, data: JSON.parse(data!) }))

describe('the events of a job', () => {
  test('are its states and the lines of its log, and go on after the last one that was seen', async () => {
    const { id } = await make()
    const stream = await fetch(`http://${address}/v1/jobs/${id}/events`, { headers: { accept: 'text/event-stream' } })
    expect(stream.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    const whole = stream.text()
    await complete()
    const events = eventsOf(await whole)
    expect(events[0]).toMatchObject({ id: '0', event: 'job', data: { id, state: 'queued' } })
    expect(events.filter(({ event }) => event === 'line').map(({ id: number, data }) => [number, data.text])).toEqual([
      ['1', 'one'],
      ['2', 'two'],
    ])
    expect(events.at(-1)).toMatchObject({ id: '2', event: 'job', data: { state: 'succeeded', result: { model: 'x' } } })

    const again = await get(server.app, `/v1/jobs/${id}/events?after=0`, { 'last-event-id': '1' })
    expect(eventsOf(again.body).map(({ event, data }) => data.text ?? event)).toEqual(['two', 'job'])
    expect(eventsOf((await get(server.app, `/v1/jobs/${id}/events?after=2`)).body)).toHaveLength(1)
  })

  test('are refused like any request', async () => {
    const { id } = await make()
    expect((await get(server.app, `/v1/jobs/${id}/events?after=x`)).statusCode).toBe(400)
    expect((await get(server.app, `/v1/jobs/${id}/events?form=1`)).statusCode).toBe(400)
    expect((await get(server.app, `/v1/jobs/${id}/events`, { 'last-event-id': '-1' })).statusCode).toBe(400)
    expect((await get(server.app, `/v1/jobs/${id}/events`, { accept: 'image/png' })).statusCode).toBe(406)
    await server.app.inject({ method: 'DELETE', url: `/v1/jobs/${id}` })
  })

  test('of a job that goes on do not keep a server from closing', async () => {
    const { id } = await make()
    const other = await server.another({})
    await other.listen({ port: 0, host: '127.0.0.1' })
    const stream = await fetch(`http://127.0.0.1:${(other.server.address() as AddressInfo).port}/v1/jobs/${id}/events`)
    const reader = stream.body!.getReader()
    await reader.read()
    await other.close()
    while (!(await reader.read()).done);
    await server.app.inject({ method: 'DELETE', url: `/v1/jobs/${id}` })
  })
})

describe('a job over GraphQL', () => {
  test('is made, found, listed, cancelled and resumed', async () => {
    const create = 'mutation ($input: NewJobInput!) { createJob(input: $input) { id kind state input result error { code } } }'
    const { data } = await graphql(server.app, create, { input: { kind: 'import', input: anImport.input } })
    expect(data.createJob).toMatchObject({ kind: 'import', state: 'queued', input: anImport.input, result: null, error: null })
    const { id } = data.createJob
    expect((await graphql(server.app, `mutation { cancelJob(id: "${id}") { state } }`)).data.cancelJob.state).toBe('cancelled')
    expect((await graphql(server.app, `mutation { resumeJob(id: "${id}") { state } }`)).data.resumeJob.state).toBe('queued')
    await complete()
    const read = `{ job(id: "${id}") { state result finishedAt } jobLog(id: "${id}") { nLines lines { text } }
      jobs(first: 1, state: succeeded) { totalCount edges { node { id } } } node(id: "${id}") { __typename id } }`
    const answer = await graphql(server.app, read)
    expect(answer.errors).toEqual([])
    expect(answer.data).toMatchObject({
      job: { state: 'succeeded', result: { model: 'x' } },
      jobLog: { nLines: 2, lines: [{ text: 'one' }, { text: 'two' }] },
      jobs: { edges: [{ node: { id } }] },
      node: { __typename: 'Job', id },
    })
  })

  const connect = (headers: Record<string, string> = {}) =>
    createClient({
      url: `ws://${address}/graphql`,
      webSocketImpl: class extends WebSocket {
        constructor(url: string, protocols: string[]) {
          super(url, protocols, { headers })
        }
      },
      retryAttempts: 0,
    })

  test('is followed by a subscription over graphql-transport-ws', async () => {
    const { id } = await make()
    const client = connect()
    const events: Record<string, { state?: string; text?: string } | null>[] = []
    const following = (async () => {
      const query = 'subscription ($id: String!) { jobEvents(id: $id) { job { state progress } line { number text } } }'
      for await (const { data } of client.iterate({ query, variables: { id } })) {
        events.push((data as { jobEvents: (typeof events)[number] }).jobEvents)
        if (events.length === 1) await complete()
      }
    })()
    await following
    expect(events[0]).toMatchObject({ job: { state: 'queued' }, line: null })
    expect(events.flatMap(({ line }) => line?.text ?? [])).toEqual(['one', 'two'])
    expect(events.at(-1)).toMatchObject({ job: { state: 'succeeded', progress: 1 } })
    await client.dispose()
  })

  test('is not followed where it is none, with fields that are none, or by anything but a subscription', async () => {
    const client = connect()
    const refusal = async (query: string) => {
      try {
        for await (const { errors } of client.iterate({ query })) if (errors) return errors
      } catch (errors) {
        if (!Array.isArray(errors)) throw errors
        return errors as { message: string; extensions?: { code: string } }[]
      }
      return []
    }
    expect((await refusal('subscription { jobEvents(id: "none") { job { state } } }'))[0]).toMatchObject({
      extensions: { code: 'JOB_UNKNOWN' },
    })
    expect((await refusal('subscription { jobEvents(id: "none") { nothing } }'))[0]!.message).toMatch(/nothing/)
    expect((await refusal('{ capabilities { version } }'))[0]!.message).toMatch(/Only subscriptions/)
    expect((await refusal(`subscription { ${'a { '.repeat(30)} b ${'}'.repeat(31)}`))[0]).toMatchObject({
      extensions: { code: 'LIMIT_EXCEEDED' },
    })
    await client.dispose()
  })

  test('is not followed by a page of elsewhere, or without a key where keys are used', async () => {
    const refused = async (headers: Record<string, string>) => {
      const socket = new WebSocket(`ws://${address}/graphql`, 'graphql-transport-ws', { headers })
      const [, response] = await Promise.race([
        once(socket, 'unexpected-response'),
        once(socket, 'open').then(() => [undefined, { statusCode: 101 }]),
      ])
      socket.on('error', () => {})
      socket.terminate()
      return (response as { statusCode: number }).statusCode
    }
    expect(await refused({ origin: 'https://elsewhere.example' })).toBe(403)
    expect(await refused({})).toBe(101)
  })
})
