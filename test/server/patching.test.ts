/** Activation patching and path patching over REST and GraphQL. */

import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { importSae } from '../../src/catalog/import/import-sae.js'
import { bytesSource } from '../../src/engine/io/byte-source.js'
import { readNpz } from '../../src/engine/io/npz.js'
import { describeSae } from '../../src/engine/saes/load-sae.js'
import { NPZ, SVG } from '../../src/server/negotiate.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const { clip, classifier } = testModels
const sae = `${clip}.1-resid-post.gated`

let server: TestServer
let images: string[]
beforeAll(async () => {
  server = await startTestServer()
  images = await Promise.all([1, 2, 3, 4].map(async (seed) => (await upload(server.app, await picture(seed))).json().id))
  const hub = { hubEndpoint: '', hubToken: '', hubHome: '', hubCache: '' }
  await importSae({
    ...{ source: path.join(featureFolder, 'gated'), id: sae, model: clip, catalog: server.catalog },
    config: { dataDir: server.config.dataDir, ...hub },
    inspectSae: (each) => describeSae(each.folder, { overrides: each.overrides }),
  })
})
afterAll(() => server.close())

const difference = { kind: 'score', target: { difference: [{ text: 'a cat' }, { text: 'a dog' }] } }
const pairs = () => ({ model: clip, clean: images.slice(0, 2), corrupted: images.slice(2, 4), metric: difference })
const flat = (data: unknown): number[] => (data as unknown[]).flat(9) as number[]

async function ask(more: object, url = '/v1/patching') {
  const response = await post(server.app, url, { ...pairs(), ...more })
  expect(response.json()).not.toHaveProperty('code')
  return response.json()
}

async function refused(body: object, url = '/v1/patching'): Promise<Record<string, string>> {
  const response = await post(server.app, url, { ...pairs(), ...body })
  expect(response.statusCode).toBe(400)
  const { detail, errors = [{ path: '', message: detail }] } = response.json()
  return Object.fromEntries(errors.map(({ path: at, message }: { path: string; message: string }) => [at, message]))
}

