/** Pictures of an SAE's features: what the engine computes over what an index found, as files that clients keep. */

import path from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type FeatureExample, type FeatureRecord, featureStatistics } from '../../src/engine/evaluation/feature-record.js'
import { anSae } from '../catalog/an-sae.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { get, graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

let server: TestServer
const images: string[] = []
const SAE = `${testModels.clip}.tests.relu`
const CLS_ONLY = `${testModels.clip}.tests.published`
const FEATURE = 3
let examples: FeatureExample[]

/** How active a feature is over an image, by the operation that reads it anew. */
async function activationsOf(image: string, feature = FEATURE) {
  const response = await post(server.app, '/v1/heatmap', { image, of: { sae: SAE, feature } }, { accept: 'application/json' })
  expect(response.statusCode).toBe(200)
  return response.json() as { values: { shape: number[]; data: number[][] }; cls: number; hookPoint: string; model: string }
}

const record = (index: number, change: Partial<FeatureRecord> = {}): FeatureRecord => ({
  ...(Object.fromEntries(featureStatistics.map((name) => [name, null])) as Record<(typeof featureStatistics)[number], null>),
  index,
  ...{ histogram: { firstBin: 0, counts: [] }, imageHistogram: { firstBin: 0, counts: [] }, examples: [] },
  ...{ labels: [], neighbours: [], coactive: [], classEffects: [], wordEffects: [] },
  ...change,
})

beforeAll(async () => {
  server = await startTestServer()
  const { catalog, host } = server
  for (let seed = 1; seed <= 5; seed++) images.push((await upload(server.app, await picture(seed, { width: 40, height: 30 }))).json().id)
  await catalog.baseModels.ensure(testModels.clip)
  const folder = path.join(featureFolder, 'relu')
  const description = await host.inspectSae({ key: SAE, folder, overrides: {} })
  const { config } = description
  const download = {
    ...{ folder, files: [{ path: 'weights.pt', bytes: 1, sha256: 'd'.repeat(64) }], weightsSha256: 'd'.repeat(64), weightBytes: 1 },
    description,
  }
  const about = { modelId: testModels.clip, hookPointIn: config.hookPoint, hookPointOut: config.hookPoint, width: config.dSae }
  await catalog.saes.create(anSae({ id: SAE, ...about, dIn: config.dIn, dOut: config.dOut, download }))
  await catalog.saes.create(
    anSae({
      id: CLS_ONLY,
      ...about,
      isPublished: true,
      provenance: { kind: 'hub', repo: 'someone/sae', revision: null, requestedRevision: null, endpoint: null },
    }),
  )

  const dataset = { id: 'five-pictures', name: 'Five pictures', hash: 'e'.repeat(64) }
  const items = [
    ...images.map((imageId, index) => ({ name: `${index}.png`, imageId, label: null })),
    { name: 'lost.png', imageId: null, label: null },
  ]
  await catalog.datasets.register({ ...dataset, classNames: [], description: null, license: null, items })

  const scores = await Promise.all(images.map(async (image) => Math.max(...(await activationsOf(image)).values.data.flat())))
  examples = scores
    .map((score, item): FeatureExample => ({ kind: 'top', token: 'patch', item, score, position: 1 }))
    .sort((a, b) => b.score - a.score)
  const others: FeatureExample[] = [
    { kind: 'top', token: 'cls', item: 2, score: 0.5, position: 0 },
    { kind: 'negative', token: 'patch', item: 5, score: -1, position: 3 },
  ]
  const features = Array.from({ length: config.dSae }, (_, index) =>
    index === FEATURE
      ? record(index, {
          density: 0.02,
          mean: 1.5,
          max: 3,
          histogram: { firstBin: -2, counts: [5, 3, 1, 0, 2] },
          examples: [...examples, ...others],
        })
      : record(index, index % 2 === 0 ? { density: 0.001 * (index + 1) } : { density: 0 }),
  )
  await catalog.features.load(
    {
      ...{ saeId: SAE, dataset: { id: dataset.id, hash: dataset.hash }, width: config.dSae, seed: 0, dtype: 'float32', backend: 'test' },
      ...{ codeVersion: 'test', measuredAt: new Date(0), about: { nImages: 5, nTokens: 50, topLength: 16 } },
    },
    features,
  )
})
afterAll(() => server.close())

