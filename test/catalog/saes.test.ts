import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import { headlineValue } from '../../src/catalog/headline-metrics.js'
import type { MetricValueRecord } from '../../src/catalog/metric-values.js'
import { layerOf, saeIdOf } from '../../src/catalog/sae-id.js'
import { type SaeListRequest, type SaeWithMetrics, saeSorts } from '../../src/catalog/saes.js'
import { seedCatalog } from '../../src/catalog/seed/seed-catalog.js'
import { aModel } from './a-model.js'
import { aDownload, anSae } from './an-sae.js'
import { createTestCatalog } from './test-database.js'

let catalog: Catalog
let close: () => Promise<void>
beforeAll(async () => {
  const made = await createTestCatalog()
  catalog = made.catalog
  close = made.close
  await seedCatalog(catalog.prisma)
  await catalog.models.register(aModel({ id: 'tiny-vit' }))
})
afterAll(() => close())

const CLIP = 'clip-vit-b-32-datacomp-xl'
const measured: MetricValueRecord = {
  ...{ metric: 'prisma/l0', version: 1, value: 5, flags: [], source: 'measured', dataset: { id: 'd', hash: 'h' } },
  ...{ n: 100, seed: 1, dtype: 'float32', backend: 'onnxruntime', codeVersion: '1', measuredAt: new Date('2026-01-01') },
}

async function pagesOf(request: Omit<SaeListRequest, 'limit' | 'cursor'>, limit: number): Promise<SaeWithMetrics[]> {
  const items: SaeWithMetrics[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await catalog.saes.list({ ...request, limit, ...(cursor !== undefined && { cursor }) })
    items.push(...page.items)
    if (page.nextCursor === null) return items
    cursor = page.nextCursor
  }
}

const listed = async (request: Omit<SaeListRequest, 'limit'>) => (await catalog.saes.list({ limit: 100, ...request })).items

