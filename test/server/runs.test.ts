/** Saved runs: the same content is the same id, and the answer can be computed again from what is stored. */

import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { importSae } from '../../src/catalog/import/import-sae.js'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { describeSae } from '../../src/engine/saes/load-sae.js'
import { NPZ } from '../../src/server/negotiate.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { get, graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { clip } = testModels
const resid = 'blocks.1.hook_resid_post'
const sae = `${clip}.1-resid-post.gated`

let server: TestServer
let image: string
beforeAll(async () => {
  server = await startTestServer()
  image = (await upload(server.app, await picture(1))).json().id
  await importSae({
    ...{ source: path.join(featureFolder, 'gated'), id: sae, model: clip, catalog: server.catalog },
    config: { dataDir: server.config.dataDir, hubEndpoint: '', hubToken: '', hubHome: '', hubCache: '' },
    inspectSae: (source) => describeSae(source.folder, { overrides: source.overrides }),
  })
})
afterAll(() => server.close())

const edits = [{ op: 'feature-add', sae, features: [{ feature: 4, strength: 2 }] }]
const input = (more: object = {}) => ({ model: clip, inputs: [{ image }], edits, classify: { labels: ['a cat', 'a dog'] }, ...more })
const save = (kind: string, body: object) => post(server.app, '/v1/runs', { kind, input: body })

describe('a saved run', () => {
  test.each(['forward', 'steer'])('of kind %s answers what the request answers', async (kind) => {
    const saved = await save(kind, input())
    expect(saved.statusCode).toBe(201)
    const { id, weights, isCurrent } = saved.json()
    expect(saved.headers.location).toBe(`/v1/runs/${id}`)
    expect(weights).toMatchObject({
      model: expect.stringMatching(/^[0-9a-f]{64}$/),
      saes: [{ sae, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) }],
    })
    expect(isCurrent).toBe(true)
    expect((await get(server.app, `/v1/runs/${id}`)).json()).toEqual(saved.json())
    const result = await get(server.app, `/v1/runs/${id}/result`)
    const direct = await post(server.app, `/v1/${kind}`, input())
    expect(result.json()[kind]).toEqual(direct.json())
    expect(result.json()[kind === 'steer' ? 'forward' : 'steer']).toBeNull()
    const npz = await get(server.app, `/v1/runs/${id}/result`, { accept: NPZ })
    expect((await readNpz(bytesSource(npz.rawPayload), 'run')).size).toBeGreaterThan(0)
  })

  test('is the same whatever the order of its fields and however its answer is written, and another when anything else differs', async () => {
    const { id } = (await save('forward', input())).json()
    const { edits: last, ...first } = input()
    expect((await save('forward', { ...first, encoding: 'base64', edits: last })).json().id).toBe(id)
    const others = [await save('forward', input({ topK: 3 })), await save('steer', input())]
    expect(new Set([id, ...others.map((each) => each.json().id)]).size).toBe(3)
  })

  test('keeps pictures, vectors and units as they were', async () => {
    const bytes = await picture(7)
    const values = Array.from({ length: 16 }, (_, at) => at / 16)
    await post(server.app, '/v1/vectors', { id: 'slope', model: clip, hookPoint: resid, values })
    const asked = input({
      inputs: [{ image: { base64: bytes.toString('base64') } }],
      edits: [{ hookPoint: resid, op: 'add', vector: { id: 'slope' } }],
    })
    const { id, input: kept } = (await save('forward', asked)).json()
    expect(kept.inputs[0].image).toMatch(/^sha256:/)
    expect(kept.edits[0].vector).toEqual(values)
    const before = (await get(server.app, `/v1/runs/${id}/result`)).json()
    await server.app.inject({ method: 'DELETE', url: '/v1/vectors/slope' })
    expect((await get(server.app, `/v1/runs/${id}/result`)).json()).toEqual(before)
  })

  test('is there over GraphQL', async () => {
    const mutation = `mutation ($input: SaveRunInput!) { createRun(input: $input) { id kind model input isCurrent } }`
    const { data, errors } = await graphql(server.app, mutation, { input: { kind: 'forward', input: input() } })
    expect(errors).toEqual([])
    expect(data.createRun.id).toBe((await save('forward', input())).json().id)
    const query = `query ($id: ID!) { run(id: $id) { input } runResult(id: $id) { kind forward { classes { label logit } } steer { model } } }`
    const answer = await graphql(server.app, query, { id: data.createRun.id })
    expect(answer.errors).toEqual([])
    expect(answer.data.run.input.edits).toEqual(edits)
    expect(answer.data.runResult).toMatchObject({ kind: 'forward', steer: null })
    expect(answer.data.runResult.forward.classes[0]).toHaveLength(2)
  })

  test('is not computed again from other weights', async () => {
    const { id } = (await save('forward', input())).json()
    const found = (await server.catalog.saes.get(sae))!
    const changed = { ...found, download: { ...found.download!, weightsSha256: 'f'.repeat(64) } }
    const saes = Object.assign(Object.create(server.catalog.saes), { get: async () => changed })
    const other = await server.another({ catalog: { saes } })
    expect((await get(other, `/v1/runs/${id}`)).json().isCurrent).toBe(false)
    const refusal = await get(other, `/v1/runs/${id}/result`)
    expect(refusal.json()).toMatchObject({
      code: 'RUN_OUTDATED',
      status: 409,
      detail: expect.stringMatching(/gated" has other weights now/),
    })
  })
})

describe('is refused:', () => {
  test.each<[string, string, object, string, RegExp]>([
    [
      'what the request itself would be',
      'forward',
      { edits: [{ ...edits[0], features: [{ feature: 99, strength: 1 }] }] },
      'EDIT_INVALID',
      /out of range/,
    ],
    ['a picture that is not there', 'forward', { inputs: [{ image: `sha256:${'0'.repeat(64)}` }] }, 'IMAGE_UNKNOWN', /no image/],
    ['another kind', 'sweep', {}, 'INPUT_INVALID', /"sweep" is not one of "forward", "steer"/],
  ])('%s', async (_what, kind, more, code, message) => {
    const refusal = (await save(kind, input(more))).json()
    expect(refusal.code).toBe(code)
    expect(`${refusal.detail} ${JSON.stringify(refusal.errors)}`.replaceAll('\\', '')).toMatch(message)
  })

  test('a patch from a cached run, which is forgotten', async () => {
    const { cache } = (await post(server.app, '/v1/forward', { model: clip, inputs: [{ image }], read: [resid] })).json()
    const patch = { hookPoint: resid, op: 'patch', from: { cache } }
    expect((await save('forward', input({ edits: [patch] }))).json()).toMatchObject({
      code: 'INPUT_INVALID',
      errors: [{ path: 'edits[0].from.cache', message: expect.stringMatching(/can be kept/) }],
    })
  })

  test('an id that nothing has', async () => {
    for (const id of [`run-${'0'.repeat(32)}`, 'nothing']) {
      expect((await get(server.app, `/v1/runs/${id}`)).json()).toMatchObject({ code: 'RUN_UNKNOWN', status: 404 })
      expect((await get(server.app, `/v1/runs/${id}/result`)).json()).toMatchObject({ code: 'RUN_UNKNOWN' })
    }
  })
})