const root = `/v1/saes/${SAE}/features/${FEATURE}`
const pixels = async (bytes: Buffer) => sharp(bytes).raw().toBuffer({ resolveWithObject: true })

describe('what is said of a feature', () => {
  test('has the addresses of its pictures, and its examples have theirs', async () => {
    const feature = (await get(server.app, root)).json()
    const listed = (await get(server.app, `/v1/saes/${SAE}/features?examples=2&sort=max&order=desc`)).json().items[0]
    expect(listed.pictures).toEqual(feature.pictures)
    const types = { spriteUrl: 'image/png', histogramUrl: 'image/svg+xml', densityUrl: 'image/svg+xml' }
    for (const [name, type] of Object.entries(types)) {
      const { statusCode, headers } = await get(server.app, feature.pictures[name])
      expect([statusCode, headers['content-type']]).toEqual([200, type])
    }
    const [first, second] = feature.examples
    expect(listed.examples.map((each: { heatmapUrl: string }) => each.heatmapUrl)).toEqual([first.heatmapUrl, second.heatmapUrl])
    const cls = feature.examples.find(({ token }: { token: string }) => token === 'cls')
    const drawn = [
      [first.heatmapUrl, `${root}/examples/0/heatmap.png`],
      [second.heatmapUrl, `${root}/examples/1/heatmap.png`],
      [cls.heatmapUrl, `${root}/examples/0/heatmap.png?token=cls`],
    ]
    for (const [address, same] of drawn) {
      const [given, wanted] = await Promise.all([get(server.app, address), get(server.app, same!)])
      expect([given.statusCode, given.headers.etag]).toEqual([200, wanted.headers.etag])
    }
    expect((await get(server.app, first.imageUrl)).statusCode).toBe(200)
    const lost = feature.examples.find(({ name }: { name: string }) => name === 'lost.png')
    expect([lost.imageUrl, lost.heatmapUrl]).toEqual([null, null])
  })
})