describe('a list of SAEs', () => {
  test.each(saeSorts.flatMap((sort) => (['asc', 'desc'] as const).map((order) => [sort, order] as const)))(
    'by %s %s is in order, what is not known last, and the same in pages of any size',
    async (sort, order) => {
      const all = await listed({ sort, order })
      expect(all.length).toBe(93)
      const numbers = await catalog.prisma.sae.findMany()
      const keyOf = (id: string) => numbers.find((row) => row.id === id)![sort]
      const keys = all.map(({ id }) => keyOf(id))
      const firstUnknown = keys.indexOf(null)
      const known = firstUnknown < 0 ? keys : keys.slice(0, firstUnknown)
      expect(keys.slice(known.length).every((key) => key === null)).toBe(true)
      for (let at = 1; at < known.length; at++) {
        const isInOrder = order === 'asc' ? known[at - 1]! <= known[at]! : known[at - 1]! >= known[at]!
        expect(isInOrder).toBe(true)
      }
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 7, max: 50 }), async (limit) => {
          expect((await pagesOf({ sort, order }, limit)).map(({ id }) => id)).toEqual(all.map(({ id }) => id))
        }),
        { numRuns: 2 },
      )
    },
  )

  test.each<[string, Omit<SaeListRequest, 'limit'>, (sae: SaeWithMetrics) => boolean, number]>([
    ['model', { model: 'dino-vitb16' }, ({ modelId }) => modelId === 'dino-vitb16', 12],
    ['layer', { layer: 9 }, ({ layer }) => layer === 9, 9],
    ['hook point', { hookPoint: 'blocks.9.hook_mlp_out' }, ({ hookPointOut }) => hookPointOut === 'blocks.9.hook_mlp_out', 4],
    ['a pattern of hook points', { hookPoint: 'blocks.*.ln2.*' }, ({ hookPointIn }) => hookPointIn.includes('.ln2.'), 11],
    ['the hook point that a transcoder predicts', { hookPoint: 'blocks.0.hook_mlp_out' }, ({ layer }) => layer === 0, 2],
    ['architecture', { architecture: 'topk' }, ({ architecture }) => architecture === 'topk', 23],
    ['being a transcoder', { isTranscoder: true }, (sae) => sae.hookPointIn !== sae.hookPointOut, 11],
    ['the positions it was trained on', { trainedOn: 'cls' }, ({ positions }) => positions === 'cls', 24],
    ['the data set it was trained on', { trainedOn: 'imagenet' }, ({ trainedOn }) => trainedOn!.startsWith('ImageNet'), 91],
    ['suite', { suite: 'clip-b32-vanilla-cls' }, ({ suite }) => suite === 'clip-b32-vanilla-cls', 12],
    ['status', { status: 'downloaded' }, () => false, 0],
    ['several', { model: CLIP, layer: 9, trainedOn: 'all', architecture: 'standard' }, ({ layer }) => layer === 9, 2],
    ['words', { text: 'resid_post spatial layer-10' }, () => true, 0],
    ['beginnings of words in any case', { text: 'TRANSCOD 256' }, ({ k }) => k === 256, 1],
    ['a word that only looks like a wildcard', { text: '%' }, () => false, 0],
  ])('is filtered by %s', async (_, filter, isMeant, count) => {
    const page = await catalog.saes.list({ limit: 100, ...filter })
    expect(page.items.length).toBe(count)
    expect(page.totalCount).toBe(count)
    expect(page.items.every(isMeant)).toBe(true)
  })

  test('is filtered by numbers, and leaves out those of which they are not known', async () => {
    const headline = (sae: SaeWithMetrics, name: 'explainedVariance' | 'l0') => headlineValue(name, sae.metrics)?.value
    const all = await listed({})
    const wanted = all.filter((sae) => (headline(sae, 'explainedVariance') ?? 0) >= 98 && (headline(sae, 'l0') ?? 1e9) <= 900)
    const found = await listed({ minExplainedVariance: 98, maxL0: 900 })
    expect(found.map(({ id }) => id)).toEqual(wanted.map(({ id }) => id))
    expect(found.length).toBeGreaterThan(5)
  })

  test('refuses a cursor of another order', async () => {
    const { nextCursor } = await catalog.saes.list({ limit: 5, sort: 'l0' })
    await expect(catalog.saes.list({ limit: 5, sort: 'l0', order: 'desc', cursor: nextCursor! })).rejects.toMatchObject({
      code: 'CURSOR_INVALID',
    })
  })
})

