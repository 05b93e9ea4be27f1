/** Search by the pictures of features, on a demo SAE: what its index kept, against embedding its top pictures now. */

import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { registerDatasetsInPlace } from '../../src/catalog/import/register-datasets-in-place.js'
import { registerInPlace } from '../../src/catalog/import/register-in-place.js'
import { registerSaesInPlace } from '../../src/catalog/import/register-saes-in-place.js'
import { embeddingsFromBytes, embeddingsToBytes } from '../../src/engine/evaluation/mean-embeddings.js'
import type { EngineHost } from '../../src/engine/host/host.js'
import { fromJsonTensor } from '../../src/engine/io/json-tensor.js'
import { float32 } from '../../src/engine/tensor.js'
import type { JobKind } from '../../src/operations/jobs/job-kind.js'
import { indexJob } from '../../src/operations/jobs/kinds/index-features.js'
import { fixedLimits } from '../../src/operations/limits.js'
import type { FoundFeature } from '../../src/operations/schemas/search.js'
import { driver } from '../operations/jobs/a-study.js'
import { type App, get, graphql, startTestServer, type TestServer } from './test-server.js'

const root = path.resolve(import.meta.dirname, '../..')
const MODEL = 'emoji-clip'
const SAE = `${MODEL}.3-resid-post.topk-16-x8-all`
const DATASET = 'emoji-twemoji'
const N_PICTURES = 240
const TEXTS = ['a flag', 'a clock face', 'a smiling face']

let server: TestServer
/** Over which what the model is run on is counted. */
let counted: App
let nPictures = 0
beforeAll(async () => {
  server = await startTestServer()
  const { catalog, host, config } = server
  const { inspect, inspectSae } = host
  await registerInPlace(path.join(root, 'demo/models'), 'demo/models', { catalog, inspect })
  await registerDatasetsInPlace(path.join(root, 'demo/datasets'), { catalog, dataDir: config.dataDir, limits: { maxPixels: 1e6 } })
  await registerSaesInPlace(path.join(root, 'demo/saes'), 'demo/saes', { catalog, inspectSae, license: 'cc-by-sa-4.0' })
  await index({})
  counted = await counting()
}, 120_000)
afterAll(() => server.close())

const counting = () => {
  const run: EngineHost['run'] = (request, signal) => {
    if (request.inputs.kind === 'pictures') nPictures += request.inputs.pictures.length
    return server.host.run(request, signal)
  }
  return server.another({ host: { run } })
}

async function index(change: object): Promise<void> {
  const input = { model: MODEL, saes: [SAE], dataset: DATASET, pictures: N_PICTURES, ...change }
  const { shards, run, finish } = await driver(indexJob as unknown as JobKind, input, server)
  const parts: Uint8Array[] = []
  for (const shard of shards) parts.push(await run(shard))
  await finish(parts)
}

const setOf = async () => (await server.catalog.features.sets(SAE))[0]!

interface Found {
  readonly items: readonly FoundFeature[]
  readonly totalCount: number
  readonly code?: string
}

async function search(query: Record<string, string>, app: App = counted): Promise<Found> {
  return (await get(app, `/v1/search/features?${new URLSearchParams({ sae: SAE, ...query })}`)).json()
}

/** Without what the index kept, as if it had been made by an older version. */
async function withoutEmbeddings<T>(body: () => Promise<T>): Promise<T> {
  const { id, embeddings } = await setOf()
  const update = async (data: { embeddingsSha256: string | null; embeddingsPlace: string | null }) => {
    await server.catalog.prisma.featureSet.update({ where: { id }, data })
    // what is believed of it for a moment
    await server.catalog.saes.getWithMetrics(SAE)
  }
  await update({ embeddingsSha256: null, embeddingsPlace: null })
  return body().finally(() => update({ embeddingsSha256: embeddings!.sha256, embeddingsPlace: embeddings!.place }))
}

describe('an index of an SAE of a model that reads text', () => {
  test('keeps a unit vector for each feature that was active, and zeros for each other', async () => {
    const set = await setOf()
    const kept = await embeddingsFromBytes((await server.catalog.blobs.get(set.embeddings!.sha256))!)
    const [width, dEmbed] = kept.shape as [number, number]
    expect(width).toBe(set.width)
    const densities = await server.catalog.features.statistic(set, 'imageDensity')
    expect(densities.filter((density) => density > 0).length).toBeGreaterThan(400)
    for (const [index, density] of densities.entries()) {
      const length = Math.hypot(...kept.data.subarray(index * dEmbed, (index + 1) * dEmbed))
      expect(length).toBeCloseTo(density > 0 ? 1 : 0, 5)
    }
  })

  test('keeps the same bytes when it is made again', async () => {
    const before = (await setOf()).embeddings
    await index({})
    expect((await setOf()).embeddings).toEqual(before)
  })
})