describe('POST /v1/patching', () => {
  test('answers a grid of heads, from 0 for the corrupted run to 1 for the clean one', async () => {
    const answer = await ask({ methods: ['patching', 'attribution'] })
    expect(answer.metric).toBe('a cat minus a dog')
    expect(answer.axes.map(({ name }: { name: string }) => name)).toEqual(['layer', 'head'])
    const [layers, heads] = answer.axes.map(({ labels }: { labels: string[] }) => labels.length)
    const [real, linear] = answer.grids
    expect(real.method).toBe('patching')
    expect(real.values.shape).toEqual([2, layers, heads])
    const [clean, corrupted] = [flat(answer.clean.data), flat(answer.corrupted.data)]
    const [values, normalized] = [flat(real.values.data), flat(real.normalized.data)]
    for (const [at, value] of values.entries()) {
      const pair = Math.floor(at / (layers! * heads!))
      expect(normalized[at]).toBeCloseTo((value - corrupted[pair]!) / (clean[pair]! - corrupted[pair]!), 3)
    }
    expect(real.mean.shape).toEqual([layers, heads])
    expect(linear.method).toBe('attribution')
    expect(answer.correlations).toEqual([{ method: 'attribution', pearson: expect.any(Number), spearman: expect.any(Number) }])
    expect(answer.correlations[0].pearson).toBeGreaterThan(0.5)
  })

  test('is at its ends when everything of a layer is patched, whichever way', async () => {
    for (const [direction, end] of [
      ['denoise', 1],
      ['noise', 0],
    ] as const) {
      const answer = await ask({ over: 'components', components: ['resid_pre'], direction })
      for (const value of flat(answer.grids[0].normalized.data)) expect(value).toBeCloseTo(end, 2)
    }
  })

  test('makes corrupted pictures of the clean ones: noise by a seed, blur, masks, a mean', async () => {
    const corruptions = [
      { kind: 'noise', strength: 0.5, seed: 3 },
      { kind: 'blur', radius: 2 },
      { kind: 'mask', patches: [{ row: 0, col: 1 }] },
      { kind: 'mean', images: images.slice(2) },
    ]
    for (const corruption of corruptions) {
      const request = { model: clip, clean: images.slice(0, 1), metric: { kind: 'cosine' }, corruption, over: 'components', layers: [0] }
      const [one, again] = await Promise.all([request, request].map(async (body) => (await post(server.app, '/v1/patching', body)).json()))
      expect(one.corrupted.data[0]).toBeLessThan(1)
      expect(again).toEqual(one)
    }
  })

  test('patches features of an SAE, and patches of the picture', async () => {
    const features = await ask({ over: 'features', sae, features: [0, 4, 7], methods: ['patching', 'integrated-gradients'] })
    expect(features.axes).toEqual([{ name: 'feature', labels: ['0', '4', '7'] }])
    expect(features.grids[0].values.shape).toEqual([2, 3])
    expect(features.completeness).toHaveLength(2)
    for (const { sum, difference: whole, remainder } of features.completeness) expect(remainder).toBeCloseTo(whole - sum, 6)
    const patches = await ask({ over: 'patches', methods: ['integrated-gradients'], steps: 24 })
    expect(patches.axes.map(({ name }: { name: string }) => name)).toEqual(['row', 'column'])
    for (const { difference: whole, remainder } of patches.completeness)
      expect(Math.abs(remainder)).toBeLessThan(0.02 * Math.abs(whole) + 1e-3)
  })

  test('judges by probability and divergence over labels, or over own classes', async () => {
    const classify = { labels: ['a cat', 'a dog', 'a flag'] }
    const chance = await ask({ metric: { kind: 'probability', target: { text: 'a dog' } }, classify })
    for (const value of flat(chance.grids[0].values.data)) expect(value > 0 && value < 1).toBe(true)
    const kl = await ask({ metric: { kind: 'kl' }, classify })
    for (const value of flat(kl.clean.data)) expect(value).toBeCloseTo(0, 4)
    const own = await ask({ model: classifier, metric: { kind: 'probability', target: { class: 1 } } })
    expect(own.grids[0].values.shape[0]).toBe(2)
  })

  test('ablates the clean run by means and by pictures that are drawn, without a corrupted one', async () => {
    const request = { model: clip, clean: images.slice(0, 1), metric: difference, direction: 'noise' }
    for (const source of [
      { kind: 'mean', images: images.slice(1) },
      { kind: 'resample', images: images.slice(1), draws: 3, seed: 5 },
    ]) {
      const answer = (await post(server.app, '/v1/patching', { ...request, source, plot: true })).json()
      expect(answer.corrupted).toBeNull()
      expect(answer.grids[0].normalized).toBeNull()
      expect(answer.plot).toContain('change')
    }
  })

  test('comes as npz and as a picture', async () => {
    const npz = await post(server.app, '/v1/patching', pairs(), { accept: NPZ })
    expect([...(await readNpz(bytesSource(npz.rawPayload), 'patching.npz')).keys()]).toEqual([
      'clean',
      'corrupted',
      'patching',
      'patching.normalized',
      'patching.mean',
    ])
    const svg = await post(server.app, '/v1/patching', { ...pairs(), over: 'positions' }, { accept: SVG })
    expect(svg.headers['content-type']).toContain(SVG)
    expect(svg.payload).toContain('<title>Activation patching</title>')
    expect(svg.payload).toContain('a cat minus a dog')
  })

  test('gives the same numbers over GraphQL', async () => {
    const rest = await ask({})
    const query = `query ($input: PatchingInput!) { patching(input: $input) { metric axes { name labels } grids { method values { shape data } } } }`
    const { data, errors } = await graphql(server.app, query, { input: pairs() })
    expect(errors).toEqual([])
    expect(data.patching.grids[0].values.data).toEqual(rest.grids[0].values.data)
  })
})