describe('an example of a feature', () => {
  test('is drawn as the same numbers over the same picture are', async () => {
    const image = images[examples[1]!.item]!
    const { values, cls } = await activationsOf(image)
    expect(values.data.flat().some((value) => value > 0)).toBe(true)
    const drawn = await get(server.app, `${root}/examples/1/heatmap.png?size=96&colormap=magma&alpha=0.7`)
    expect([drawn.statusCode, drawn.headers['content-type']]).toEqual([200, 'image/png'])
    const style = { size: 96, colormap: 'magma', alpha: 0.7, low: 0, high: examples[0]!.score }
    const own = await post(server.app, '/v1/heatmap', { model: testModels.clip, image, values: values.data, cls, ...style })
    expect(own.rawPayload.equals(drawn.rawPayload)).toBe(true)
  })

  test('comes in every mode and with every choice, each under a tag of its own', async () => {
    const choices = [
      '',
      'mode=raw',
      'mode=contour',
      'mode=crop',
      'mode=contour&levels=0.2,0.4',
      'interpolation=smooth',
      'showCls=false',
      'high=100',
      'size=64',
      'token=cls',
    ]
    const answers = await Promise.all(choices.map((choice) => get(server.app, `${root}/examples/0/heatmap.png?${choice}`)))
    for (const { statusCode } of answers) expect(statusCode).toBe(200)
    expect(new Set(answers.map(({ headers }) => headers.etag)).size).toBe(choices.length)
    const { info } = await pixels(answers[8]!.rawPayload)
    expect(Math.max(info.width, info.height)).toBe(64)
  })

  test('is kept by clients: not sent again, and cached for ever under its own tag', async () => {
    const url = `${root}/examples/0/heatmap.png`
    const first = await get(server.app, url)
    expect(first.headers['cache-control']).toBe('private, no-cache')
    const again = await get(server.app, url, { 'if-none-match': String(first.headers.etag) })
    expect([again.statusCode, again.body, again.headers.etag]).toEqual([304, '', first.headers.etag])
    const tag = String(first.headers.etag).slice(1, -1)
    const fixed = await get(server.app, `${url}?v=${tag}`)
    expect(fixed.headers['cache-control']).toBe('private, max-age=31536000, immutable')
    expect(fixed.rawPayload.equals(first.rawPayload)).toBe(true)
    expect((await get(server.app, `${url}?v=another`)).headers['cache-control']).toBe('private, no-cache')
  })

  test('is drawn once, and known before it is drawn', async () => {
    const { runs } = server.host.status()
    const url = `${root}/examples/0/heatmap.png`
    await get(server.app, url)
    const { etag } = (await get(server.app, `${url}?size=333`, { 'if-none-match': '"nothing"' })).headers
    const before = server.host.status().runs.count
    expect(before).toBeGreaterThanOrEqual(runs.count)
    await get(server.app, `${url}?size=333`)
    await get(server.app, `${url}?size=333`, { 'if-none-match': String(etag) })
    expect(server.host.status().runs.count).toBe(before)
  })

  test.each<[string, string, number, string, string]>([
    ['beyond the last', `${root}/examples/5/heatmap.png`, 400, 'INPUT_INVALID', 'examples 0 to 4'],
    ['of a kind that there is none of', `${root}/examples/0/heatmap.png?kind=threshold`, 400, 'INPUT_INVALID', 'no such examples'],
    ['whose picture is not stored', `${root}/examples/0/heatmap.png?kind=negative`, 404, 'IMAGE_UNKNOWN', 'lost.png'],
    ['of no number', `${root}/examples/x/heatmap.png`, 400, 'INPUT_INVALID', 'n'],
    ['in unknown colours', `${root}/examples/0/heatmap.png?colormap=jet`, 400, 'INPUT_INVALID', 'viridis'],
    ['with an empty range', `${root}/examples/0/heatmap.png?low=1&high=0`, 400, 'INPUT_INVALID', 'not above'],
    ['of no such feature', `/v1/saes/${SAE}/features/99999/examples/0/heatmap.png`, 404, 'FEATURE_UNKNOWN', 'features are 0 to'],
    ['of an SAE that cannot be', '/v1/saes/%00/features/1/examples/0/heatmap.png', 404, 'SAE_UNKNOWN', 'no SAE'],
    ['of no such SAE', '/v1/saes/nobody/features/1/examples/0/heatmap.png', 404, 'SAE_UNKNOWN', 'no SAE'],
    ['of features that are not indexed', `/v1/saes/${CLS_ONLY}/features/1/examples/0/heatmap.png`, 404, 'FEATURES_UNKNOWN', 'not indexed'],
    ['on another data set', `${root}/examples/0/heatmap.png?dataset=other`, 404, 'FEATURES_UNKNOWN', 'five-pictures'],
  ])('%s is refused', async (_, url, status, code, message) => {
    const answer = await get(server.app, url)
    expect(answer.json()).toMatchObject({ status, code })
    expect(JSON.stringify(answer.json())).toContain(message)
    expect(answer.headers['cache-control']).toBe('no-store')
  })
})

describe('a sheet of examples', () => {
  test('has a tile for each, with or without heat', async () => {
    const hot = await get(server.app, `${root}/sprite.png?size=48&columns=2`)
    const { info } = await pixels(hot.rawPayload)
    expect([info.width, info.height]).toEqual([4 + 2 * 52, 4 + 3 * (48 + 9 + 4)])
    const plain = await get(server.app, `${root}/sprite.png?size=48&columns=2&plain=true`)
    expect(plain.rawPayload.equals(hot.rawPayload)).toBe(false)
    const two = await pixels((await get(server.app, `${root}/sprite.png?size=48&columns=2&count=2`)).rawPayload)
    expect([two.info.width, two.info.height]).toEqual([108, 4 + 61])
    expect((await get(server.app, `${root}/sprite.png`, { 'if-none-match': '*' })).statusCode).toBe(304)
  })

  test('and a plot of an SAE that cannot be is refused', async () => {
    for (const file of ['features/1/sprite.png', 'density.svg'])
      expect((await get(server.app, `/v1/saes/%00/${file}`)).statusCode).toBe(404)
  })

  test('of a feature without examples is white', async () => {
    const { data } = await pixels((await get(server.app, `/v1/saes/${SAE}/features/0/sprite.png`)).rawPayload)
    expect(data.every((byte) => byte === 255)).toBe(true)
  })
})

