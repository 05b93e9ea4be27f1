/** The blob with the mean embeddings of a set of features: who names it, and when it goes. */

import fs from 'node:fs/promises'
import path from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import type { NewFeatureSet } from '../../src/catalog/feature-sets.js'
import { migrate, migrationsFolder } from '../../src/catalog/migrate.js'
import { features } from './a-feature.js'
import { anSae } from './an-sae.js'
import { createTestCatalog, createTestDatabase, type TestDatabase } from './test-database.js'

const WIDTH = 40
const dataset = { id: 'd', hash: 'h'.repeat(64) }
const place = 'sha256'

let catalog: Catalog
let database: TestDatabase
let close: () => Promise<void>
beforeAll(async () => {
  ;({ catalog, database, close } = await createTestCatalog())
  await catalog.baseModels.add([{ id: 'm', name: 'm', repo: null, aliases: [], license: null }])
})
afterAll(() => close())

let nSaes = 0
let sae: string
beforeEach(async () => {
  sae = `m.1-resid-post.number-${nSaes++}`
  await catalog.saes.create(anSae({ id: sae, modelId: 'm', width: WIDTH }))
})

async function index(text: string, { datasetId = dataset.id }: { datasetId?: string } = {}): Promise<string> {
  const sha256 = await put(text)
  await catalog.features.load(aSet({ datasetId, embeddings: { sha256, place: catalog.places.blobs } }), features())
  return sha256
}

function aSet({ datasetId, ...change }: Partial<NewFeatureSet> & { datasetId: string }): NewFeatureSet {
  return {
    ...{ saeId: sae, dataset: { ...dataset, id: datasetId }, width: WIDTH, seed: 1, dtype: 'float32', backend: 'onnxruntime' },
    ...{ codeVersion: '1', measuredAt: new Date('2026-01-01'), about: { nImages: 100, nTokens: 50, topLength: 4 } },
    ...change,
  }
}

/** A blob of so long ago that nobody can be about to name it. */
async function put(text: string): Promise<string> {
  const sha256 = await catalog.blobs.put(Buffer.from(text))
  const hourAgo = new Date(Date.now() - 61 * 60_000)
  await fs.utimes(path.join(database.dataDir, 'blobs', place, sha256.slice(0, 2), sha256), hourAgo, hourAgo)
  return sha256
}

const isThere = async (sha256: string) => (await catalog.blobs.get(sha256)) !== undefined
const removeLeft = () => catalog.leftBlobs.remove({ olderThanMs: 0 })

