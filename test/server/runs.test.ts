/** Saved runs: the same content is the same id, and the answer can be computed again from what is stored. */

import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { importSae } from '../../src/catalog/import/import-sae.js'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { describeSae } from '../../src/engine/saes/load-sae.js'
import { NPZ } from '../../src/server/negotiate.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { countingStatements } from './counting-statements.js'
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
/** Requests of the other kinds, and where they are asked. */
async function longer(): Promise<Readonly<Record<string, { path: string; body: object }>>> {
  const other = { base64: (await picture(9)).toString('base64') }
  const pair = { model: clip, clean: [image], corrupted: [other], metric: { kind: 'score', target: { text: 'a cat' } } }
  const sweep = {
    ...{ model: clip, inputs: [{ image: other }], controlImages: [image], strengths: [-1, 2], controls: 2 },
    ...{ directions: [{ vector: { sae, feature: 4 } }], classify: { labels: ['a cat', 'a dog'] } },
  }
  const senders = [{ component: 'head', layer: 0, head: 1 }]
  return {
    steerSweep: { path: '/v1/steer/sweep', body: sweep },
    patching: { path: '/v1/patching', body: { ...pair, over: 'features', sae, features: [4, 5] } },
    pathPatching: { path: '/v1/patching/paths', body: { ...pair, senders, receivers: [{ component: 'output' }] } },
  }
}
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

  test.each(['steerSweep', 'patching', 'pathPatching'])('may be of kind %s, with files in the place of pictures', async (kind) => {
    const { path, body } = (await longer())[kind]!
    const saved = await save(kind, body)
    expect(saved.json()).toMatchObject({ kind, model: clip, isCurrent: true })
    expect(JSON.stringify(saved.json().input)).not.toMatch(/base64/)
    const { id } = saved.json()
    const [result, direct] = [(await get(server.app, `/v1/runs/${id}/result`)).json()[kind], (await post(server.app, path, body)).json()]
    // what was measured is of the very run
    expect({ ...result, estimate: null }).toEqual({ ...direct, estimate: null })
    const [npz, own] = await Promise.all([
      get(server.app, `/v1/runs/${id}/result`, { accept: NPZ }),
      post(server.app, path, body, { accept: NPZ }),
    ])
    expect(await readNpz(bytesSource(npz.rawPayload), 'run')).toEqual(await readNpz(bytesSource(own.rawPayload), 'run'))
  })

  test('names the SAEs of directions and of features', async () => {
    for (const kind of ['steerSweep', 'patching']) {
      expect((await save(kind, (await longer())[kind]!.body)).json().weights.saes, kind).toMatchObject([{ sae }])
    }
  })

  test('of a sweep keeps a stored vector with its name and its place', async () => {
    const values = Array.from({ length: 16 }, (_, at) => 1 - at / 8)
    await post(server.app, '/v1/vectors', { id: 'ramp', model: clip, hookPoint: resid, values })
    const { body } = (await longer()).steerSweep!
    const { input: kept } = (await save('steerSweep', { ...body, directions: [{ vector: { id: 'ramp' } }] })).json()
    expect(kept.directions).toEqual([{ vector: values, hookPoint: resid, label: 'ramp' }])
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
    const weightsSha256 = 'f'.repeat(64)
    const changed = { ...found, download: { ...found.download!, weightsSha256 } }
    const saes = Object.assign(Object.create(server.catalog.saes), { get: async () => changed })
    const other = await server.another({ catalog: { saes } })
    const put = (data: object) => server.catalog.prisma.sae.update({ where: { id: sae }, data })
    const isCurrent = async () => {
      const { items } = (await get(other, '/v1/runs?limit=100')).json()
      const [one, listed] = [(await get(other, `/v1/runs/${id}`)).json(), items.find((each: { id: string }) => each.id === id)]
      expect(listed.isCurrent).toBe(one.isCurrent)
      return one.isCurrent
    }
    expect(await isCurrent()).toBe(true)
    await put({ weightsSha256 })
    expect(await isCurrent()).toBe(false)
    await put({ weightsSha256: found.download!.weightsSha256 })
    await server.catalog.prisma.model.update({ where: { id: clip }, data: { processing: ['fold_ln'] } })
    expect(await isCurrent()).toBe(false)
    await server.catalog.prisma.model.update({ where: { id: clip }, data: { processing: [] } })
    expect(await isCurrent()).toBe(true)
    const refusal = await get(other, `/v1/runs/${id}/result`)
    expect(refusal.json()).toMatchObject({
      code: 'RUN_OUTDATED',
      status: 409,
      detail: expect.stringMatching(/gated" has other weights now/),
    })
  })
})