describe('an SAE', () => {
  test('of a model that is here makes the model a base model; of one that nobody knows it is refused', async () => {
    const sae = anSae({ id: 'tiny-vit.1-resid-post.vanilla-x4-all', modelId: 'tiny-vit', download: aDownload() })
    const made = await catalog.saes.create(sae)
    expect(made).toMatchObject({ id: sae.id, isPublished: false, download: { folder: '/saes/x', weightsSha256: 'a'.repeat(64) } })
    expect(await catalog.baseModels.get('tiny-vit')).toMatchObject({ repo: null })
    await expect(catalog.saes.create(anSae({ id: 'tiny-vitt.1.x', modelId: 'tiny-vitt' }))).rejects.toMatchObject({
      code: 'BASE_MODEL_UNKNOWN',
      message: expect.stringContaining('tiny-vit"'),
    })
  })

  test('is made once by five at once; with other weights its id is taken', async () => {
    const sae = anSae({ id: 'tiny-vit.1-resid-post.five', modelId: 'tiny-vit', download: aDownload() })
    const made = await Promise.all(Array.from({ length: 5 }, () => catalog.saes.create(sae)))
    expect(new Set(made.map(({ createdAt }) => createdAt.getTime())).size).toBe(1)
    await expect(catalog.saes.create({ ...sae, download: aDownload({ sha: 'b' }) })).rejects.toMatchObject({ code: 'SAE_CONFLICT' })
  })

  test.each(['Tiny.a.b', 'tiny-vit.a', 'tiny-vit.a.b.c', 'tiny-vit..b', 'other.a.b', 'tiny-vit.a.b\0'])(
    'cannot be called %s',
    async (id) => {
      await expect(catalog.saes.create(anSae({ id, modelId: 'tiny-vit' }))).rejects.toMatchObject({ code: 'INPUT_INVALID' })
      expect(id.startsWith('other') ? undefined : await catalog.saes.get(id)).toBeUndefined()
    },
  )

  test('that is published becomes downloaded, and its files say what it is', async () => {
    const id = `${CLIP}.3-resid-post.vanilla-x64-all`
    const attached = { ...aDownload({ hookPoint: 'blocks.3.hook_resid_post' }), license: 'mit', file: 'weights.pt' } as const
    const provenance = { kind: 'hub', repo: 'org/x', revision: 'f'.repeat(40), requestedRevision: 'main', endpoint: 'http://hub' } as const
    const entry = await catalog.saes.attachFiles(id, { ...attached, provenance })
    expect(entry).toMatchObject({
      ...{ width: 32, dIn: 8, l1Coefficient: 1e-4, license: 'mit', provenance, isPublished: true, positions: 'all' },
      download: { description: { resolvedBy: [{ field: 'activation_fn_str' }] }, files: [{ path: 'weights.pt' }] },
    })
    expect((await listed({ status: 'downloaded', model: CLIP })).map((sae) => sae.id)).toEqual([id])

    await expect(catalog.saes.attachFiles(id, { ...attached, provenance, weightsSha256: 'b'.repeat(64) })).rejects.toMatchObject({
      code: 'SAE_CONFLICT',
    })
    const elsewhere = { ...attached, provenance, description: aDownload({ hookPoint: 'blocks.4.hook_resid_post' }).description }
    await expect(catalog.saes.attachFiles(id, elsewhere)).rejects.toMatchObject({ code: 'SAE_CONFLICT' })
  })

  test('that is published loses its files when it is removed, and stays with its published numbers', async () => {
    const id = `${CLIP}.3-resid-post.vanilla-x64-all`
    await catalog.metrics.put(id, [measured])
    expect(await catalog.saes.remove(id)).toBe(true)
    const entry = (await catalog.saes.getWithMetrics(id))!
    expect(entry.download).toBeNull()
    expect(entry.metrics.length).toBe(10)
    expect(entry.metrics.every(({ source }) => source === 'published')).toBe(true)
  })

  test('of our own is gone when it is removed', async () => {
    const id = 'tiny-vit.1-resid-post.gone'
    await catalog.saes.create(anSae({ id, modelId: 'tiny-vit', download: aDownload() }))
    expect(await catalog.saes.get(id)).toBeDefined()
    expect(await catalog.saes.remove(id)).toBe(true)
    expect(await catalog.saes.get(id)).toBeUndefined()
    expect(await catalog.saes.remove(id)).toBe(false)
  })

  test('holds what PostgreSQL cannot: NUL and half a surrogate pair in what its files say', async () => {
    const id = 'tiny-vit.1-resid-post.odd'
    const download = aDownload()
    const odd = { ...download, description: { ...download.description, saved: { note: 'a\0b\ud800c' } } }
    const entry = await catalog.saes.create(anSae({ id, modelId: 'tiny-vit', download: odd, trainedOn: 'x\0\ud800', note: '\0' }))
    expect(entry.download!.description.saved).toEqual({ note: 'a\ufffdb\ufffdc' })
    expect(entry.trainedOn).toBe('x\ufffd')
  })
})