describe('mean embeddings of features', () => {
  test('are named by their set', async () => {
    const sha256 = await index('named')
    const [set] = await catalog.features.sets(sae)
    expect(set!.embeddings).toEqual({ sha256, place: catalog.places.blobs })
    await catalog.features.load(aSet({ datasetId: 'other' }), features())
    expect((await catalog.features.sets(sae)).map(({ embeddings }) => embeddings?.sha256).sort()).toEqual([sha256, undefined])
    await removeLeft()
    expect(await isThere(sha256)).toBe(true)
  })

  test.each<[string, () => Promise<unknown>]>([
    ['their SAE is indexed again', () => index('again')],
    ['it is indexed again without them', () => catalog.features.load(aSet({ datasetId: dataset.id }), features())],
    ['the set is removed', async () => catalog.features.remove((await catalog.features.sets(sae))[0]!)],
    ['the SAE is removed', () => catalog.saes.remove(sae)],
    [
      'the data set is removed',
      async () => {
        const about = { name: 'D', classNames: [], description: null, license: null, items: [] }
        await catalog.datasets.register({ ...dataset, ...about })
        await catalog.datasets.remove(dataset.id)
      },
    ],
  ])('go when %s', async (name, change) => {
    const sha256 = await index(name)
    await change()
    expect(await isThere(sha256)).toBe(true)
    // not at once: who has just put the same may be about to name it
    await catalog.leftBlobs.remove()
    expect(await isThere(sha256)).toBe(true)
    expect(await removeLeft()).toBeGreaterThan(0)
    expect(await isThere(sha256)).toBe(false)
    expect(await removeLeft()).toBe(0)
  })

  test('go when a published SAE is removed, which stays as an entry', async () => {
    const sha256 = await index('published')
    await catalog.prisma.sae.update({ where: { id: sae }, data: { isPublished: true } })
    await catalog.saes.remove(sae)
    expect(await catalog.saes.get(sae)).toBeDefined()
    await removeLeft()
    expect(await isThere(sha256)).toBe(false)
  })

  test('of a data set that is removed go alone: the statistics stay', async () => {
    await index('alone')
    await catalog.datasets.register({ ...dataset, name: 'D', classNames: [], description: null, license: null, items: [] })
    await catalog.datasets.remove(dataset.id)
    const row = await catalog.prisma.featureSet.findFirstOrThrow({ where: { saeId: sae } })
    expect(row).toMatchObject({ embeddingsSha256: null, embeddingsPlace: null, width: WIDTH })
    expect(await catalog.prisma.feature.count({ where: { setId: row.id } })).toBe(WIDTH)
  })

  test('stay while another set, or a load that came to the same, names the same bytes', async () => {
    const sha256 = await index('shared')
    expect(await index('shared')).toBe(sha256)
    await removeLeft()
    expect(await isThere(sha256)).toBe(true)
    await index('shared', { datasetId: 'other' })
    await catalog.features.remove((await catalog.features.sets(sae))[0]!)
    await removeLeft()
    expect(await isThere(sha256)).toBe(true)
    await catalog.saes.remove(sae)
    await removeLeft()
    expect(await isThere(sha256)).toBe(false)
  })

  test('of a load that failed are not named, and those of before still are', async () => {
    const sha256 = await index('before')
    const failing = aSet({ datasetId: dataset.id, embeddings: { sha256: await put('failed'), place: catalog.places.blobs } })
    await expect(catalog.features.load(failing, [...features()].slice(1))).rejects.toThrow()
    await removeLeft()
    expect((await catalog.features.sets(sae))[0]!.embeddings!.sha256).toBe(sha256)
    expect(await isThere(sha256)).toBe(true)
  })

  test('in another blob store are left to whoever works there', async () => {
    const sha256 = await put('elsewhere')
    await catalog.features.load(aSet({ datasetId: dataset.id, embeddings: { sha256, place: 'another' } }), features())
    await catalog.saes.remove(sae)
    expect(await removeLeft()).toBe(0)
    expect(await isThere(sha256)).toBe(true)
    expect(await catalog.prisma.leftBlob.count({ where: { place: 'another' } })).toBe(1)
  })
})

test('a database of before, with features in it, is brought up to date', async () => {
  const old = await createTestDatabase({ migrated: false })
  const folder = path.join(old.dataDir, 'migrations')
  const names = (await fs.readdir(migrationsFolder)).filter((name) => /^0\d/.test(name))
  for (const name of names.filter((each) => each < '0006')) {
    await fs.cp(path.join(migrationsFolder, name), path.join(folder, name), { recursive: true })
  }
  await migrate(old.url, folder)
  const sql = postgres(old.url, { max: 1, onnotice: () => {} })
  await sql`insert into base_models (id, name, aliases) values ('m', 'm', '{}')`
  await sql`
    insert into saes (id, model_id, release, suite, architecture, hook_point_in, hook_point_out, source_kind, source, is_published, words)
    values ('m.a', 'm', 'r', 's', 'standard', 'h', 'h', 'folder', 'f', false, '')`
  const insert = () => sql`
    insert into feature_sets (sae_id, dataset_id, dataset_hash, width, statistic_names, about, seed, dtype, backend, code_version, measured_at)
    values ('m.a', 'd', 'h', 1, '{}', '{}', 1, 'float32', 'b', '1', now())`
  await insert()
  expect(await migrate(old.url)).toContain('0006_feature_embeddings')
  expect(await sql`select width, embeddings_sha256, embeddings_place from feature_sets`).toEqual([
    { width: 1, embeddings_sha256: null, embeddings_place: null },
  ])
  await sql`delete from feature_sets`
  expect(await sql`select * from left_blobs`).toHaveLength(0)
  await sql.end()
  await old.close()
})