describe('saved runs', () => {
  const list = async (query: string) => (await get(server.app, `/v1/runs?${query}`)).json()

  test('are listed by pages, newest first, and by kind and model', async () => {
    const ids: string[] = []
    for (const topK of [1, 2, 3]) ids.push((await save('forward', input({ topK }))).json().id)
    ids.push((await save('steer', input({ topK: 1 }))).json().id)
    const all = await list('limit=100')
    expect(all.items).toHaveLength(all.totalCount)
    expect(all.items.map(({ id }: { id: string }) => id)).toEqual(expect.arrayContaining(ids))
    const times = all.items.map(({ createdAt }: { createdAt: string }) => createdAt)
    expect(times).toEqual([...times].sort().reverse())
    expect(Object.keys(all.items[0]).sort()).toEqual(['codeVersion', 'createdAt', 'id', 'isCurrent', 'kind', 'model'])
    const pages: string[] = []
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page = await list(`limit=2${cursor && `&cursor=${cursor}`}`)
      pages.push(...page.items.map(({ id }: { id: string }) => id))
      cursor = page.nextCursor
    }
    expect(pages).toEqual(all.items.map(({ id }: { id: string }) => id))
    const steered = await list(`kind=steer&model=${clip}`)
    expect(steered.totalCount).toBeGreaterThan(0)
    expect(steered.items.every(({ kind }: { kind: string }) => kind === 'steer')).toBe(true)
    expect(await list('model=nothing')).toMatchObject({ items: [], nextCursor: null, totalCount: 0 })
    expect(await list('cursor=abc')).toMatchObject({ code: 'CURSOR_INVALID' })
    expect(await list('kind=features')).toMatchObject({ code: 'INPUT_INVALID' })
  })

  test('are listed in three statements, however many there are, over both doors', async () => {
    for (const topK of [4, 5, 6]) await save('steer', input({ topK }))
    const overRest = await countingStatements(async () => {
      expect((await list('limit=100')).items.length).toBeGreaterThan(3)
    })
    const query = '{ runs(first: 100) { totalCount edges { node { id isCurrent } } } }'
    const overGraphql = await countingStatements(async () => {
      const { edges } = (await graphql(server.app, query)).data.runs
      expect(edges.map(({ node }: { node: { isCurrent: boolean } }) => node.isCurrent)).toContain(true)
    })
    // the page, how many there are, and which of them are current
    for (const statements of [overRest, overGraphql]) expect(statements, statements.join('\n')).toHaveLength(3)
  })

  test('are the same lists over GraphQL', async () => {
    const query = `query ($after: String) { runs(first: 2, after: $after, kind: forward) { totalCount edges { cursor node { id kind isCurrent } } pageInfo { hasNextPage endCursor } } }`
    const first = (await graphql(server.app, query, {})).data.runs
    const next = (await graphql(server.app, query, { after: first.pageInfo.endCursor })).data.runs
    const rest = await list('kind=forward&limit=4')
    expect([...first.edges, ...next.edges].map(({ node }) => node.id)).toEqual(rest.items.map(({ id }: { id: string }) => id))
    expect(first.totalCount).toBe(rest.totalCount)
  })

  test('are forgotten when they are deleted, over both doors', async () => {
    const remove = (id: string) => server.app.inject({ method: 'DELETE', url: `/v1/runs/${id}` })
    const saved = (await save('forward', input({ topK: 7 }))).json()
    expect((await remove(saved.id)).json()).toEqual(saved)
    expect((await get(server.app, `/v1/runs/${saved.id}`)).json()).toMatchObject({ code: 'RUN_UNKNOWN' })
    expect((await remove(saved.id)).json()).toMatchObject({ code: 'RUN_UNKNOWN', status: 404 })
    expect((await save('forward', input({ topK: 7 }))).json().id).toBe(saved.id)
    const mutation = 'mutation ($id: ID!) { deleteRun(id: $id) { id input } }'
    const { data } = await graphql(server.app, mutation, { id: saved.id })
    expect(data.deleteRun).toEqual({ id: saved.id, input: saved.input })
    expect((await get(server.app, `/v1/runs/${saved.id}/result`)).json()).toMatchObject({ code: 'RUN_UNKNOWN' })
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
    ['another kind', 'features', {}, 'INPUT_INVALID', /"features" is not one of "forward", "steer"/],
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

  test('a sweep in multiples of what an index has seen, and every picture of it that is not there', async () => {
    const { body } = (await longer()).steerSweep!
    const vector = { difference: { of: [`sha256:${'1'.repeat(64)}`], from: [image] } }
    const refusal = await save('patching', { ...(await longer()).patching!.body, clean: [`sha256:${'0'.repeat(64)}`] })
    expect(refusal.json()).toMatchObject({ code: 'IMAGE_UNKNOWN', errors: [{ path: 'clean[0]' }] })
    const missing = (await save('forward', input({ edits: [{ hookPoint: resid, op: 'add', vector }] }))).json()
    expect(missing.errors[0].path).toMatch(/^edits\[0\]\.vector/)
    expect((await save('steerSweep', { ...body, unit: 'maxActivation' })).json().code).toMatch(/FEATURES_UNKNOWN|INPUT_INVALID/)
  })

  test('an id that nothing has', async () => {
    for (const id of [`run-${'0'.repeat(32)}`, 'nothing']) {
      expect((await get(server.app, `/v1/runs/${id}`)).json()).toMatchObject({ code: 'RUN_UNKNOWN', status: 404 })
      expect((await get(server.app, `/v1/runs/${id}/result`)).json()).toMatchObject({ code: 'RUN_UNKNOWN' })
    }
  })
})
