/** From words and pictures to features, and features as directions of edits. The numbers are held against other ways to the same. */

import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type FeatureExample, type FeatureRecord, featureStatistics } from '../../src/engine/evaluation/feature-record.js'
import { patchGrid } from '../../src/engine/hook-points.js'
import { fromJsonTensor } from '../../src/engine/io/json-tensor.js'
import { loadModel } from '../../src/engine/models/load.js'
import type { VisionConfig } from '../../src/engine/models/model.js'
import { loadSae } from '../../src/engine/saes/load-sae.js'
import type { FoundFeature } from '../../src/operations/schemas/search.js'
import { anSae } from '../catalog/an-sae.js'
import { folderOf } from '../engine/models/fixtures.js'
import { featureFolder } from '../engine/saes/feature-goldens.js'
import { get, graphql, picture, post, startTestServer, type TestServer, testModels, upload } from './test-server.js'

const MODEL = testModels.clip
const SAE = `${MODEL}.1-resid-post.relu`
const OTHER = `${MODEL}.0-mlp-out.topk`
const HOOK_POINT = 'blocks.1.hook_resid_post'
const TEXT = 'a red apple'
/** Of these features the index has pictures. */
const PICTURES_OF: Readonly<Record<number, readonly number[]>> = { 2: [0, 1], 3: [2], 5: [1, 2] }
const MAX = 3

let server: TestServer
const images: string[] = []
let width: number

const record = (index: number): FeatureRecord => {
  const examples = (PICTURES_OF[index] ?? []).map((item): FeatureExample => ({ kind: 'top', token: 'patch', item, score: 1, position: 1 }))
  return {
    ...(Object.fromEntries(featureStatistics.map((name) => [name, null])) as Record<(typeof featureStatistics)[number], null>),
    ...{ index, histogram: { firstBin: 0, counts: [] }, imageHistogram: { firstBin: 0, counts: [] }, examples },
    ...{ labels: [], neighbours: [], coactive: [], classEffects: [], wordEffects: [] },
    ...{ density: examples.length > 0 ? 0.1 : 0, max: examples.length > 0 ? MAX : null },
  }
}

beforeAll(async () => {
  server = await startTestServer()
  const { catalog, host } = server
  for (let seed = 1; seed <= 3; seed++) images.push((await upload(server.app, await picture(seed))).json().id)
  await catalog.baseModels.ensure(MODEL)
  for (const [id, name, layer] of [
    [SAE, 'relu', 1],
    [OTHER, 'topk', 0],
  ] as const) {
    const folder = path.join(featureFolder, name)
    const description = await host.inspectSae({ key: id, folder, overrides: {} })
    const { config } = description
    const download = {
      ...{ folder, files: [{ path: 'weights.pt', bytes: 1, sha256: 'd'.repeat(64) }], weightsSha256: 'd'.repeat(64), weightBytes: 1 },
      description,
    }
    const about = { modelId: MODEL, hookPointIn: config.hookPoint, hookPointOut: config.hookPoint, width: config.dSae, layer }
    await catalog.saes.create(anSae({ id, ...about, dIn: config.dIn, dOut: config.dOut, download }))
    if (id === SAE) width = config.dSae
  }
  const dataset = { id: 'three-pictures', name: 'Three pictures', hash: 'e'.repeat(64) }
  const items = images.map((imageId, index) => ({ name: `${index}.png`, imageId, label: null }))
  await catalog.datasets.register({ ...dataset, classNames: [], description: null, license: null, items })
  await catalog.features.load(
    {
      ...{ saeId: SAE, dataset: { id: dataset.id, hash: dataset.hash }, width, seed: 0, dtype: 'float32', backend: 'test' },
      ...{
        codeVersion: 'test',
        measuredAt: new Date(0),
        about: { nImages: 3, nTokens: 5, topLength: 16, patches: { first: 1, columns: 2 } },
      },
    },
    Array.from({ length: width }, (_, index) => record(index)),
  )
  await catalog.explanations.add({ saeId: SAE, index: 3, text: 'red apples', author: 'ada', method: 'human', score: null })
})
afterAll(() => server.close())

