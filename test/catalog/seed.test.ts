import { readFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import { isSaeId } from '../../src/catalog/sae-id.js'
import { publishedEntries } from '../../src/catalog/seed/published-saes.js'
import { seedCatalog } from '../../src/catalog/seed/seed-catalog.js'
import { metricDefinitions } from '../../src/engine/evaluation/metric-definitions.js'
import { aDownload } from './an-sae.js'
import { createTestCatalog } from './test-database.js'

let catalog: Catalog
let close: () => Promise<void>
beforeAll(async () => {
  const made = await createTestCatalog()
  catalog = made.catalog
  close = made.close
  await seedCatalog(catalog.prisma)
})
afterAll(() => close())

const everything = () => catalog.saes.list({ limit: 100 })

describe('a seeded catalog', () => {
  test('has all 93 published SAEs, in the suites they were published in, none of them downloaded', async () => {
    const { items, totalCount } = await everything()
    expect(totalCount).toBe(93)
    const counts: Record<string, number> = {}
    for (const { suite } of items) counts[suite] = (counts[suite] ?? 0) + 1
    expect(counts).toEqual({
      'clip-b32-vanilla-all-patches': 24,
      'clip-b32-vanilla-cls': 12,
      'clip-b32-topk64-cls': 12,
      'clip-b32-vanilla-spatial': 12,
      'dino-b16-vanilla-all-patches': 12,
      'clip-b32-transcoder-topk-all-patches': 11,
      'clip-b32-vanilla-all-patches-alternates': 8,
      other: 2,
    })
    expect(items.every(({ download, isPublished }) => download === null && isPublished)).toBe(true)
  })

  test('gives each an id that says what it is, and no two the same', async () => {
    const ids = await catalog.saes.ids()
    expect(new Set(ids).size).toBe(93)
    expect(ids.filter((id) => !isSaeId(id))).toEqual([])
    expect(ids).toEqual(
      expect.arrayContaining([
        'clip-vit-b-32-datacomp-xl.9-resid-post.vanilla-x64-all',
        'clip-vit-b-32-datacomp-xl.11-resid-post.topk-64-x64-cls',
        'clip-vit-b-32-datacomp-xl.10-resid-post.vanilla-x64-patches',
        'clip-vit-b-32-datacomp-xl.1-ln2-normalized.transcoder-topk-256-x64-all',
        'clip-vit-b-32-datacomp-xl.11-mlp-out.vanilla-x64-all-l1-1e-5',
        'clip-vit-b-32-datacomp-xl.9-mlp-out.gated-x64-all',
        'dino-vitb16.0-resid-post.vanilla-x64-all',
        'tinyclip-vit-40m-32-text-19m-laion400m.9-mlp-out.vanilla-x16',
      ]),
    )
  })

  test('has every published number once, under a metric of the registry', async () => {
    const { items } = await everything()
    const file = path.resolve(import.meta.dirname, '../../src/catalog/seed/published-saes.json')
    const rows: { repo: string | null; numbers?: Record<string, number> }[] = JSON.parse(readFileSync(file, 'utf8')).saes
    const values = items.flatMap(({ metrics }) => metrics)
    expect(values.length).toBe(rows.flatMap(({ numbers = {} }) => Object.values(numbers)).length)
    const known = new Map(metricDefinitions.map((definition) => [definition.id, definition]))
    expect(values.filter(({ metric, version }) => known.get(metric)?.version !== version)).toEqual([])
    expect(values.every(({ metric, source }) => source === 'published' && metric.startsWith('prisma/'))).toBe(true)

    const sae = items.find(({ id }) => id === 'clip-vit-b-32-datacomp-xl.11-mlp-out.vanilla-x64-all')!
    const numbers = Object.fromEntries(sae.metrics.map(({ metric, value }) => [metric, value]))
    expect(numbers).toMatchObject({ 'prisma/explained-variance': 89.7, 'prisma/l0': 748.14, 'prisma/ce-recovered': 135.77 })
    expect(sae.metrics.find(({ metric }) => metric === 'prisma/ce-recovered')!.flags).toContain('ill-conditioned')
  })

  test('says of each where its weights are, and of the one without a repository that there is none', async () => {
    const { items } = await everything()
    const withoutRepo = items.filter(({ provenance }) => provenance.kind !== 'hub')
    expect(withoutRepo.map(({ id, note }) => [id, note])).toEqual([
      ['clip-vit-b-32-datacomp-xl.10-resid-post.vanilla-x64-patches', expect.stringContaining('no repository is known')],
    ])
    expect(
      (await catalog.saes.ofRepository('prisma-multimodal/CLIP-transcoder-topk-256-x64-all_patches_1-mlp-94')).map(
        ({ id, provenance, file }) => ({ id, provenance, file }),
      ),
    ).toMatchObject([
      {
        id: 'clip-vit-b-32-datacomp-xl.1-ln2-normalized.transcoder-topk-256-x64-all',
        provenance: { kind: 'hub', revision: '96c293a7299a99fe3d70f1f15498215849f22d96' },
        file: 'weights.pt',
      },
    ])
  })

  test('knows the models they belong to without claiming to have them', async () => {
    expect((await catalog.baseModels.list()).map(({ id, repo }) => [id, repo])).toEqual([
      ['clip-vit-b-32-datacomp-xl', 'laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K'],
      ['dino-vitb16', 'facebook/dino-vitb16'],
      ['tinyclip-vit-40m-32-text-19m-laion400m', 'wkcn/TinyCLIP-ViT-40M-32-Text-19M-LAION400M'],
    ])
    expect((await catalog.models.list({ limit: 10 })).totalCount).toBe(0)
    const named = await catalog.baseModels.find('open-clip:laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K')
    expect(named?.id).toBe('clip-vit-b-32-datacomp-xl')
  })

  test('is not seeded twice, and finding that out takes a moment', async () => {
    const times: number[] = []
    for (let again = 0; again < 10; again++) {
      const started = performance.now()
      expect(await seedCatalog(catalog.prisma)).toBe(false)
      times.push(performance.now() - started)
    }
    // the machine may be busy with something else
    expect(Math.min(...times)).toBeLessThan(50)
    expect((await everything()).totalCount).toBe(93)
  })

  test('of another version is renewed: published numbers are, files and measured values stay', async () => {
    const id = 'clip-vit-b-32-datacomp-xl.0-resid-post.vanilla-x64-all'
    await catalog.saes.attachFiles(id, {
      ...aDownload({ hookPoint: 'blocks.0.hook_resid_post' }),
      provenance: { kind: 'folder', name: 'x' },
      license: 'mit',
      file: 'weights.pt',
    })
    const [value] = publishedEntries.find(({ sae }) => sae.id === id)!.metrics
    await catalog.metrics.put(id, [{ ...value!, source: 'measured', value: 1, n: 10 }])
    await catalog.prisma.metricValue.updateMany({ where: { saeId: id, source: 'published' }, data: { value: 0 } })
    await catalog.prisma.seed.updateMany({ data: { hash: 'older' } })

    expect(await seedCatalog(catalog.prisma)).toBe(true)
    const renewed = (await catalog.saes.getWithMetrics(id))!
    expect(renewed.download).not.toBeNull()
    const numbers = renewed.metrics.filter(({ metric }) => metric === value!.metric).map(({ source, value: number }) => [source, number])
    expect(numbers).toEqual([
      ['published', 98.6],
      ['measured', 1],
    ])
  })

  test('seeded by five servers at once is seeded once', async () => {
    await catalog.prisma.seed.deleteMany()
    const done = await Promise.all(Array.from({ length: 5 }, () => seedCatalog(catalog.prisma)))
    expect(done).toContain(true)
    expect((await everything()).totalCount).toBe(93)
  })
})
