/** Files that jobs left, over REST. */

import { afterAll, beforeAll, expect, test } from 'vitest'
import { putArtifacts } from '../../src/operations/jobs/artifacts.js'
import { startTestServer, type TestServer } from './test-server.js'

let server: TestServer
let job: string
beforeAll(async () => {
  server = await startTestServer()
  const { catalog } = server
  const artifacts = await putArtifacts(catalog.blobs, { 'report.json': '{"a":1}\n', 'l0.svg': '<svg/>', 'metrics.csv': 'a,b\r\n' })
  const { jobs, jobLeases, places } = catalog
  const kind = 'evaluate'
  job = (await jobs.create({ kind, input: {}, lane: 'compute', place: places.dataFolder, uses: [] })).job.id
  const take = async () =>
    (await jobLeases.claim({ worker: 'test', leaseMs: 60_000, lane: 'compute', places: [places.dataFolder], kinds: [kind] }))!
  await jobLeases.commitPlan(await take(), [null])
  await jobLeases.commitPart(await take(), { json: null })
  await jobLeases.commitResult(await take(), { artifacts })
})
afterAll(() => server.close())

const read = (name: string, headers: Record<string, string> = {}) =>
  server.app.inject({ method: 'GET', url: `/v1/jobs/${job}/artifacts/${name}`, headers })

test.each([
  ['report.json', 'application/json', '{"a":1}\n'],
  ['l0.svg', 'image/svg+xml', '<svg/>'],
  ['metrics.csv', 'text/csv; charset=utf-8', 'a,b\r\n'],
])('%s comes as what it is, and is kept', async (name, type, text) => {
  const answer = await read(name)
  expect([answer.statusCode, answer.headers['content-type'], answer.body]).toEqual([200, expect.stringContaining(type), text])
  expect(answer.headers['cache-control']).toContain('immutable')
  const again = await read(name, { 'if-none-match': answer.headers.etag as string })
  expect([again.statusCode, again.body]).toEqual([304, ''])
})

test('a name that there is none of is refused with the nearest', async () => {
  const answer = await read('report.jsn')
  expect(answer.statusCode).toBe(404)
  expect(answer.json()).toMatchObject({ code: 'ARTIFACT_UNKNOWN', detail: expect.stringMatching(/"report\.json"/) })
  expect((await read('..%2f..%2fsecret')).statusCode).toBe(404)
  expect((await server.app.inject({ method: 'GET', url: '/v1/jobs/nothing/artifacts/report.json' })).json().code).toBe('JOB_UNKNOWN')
})

test('a client that wants something else is told', async () => {
  expect((await read('l0.svg', { accept: 'image/png' })).statusCode).toBe(406)
  expect((await server.app.inject({ method: 'GET', url: `/v1/jobs/${job}/artifacts/l0.svg?size=3` })).statusCode).toBe(400)
})