interface Page {
  readonly items: FoundFeature[]
  readonly totalCount: number
  readonly nextCursor: string | null
}

async function search(query: Record<string, string | number | boolean>): Promise<Page> {
  const parameters = new URLSearchParams(Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)])))
  const response = await get(server.app, `/v1/search/features?${parameters}`)
  expect(response.json()).not.toHaveProperty('code')
  return response.json()
}

async function refusal(query: Record<string, string | number>) {
  const parameters = new URLSearchParams(Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)])))
  return (await get(server.app, `/v1/search/features?${parameters}`)).json() as { code: string; errors?: { path: string }[] }
}

/** Of texts or pictures, by the other door: `forward`. */
async function embed(inputs: readonly object[]): Promise<Float64Array[]> {
  const { output } = (await post(server.app, '/v1/forward', { model: MODEL, inputs })).json()
  const { shape, data } = fromJsonTensor(output, 'output')
  const [n, size] = shape as [number, number]
  return Array.from({ length: n }, (_, row) => unit(Float64Array.from(data.subarray(row * size, (row + 1) * size) as Float32Array)))
}

function unit(values: Float64Array): Float64Array {
  const length = Math.hypot(...values)
  return values.map((value) => value / length)
}
const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, at) => sum + value * b[at]!, 0)

describe('by text', () => {
  test('every feature is scored by its decoder row: the cosine with the text after the final norm and the projection', async () => {
    const { items, totalCount, nextCursor } = await search({ text: TEXT, sae: SAE, limit: 100 })
    expect({ totalCount, nextCursor, nItems: items.length }).toEqual({ totalCount: width, nextCursor: null, nItems: width })
    const [text] = await embed([{ text: TEXT }])
    const { towers } = await loadModel(folderOf(MODEL))
    const { weights } = await loadSae(path.join(featureFolder, 'relu'))
    const { 'ln_final.w': gain, 'head.W_H': head } = towers.vision.weights
    const decoder = weights.W_dec!.data as Float32Array
    const dModel = gain!.data.length
    for (const { index, scores } of items) {
      const row = Float64Array.from(decoder.subarray(index * dModel, (index + 1) * dModel))
      const mean = row.reduce((sum, value) => sum + value, 0) / dModel
      const stream = row.map((value, d) => (value - mean) * gain!.data[d]!)
      const answer = text!.map((_, e) => stream.reduce((sum, value, d) => sum + value * head!.data[e * dModel + d]!, 0))
      expect(scores.decoder).toBeCloseTo(dot(unit(answer), text!), 4)
    }
    const order = items.map(({ scores }) => scores.decoder!)
    expect(order).toEqual([...order].sort((a, b) => b - a))
  })

  test('and by its pictures: the cosine with the mean of their embeddings; null of one that has none', async () => {
    const { items } = await search({ text: TEXT, sae: SAE, sort: 'pictures' })
    const [text] = await embed([{ text: TEXT }])
    const pictures = await embed(images.map((image) => ({ image })))
    const expected = Object.entries(PICTURES_OF).map(([index, list]) => {
      const sum = pictures[0]!.map((_, e) => list.reduce((total, item) => total + pictures[item]![e]!, 0))
      return { index: Number(index), score: dot(unit(sum), text!) }
    })
    expected.sort((a, b) => b.score - a.score)
    expect(items.map(({ index }) => index)).toEqual(expected.map(({ index }) => index))
    for (const [at, { scores }] of items.entries()) expect(scores.pictures).toBeCloseTo(expected[at]!.score, 4)
    const byDecoder = (await search({ text: TEXT, sae: SAE, limit: 100 })).items
    for (const { index, scores } of byDecoder) {
      const other = items.find((item) => item.index === index)
      if (other) expect(scores.pictures).toBeCloseTo(other.scores.pictures!, 5)
      else expect(scores.pictures).toBeNull()
    }
  })

  test('what is found has what an index and people say of it', async () => {
    const { items } = await search({ text: TEXT, sae: SAE, active: true, examples: 1 })
    expect(items.map(({ index }) => index).sort()).toEqual(Object.keys(PICTURES_OF).map(Number))
    const found = items.find(({ index }) => index === 3)!
    expect(found).toMatchObject({ id: `${SAE}/3`, dataset: 'three-pictures', explanations: [{ text: 'red apples' }] })
    expect(found.statistics).toMatchObject({ max: MAX })
    expect(found.examples).toMatchObject([{ image: images[2] }])
  })

  test('pages over several SAEs neither repeat nor leave out, and are of one search', async () => {
    const all = await search({ text: TEXT, model: MODEL, limit: 100 })
    const seen: string[] = []
    let cursor: string | null = null
    do {
      const page: Page = await search({ text: TEXT, model: MODEL, limit: 7, ...(cursor !== null && { cursor }) })
      seen.push(...page.items.map(({ id }) => id))
      cursor = page.nextCursor
    } while (cursor !== null)
    expect(seen).toHaveLength(all.totalCount)
    expect(new Set(seen).size).toBe(all.totalCount)
    expect(seen.slice(0, 100)).toEqual(all.items.map(({ id }) => id))
    const { nextCursor } = await search({ text: TEXT, model: MODEL, limit: 2 })
    expect(await refusal({ text: 'something else', model: MODEL, cursor: nextCursor! })).toMatchObject({ code: 'CURSOR_INVALID' })
  })

  test('a layer leaves the SAEs of others out; without SAE and model, the only model there is, is meant', async () => {
    const { items } = await search({ text: TEXT, layer: 0, limit: 100 })
    expect(new Set(items.map(({ sae }) => sae))).toEqual(new Set([OTHER]))
    expect((await search({ text: TEXT, layer: 9 })).items).toEqual([])
    // nothing is indexed there
    expect(items[0]).toMatchObject({ dataset: null, statistics: null, examples: [], scores: { pictures: null } })
  })
})