describe('a grid that makes no sense', () => {
  test('is refused with everything that is wrong with it', async () => {
    expect(await refused({ corrupted: images.slice(0, 1), over: 'patches', layers: [0], sae, steps: 3 })).toEqual({
      corrupted: 'has 1 pictures and "clean" 2; they are pairs',
      layers: 'is for "heads" and "components" and "positions"; this grid is over "patches"',
      sae: 'is for "features"; this grid is over "patches"',
      steps: 'is for the method "integrated-gradients"',
    })
  })

  test.each([
    ['corrupted and how to make it', { corruption: { kind: 'blur' } }, 'corruption'],
    ['nothing to put in', { corrupted: undefined }, 'corrupted'],
    ['a layer that is not there', { layers: [99] }, 'layers[0]'],
    ['a position that is not there', { positions: [0, 999] }, 'positions[1]'],
    ['features without an SAE', { over: 'features', features: [1] }, 'sae'],
    ['a feature that is not there', { over: 'features', sae, features: [4, 99_999] }, 'features[1]'],
    ['a divergence over nothing', { metric: { kind: 'kl' } }, 'classify'],
    ['labels that nobody asks for', { classify: { labels: ['x'] } }, 'classify'],
    [
      'the probability of a difference',
      { metric: { ...difference, kind: 'probability' }, classify: { labels: ['a cat'] } },
      'metric.target',
    ],
    [
      'an answer that is not one of the labels',
      { metric: { kind: 'probability', target: { text: 'a cow' } }, classify: { labels: ['a cat'] } },
      'metric.target.text',
    ],
    ['a class of a model without classes', { metric: { kind: 'score', target: { class: 3 } } }, 'metric.target.class'],
    [
      'a mask beside the picture',
      { corrupted: undefined, corruption: { kind: 'mask', patches: [{ row: 99, col: 0 }] } },
      'corruption.patches[0]',
    ],
  ] as const)('names %s', async (_, body, at) => {
    expect(Object.keys(await refused(body))).toContain(at)
  })

  test('says how many runs are too many', async () => {
    const source = { kind: 'resample', images, draws: 1000 }
    const response = await post(server.app, '/v1/patching', { ...pairs(), over: 'positions', components: ['resid_pre', 'mlp_out'], source })
    expect(response.json()).toMatchObject({ code: 'LIMIT_EXCEEDED' })
    expect(response.json().detail).toContain('runs of the model')
  })
})

describe('POST /v1/patching/paths', () => {
  const ends = {
    senders: [{ component: 'head', layer: 0, head: 1 }, { component: 'embed' }],
    receivers: [{ component: 'head', layer: 1, head: 0, inputs: ['q'] }, { component: 'output' }],
  }

  test('answers what senders say to receivers', async () => {
    const answer = await ask({ ...ends, plot: true }, '/v1/patching/paths')
    expect([answer.senders, answer.receivers]).toEqual([
      ['L0H1', 'embed'],
      ['L1H0.q', 'output'],
    ])
    expect(answer.values.shape).toEqual([2, 2, 2])
    expect(answer.plot).toContain('sender embed, receiver output')
  })

  test('over all paths from a head is the patched head', async () => {
    const paths = await ask({ senders: [ends.senders[0]], receivers: [ends.receivers[1]], throughAll: true }, '/v1/patching/paths')
    const grid = await ask({ layers: [0] })
    for (const pair of [0, 1]) expect(paths.values.data[pair][0][0]).toBeCloseTo(grid.grids[0].values.data[pair][0][1], 4)
  })

  test('refuses a receiver that comes before its sender, and two ways to say what is between', async () => {
    const body = {
      senders: [{ component: 'mlp', layer: 1 }],
      receivers: [{ component: 'attn', layer: 1 }],
      through: [{ component: 'embed' }],
      throughAll: true,
    }
    expect(Object.keys(await refused(body, '/v1/patching/paths')).toSorted()).toEqual(['receivers[0]', 'through'])
  })
})