describe('values of metrics', () => {
  test('under the same circumstances are replaced, under others are kept beside each other', async () => {
    const id = 'tiny-vit.1-resid-post.measured'
    await catalog.saes.create(anSae({ id, modelId: 'tiny-vit' }))
    await catalog.metrics.put(id, [measured, { ...measured, metric: 'prisma/ce', value: null, flags: ['undefined'], low: 1, high: 2 }])
    await catalog.metrics.put(id, [{ ...measured, value: 6, measuredAt: new Date('2026-01-02') }])
    await catalog.metrics.put(id, [{ ...measured, value: 7, seed: 2 }])
    const values = await catalog.metrics.list({ saeId: id })
    expect(values.map(({ metric, value }) => [metric, value])).toEqual([
      ['prisma/ce', null],
      ['prisma/l0', 6],
      ['prisma/l0', 7],
    ])
    expect(values[0]).toEqual({ ...measured, metric: 'prisma/ce', value: null, flags: ['undefined'], low: 1, high: 2, saeId: id })
    expect(await catalog.metrics.list({ saeId: id, metric: 'prisma/ce' })).toHaveLength(1)
  })

  test('put by several at once are all there, and the list is sorted by one of them', async () => {
    const id = 'tiny-vit.1-resid-post.busy'
    await catalog.saes.create(anSae({ id, modelId: 'tiny-vit' }))
    await Promise.all([1, 2, 3, 4, 5].map((n) => catalog.metrics.put(id, [{ ...measured, n, value: n }])))
    expect(await catalog.metrics.list({ saeId: id })).toHaveLength(5)
    const [largest] = await listed({ model: 'tiny-vit', maxL0: 5, sort: 'l0', order: 'desc' })
    expect(largest!.id).toBe(id)
    expect(await listed({ model: 'tiny-vit', maxL0: 4 })).toEqual([])
  })

  test('stand for an SAE in this order: published, over most pictures, newest; compatible definitions first', () => {
    const standing = (...values: Partial<MetricValueRecord>[]) =>
      headlineValue(
        'l0',
        values.map((value) => ({ ...measured, ...value })),
      )?.value
    expect(standing({ value: 1 }, { value: 2, n: 1, source: 'published' })).toBe(2)
    expect(standing({ value: 1 }, { value: 2, n: 200 })).toBe(2)
    expect(standing({ value: 1 }, { value: 2, measuredAt: new Date('2026-02-01') })).toBe(2)
    expect(standing({ value: 1, metric: 'l0', source: 'published' }, { value: 2, n: 1 })).toBe(2)
    expect(standing({ value: null }, { value: 3, metric: 'prisma/cls-l0' })).toBe(3)
    expect(standing({ metric: 'ce' })).toBeUndefined()
  })
})

test.each<[Partial<Parameters<typeof saeIdOf>[0]>, string]>([
  [{}, 'm.9-resid-post.vanilla-x64-all'],
  [{ architecture: 'topk', k: 32, positions: 'cls' }, 'm.9-resid-post.topk-32-x64-cls'],
  [{ architecture: 'batch-topk', k: 32.5, width: 100 }, 'm.9-resid-post.batch-topk-32-5-w100-all'],
  [{ hookPointIn: 'hook_embed', hookPointOut: 'hook_embed', positions: null, width: null }, 'm.embed.vanilla'],
  [{ hookPointIn: 'blocks.1.attn.hook_z', hookPointOut: 'blocks.1.attn.hook_z' }, 'm.1-attn-z.vanilla-x64-all'],
])('an id says what an SAE is: %j is %s', (parts, id) => {
  const plain = { modelId: 'm', hookPointIn: 'blocks.9.hook_resid_post', hookPointOut: 'blocks.9.hook_resid_post', k: null } as const
  const facts = { ...plain, architecture: 'standard', width: 49_152, dIn: 768, positions: 'all', l1Coefficient: null, ...parts } as const
  expect(saeIdOf(facts)).toBe(id)
  expect(saeIdOf({ ...facts, l1Coefficient: 5e-5 }, { withL1: true })).toBe(`${id}-l1-5e-5`)
  expect(layerOf(facts.hookPointIn)).toBe(facts.hookPointIn === 'hook_embed' ? null : Number(/\d+/.exec(facts.hookPointIn)![0]))
})