describe('by image', () => {
  const activeOf = async (image: string, positions: unknown) => {
    const body = { saes: [SAE], inputs: [{ image }], positions, topK: 0, imageTopK: width }
    return (await post(server.app, '/v1/features', body)).json().saes[0].perImage[0] as {
      feature: number
      activation: number
      patch: object
    }[]
  }

  test('finds the features that are active there, and where', async () => {
    const { items, totalCount } = await search({ image: images[0]!, sae: SAE, limit: 100 })
    const expected = await activeOf(images[0]!, 'all')
    expect(totalCount).toBe(expected.length)
    expect(items.map(({ index, scores, patch }) => ({ feature: index, activation: scores.activation, patch }))).toEqual(
      expected.map(({ feature, activation, patch }) => ({ feature, activation, patch })),
    )
    for (const { index, scores } of items) {
      if (PICTURES_OF[index]) expect(scores.relative).toBeCloseTo(scores.activation! / MAX, 6)
      else expect(scores.relative).toBeNull()
    }
  })

  test('or in one patch', async () => {
    const { items } = await search({ image: images[0]!, patch: '1,0', sae: SAE, limit: 100 })
    const all = await activeOf(images[0]!, 'all')
    const { columns } = patchGrid((await server.catalog.models.get(MODEL))!.description.vision.config as VisionConfig)
    const expected = await activeOf(images[0]!, [1 + columns])
    expect(items.map(({ index }) => index)).toEqual(expected.map(({ feature }) => feature))
    expect(items.length).toBeLessThanOrEqual(all.length)
    for (const { patch } of items) expect(patch).toEqual({ row: 1, col: 0 })
    expect(await refusal({ image: images[0]!, patch: '99,0', sae: SAE })).toMatchObject({
      code: 'INPUT_INVALID',
      errors: [{ path: 'patch' }],
    })
  })

  test('sorted by how near each is to the most that an index has seen', async () => {
    const { items } = await search({ image: images[0]!, sae: SAE, sort: 'relative' })
    const shares = items.map(({ scores }) => scores.relative!)
    expect(shares).toEqual([...shares].sort((a, b) => b - a))
    expect(items.every(({ index }) => PICTURES_OF[index] !== undefined)).toBe(true)
  })
})