describe('search by pictures', () => {
  test('embeds none where the index kept what they look like, and says so', async () => {
    nPictures = 0
    const { items, totalCount } = await search({ text: TEXTS[0]!, sort: 'pictures' })
    expect(nPictures).toBe(0)
    const densities = await server.catalog.features.statistic(await setOf(), 'imageDensity')
    expect(totalCount).toBe(densities.filter((density) => density > 0).length)
    expect(items.every(({ scores }) => scores.picturesFrom === 'index')).toBe(true)
    const scores = items.map(({ scores }) => scores.pictures!)
    expect(scores).toEqual([...scores].sort((a, b) => b - a))
    // the other order has the same score beside its own
    const byDecoder = await search({ text: TEXTS[0]!, limit: '100' })
    for (const { id, scores } of byDecoder.items) {
      const same = items.find((item) => item.id === id)
      if (same) expect(scores.pictures).toBe(same.scores.pictures)
    }
    expect(nPictures).toBe(0)
  })

  test('scores are cosines of the text with what was kept', async () => {
    const text = 'a clock face'
    const { data } = await graphql(
      counted,
      'query ($text: String!, $sae: ID!) { searchFeatures(text: $text, sae: $sae, sort: pictures, first: 5) { edges { node { index scores { pictures picturesFrom } } } } }',
      { text, sae: SAE },
    )
    const found = data.searchFeatures.edges.map(({ node }: { node: unknown }) => node)
    const { items } = await search({ text, sort: 'pictures', limit: '5' })
    expect(found).toEqual(items.map(({ index, scores: { pictures, picturesFrom } }) => ({ index, scores: { pictures, picturesFrom } })))
    const kept = await embeddingsFromBytes((await server.catalog.blobs.get((await setOf()).embeddings!.sha256))!)
    const dEmbed = kept.shape[1]!
    const { output } = (
      await server.app.inject({ method: 'POST', url: '/v1/forward', payload: { model: MODEL, inputs: [{ text }] } })
    ).json()
    const answer = Array.from(fromJsonTensor(output, 'output').data as Float32Array)
    for (const { index, scores } of items) {
      const product = answer.reduce((sum, value, d) => sum + value * kept.data[index * dEmbed + d]!, 0)
      expect(scores.pictures).toBeCloseTo(product / Math.hypot(...answer), 5)
    }
  })

  test('finds features whose top pictures are near the text, too', { timeout: 60_000 }, async () => {
    const fresh = await counting()
    const byIndex = new Map<string, Found>()
    for (const text of TEXTS) byIndex.set(text, await search({ text, sort: 'pictures', limit: '10' }))
    await withoutEmbeddings(async () => {
      nPictures = 0
      for (const text of TEXTS) {
        const all: FoundFeature[] = []
        let cursor: string | null = null
        do {
          const page: Found & { nextCursor: string | null } = (await search(
            { text, sort: 'pictures', limit: '100', ...(cursor !== null && { cursor }) },
            fresh,
          )) as never
          expect(page.items.every(({ scores }) => scores.picturesFrom === 'top-pictures')).toBe(true)
          all.push(...page.items)
          cursor = page.nextCursor
        } while (cursor !== null)
        const ranks = new Map(all.map(({ id }, rank) => [id, rank / all.length]))
        const found = byIndex.get(text)!.items.map(({ id }) => ranks.get(id)!)
        const mean = found.reduce((sum, rank) => sum + rank, 0) / found.length
        // by chance it would be 0.5, and 0.2 is three deviations of that below
        expect(mean).toBeLessThan(0.2)
      }
      expect(nPictures).toBeGreaterThan(0)
      expect(nPictures).toBeLessThanOrEqual(Math.min(N_PICTURES, fixedLimits.searchPictures))
    })
  })

  test('goes back to the top pictures where the blob is not at hand, or is of vectors of another length', async () => {
    const { id, embeddings } = await setOf()
    const { prisma, saes, blobs } = server.catalog
    const other = await blobs.put(embeddingsToBytes(float32([1, 2], [1, 0])))
    for (const sha256 of ['0'.repeat(64), other]) {
      await prisma.featureSet.update({ where: { id }, data: { embeddingsSha256: sha256 } })
      await saes.getWithMetrics(SAE)
      const { items } = await search({ text: TEXTS[0]!, sort: 'pictures', limit: '3' })
      expect(items.map(({ scores }) => scores.picturesFrom)).toEqual(['top-pictures', 'top-pictures', 'top-pictures'])
    }
    await prisma.featureSet.update({ where: { id }, data: { embeddingsSha256: embeddings!.sha256 } })
    await saes.getWithMetrics(SAE)
  })

  test('of an index without monosemanticity, which embeds nothing, is by top pictures', async () => {
    await index({ monosemanticity: false })
    expect((await setOf()).embeddings).toBeUndefined()
    const { items } = await search({ text: TEXTS[0]!, sort: 'pictures', limit: '3' })
    expect(items.map(({ scores }) => scores.picturesFrom)).toEqual(['top-pictures', 'top-pictures', 'top-pictures'])
  })
})