describe('plots', () => {
  test('show how active a feature is, with its mean and its maximum', async () => {
    const answer = await get(server.app, `${root}/histogram.svg`)
    expect(answer.headers['content-type']).toMatch('image/svg+xml')
    // four bins to the octave from 2^-1 * 1.5 on
    expect(answer.body).toContain('<title>0.75 to 0.875: 5</title>')
    expect(answer.body).toContain('<title>1 to 1.25: 1</title>')
    expect(answer.body).toContain('>mean 1.5</text>')
    expect(answer.body).toContain('>max 3</text>')
    const again = await get(server.app, `${root}/histogram.svg`, { 'if-none-match': String(answer.headers.etag) })
    expect(again.statusCode).toBe(304)
    expect((await get(server.app, `/v1/saes/${SAE}/features/1/histogram.svg`)).statusCode).toBe(200)
  })

  test('show the densities of all features, the dead apart', async () => {
    const all = (await get(server.app, `/v1/saes/${SAE}/density.svg`)).body
    const width = (await server.catalog.saes.get(SAE))!.width!
    const dead = Array.from({ length: width }, (_, index) => index).filter((index) => index % 2 === 1 && index !== FEATURE).length
    expect(all).toContain(`<title>never: ${dead}</title>`)
    const shown = [...all.matchAll(/<title>10[^<]*: (\d+)<\/title>|<title>[\d.]+ to [\d.e−⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+: (\d+)<\/title>/g)].map(
      ([, a, b]) => Number(a ?? b),
    )
    expect(shown.reduce((sum, count) => sum + count, 0)).toBe(width - dead)
    const marked = (await get(server.app, `${root}/density.svg`)).body
    expect(marked).toContain(`>feature ${FEATURE}</text>`)
  })
})

describe('a feature over any picture', () => {
  test('is what PyTorch reads at each patch, after edits, too', async () => {
    const before = await activationsOf(images[0]!)
    expect(before).toMatchObject({ model: testModels.clip, hookPoint: expect.stringContaining('blocks.') })
    const edits = [{ hookPoint: before.hookPoint, op: 'zero', positions: 'patches' }]
    const body = { image: images[0], of: { sae: SAE, feature: FEATURE }, edits }
    const after = (await post(server.app, '/v1/heatmap', body, { accept: 'application/json' })).json()
    expect(after.cls).toBe(before.cls)
    expect(new Set(after.values.data.flat()).size).toBe(1)
    const { data } = await graphql(server.app, 'query ($input: HeatmapInput!) { heatmap(input: $input) { cls values { data } } }', {
      input: body,
    })
    expect(data.heatmap).toEqual({ cls: after.cls, values: { data: after.values.data } })
  })

  test.each<[string, object, number, string]>([
    ['of an SAE that is not here', { sae: CLS_ONLY, feature: 1 }, 409, 'refract import someone/sae'],
    ['of an SAE that nobody knows', { sae: 'nobody', feature: 1 }, 404, 'no SAE'],
    ['beyond the last feature', { sae: SAE, feature: 99_999 }, 400, 'out of range'],
    ['of half a name', { sae: SAE }, 400, 'is missing'],
  ])('%s is refused', async (_, of, status, message) => {
    const answer = (await post(server.app, '/v1/heatmap', { image: images[0], of })).json()
    expect(answer.status).toBe(status)
    expect(JSON.stringify(answer)).toContain(message)
  })

  test('can be of another model that the SAE fits', async () => {
    const body = { image: images[0], of: { sae: SAE, feature: FEATURE } }
    const own = await activationsOf(images[0]!)
    const other = (await post(server.app, '/v1/heatmap', { ...body, model: testModels.noCls }, { accept: 'application/json' })).json()
    expect(other.cls).toBeNull()
    expect(other.values.data).not.toEqual(own.values.data)
  })
})