test('SAEs of several models are not searched together: the refusal asks for one', async () => {
  const model = testModels.classifier
  await server.catalog.baseModels.ensure(model)
  const { download, ...sae } = (await server.catalog.saes.get(SAE))!
  const { hookPointIn, hookPointOut, width } = sae
  await server.catalog.saes.create(
    anSae({ id: `${model}.1-resid-post.tests`, modelId: model, hookPointIn, hookPointOut, width, layer: 7, download: download! }),
  )
  expect(await refusal({ text: TEXT })).toMatchObject({ code: 'INPUT_INVALID', errors: [{ path: 'model' }] })
  expect((await search({ text: TEXT, model: MODEL })).items).not.toEqual([])
  expect(await refusal({ text: TEXT, model })).toMatchObject({ code: 'INPUT_INVALID', errors: [{ path: 'text' }] })
  await server.catalog.saes.remove(`${model}.1-resid-post.tests`)
})

test('by explanation: the features of which its words are said', async () => {
  expect(await search({ explanation: 'apple' })).toMatchObject({ totalCount: 1, items: [{ id: `${SAE}/3`, scores: { decoder: null } }] })
  expect((await search({ explanation: 'apple', layer: 0 })).items).toEqual([])
  expect((await search({ explanation: 'pear' })).items).toEqual([])
})

test('a search that asks for too little, too much or what does not go together is refused, all at once', async () => {
  expect(await refusal({})).toMatchObject({ code: 'INPUT_INVALID', errors: [{ path: 'text' }] })
  expect((await refusal({ text: TEXT, image: images[0]!, sort: 'relative', explanation: 'x' })).errors!.map(({ path }) => path)).toEqual([
    'image',
    'explanation',
    'sort',
  ])
  expect((await refusal({ text: TEXT, patch: '0,0' })).errors).toMatchObject([{ path: 'patch' }])
  expect(await refusal({ text: TEXT, sae: 'nothing' })).toMatchObject({ code: 'SAE_UNKNOWN' })
  expect(await refusal({ text: TEXT, model: 'nothing' })).toMatchObject({ code: 'MODEL_UNKNOWN' })
  expect(await refusal({ image: `sha256:${'0'.repeat(64)}`, sae: SAE })).toMatchObject({ code: 'IMAGE_UNKNOWN' })
})

test('GraphQL finds the same', async () => {
  const rest = await search({ text: TEXT, sae: SAE, limit: 3 })
  const { data, errors } = await graphql(
    server.app,
    'query ($text: String!, $sae: ID!) { searchFeatures(text: $text, sae: $sae, first: 3) { totalCount edges { cursor node { id scores { decoder pictures } examples { image } } } } }',
    { text: TEXT, sae: SAE },
  )
  expect(errors).toEqual([])
  expect(data.searchFeatures.totalCount).toBe(width)
  expect(data.searchFeatures.edges.map(({ node }: { node: object }) => node)).toMatchObject(
    rest.items.map(({ id, scores: { decoder, pictures } }) => ({ id, scores: { decoder, pictures } })),
  )
})

describe('an edit takes its direction', () => {
  const run = async (edit: object) => {
    const body = { model: MODEL, inputs: [{ image: images[0]! }], edits: [{ hookPoint: HOOK_POINT, op: 'add', ...edit }] }
    return (await post(server.app, '/v1/forward', body)).json() as {
      output: { data: number[][] }
      code?: string
      errors?: { path: string; message: string }[]
    }
  }
  let row: number[]
  beforeAll(async () => {
    const { weights, description } = await loadSae(path.join(featureFolder, 'relu'))
    const { dOut } = description.config
    row = Array.from((weights.W_dec!.data as Float32Array).subarray(3 * dOut, 4 * dOut))
  })
  const feature = { sae: SAE, feature: 3 }

  test('from the decoder of an SAE: the same as with its numbers', async () => {
    const expected = await run({ vector: row, strength: 2 })
    expect(expected.output.data).not.toEqual((await run({ vector: row, strength: 0 })).output.data)
    expect((await run({ vector: feature, strength: 2 })).output).toEqual(expected.output)
    expect((await run({ vector: feature, strength: 2, unit: 'norm' })).output).toEqual(
      (await run({ vector: row, strength: 2, unit: 'norm' })).output,
    )
    for (const op of ['set', 'project-out'])
      expect((await run({ op, vector: feature })).output).toEqual((await run({ op, vector: row })).output)
    expect((await run({ op: 'clamp-projection', vector: feature, max: 0 })).output).toEqual(
      (await run({ op: 'clamp-projection', vector: row, max: 0 })).output,
    )
  })

  test('in multiples of the largest activation that an index has seen', async () => {
    const scaled = row.map((value) => Math.fround(value * MAX))
    expect((await run({ vector: feature, strength: 0.5, unit: 'maxActivation' })).output).toEqual(
      (await run({ vector: scaled, strength: 0.5 })).output,
    )
    const { errors } = await run({ vector: { sae: SAE, feature: 4 }, unit: 'maxActivation' })
    expect(errors).toMatchObject([{ path: 'edits[0].unit', message: expect.stringContaining('never active') }])
    expect((await run({ vector: { sae: OTHER, feature: 0 }, unit: 'maxActivation' })).code).toBe('FEATURES_UNKNOWN')
    expect((await run({ vector: row, unit: 'maxActivation' })).errors).toMatchObject([{ path: 'edits[0].unit' }])
  })

  test('from what is stored under an id', async () => {
    await post(server.app, '/v1/vectors', { id: 'apples', model: MODEL, hookPoint: HOOK_POINT, values: row })
    expect((await run({ vector: { id: 'apples' }, strength: 2 })).output).toEqual((await run({ vector: row, strength: 2 })).output)
    expect((await run({ vector: { id: 'aples' } })).errors).toMatchObject([
      { path: 'edits[0].vector', message: expect.stringContaining('Did you mean "apples"') },
    ])
  })

  test('and is refused where there is none, or it does not fit, with the place of the edit', async () => {
    expect(await run({ vector: { sae: SAE, feature: width } })).toMatchObject({
      code: 'FEATURE_UNKNOWN',
      errors: [{ path: 'edits[0].vector' }],
    })
    expect(await run({ vector: { sae: 'nothing', feature: 0 } })).toMatchObject({ code: 'SAE_UNKNOWN' })
    expect(await run({ vector: { sae: SAE, feature: 3 }, hookPoint: 'blocks.0.mlp.hook_post' })).toMatchObject({ code: 'EDIT_INVALID' })
    expect((await run({ vector: { sae: SAE } })).errors).toMatchObject([{ path: 'edits[0].vector.feature' }])
    expect((await run({ vector: 'apples' })).errors).toMatchObject([{ path: 'edits[0].vector' }])
  })

  test('in GraphQL, too', async () => {
    const { data, errors } = await graphql(server.app, 'query ($input: ForwardInput!) { forward(input: $input) { output { data } } }', {
      input: {
        ...{ model: MODEL, inputs: [{ image: images[0] }] },
        edits: [{ hookPoint: HOOK_POINT, op: 'add', vector: feature, strength: 0.5, unit: 'maxActivation' }],
      },
    })
    expect(errors).toEqual([])
    expect(data.forward.output.data).toEqual((await run({ vector: feature, strength: 0.5, unit: 'maxActivation' })).output.data)
  })
})
