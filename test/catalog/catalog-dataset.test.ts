import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import { openCatalogDataset } from '../../src/catalog/catalog-dataset.js'
import { createPictureStore, type HeldAs } from '../../src/engine/datasets/picture-store.js'
import { decode } from '../../src/engine/image/decode.js'
import type { Preprocessing } from '../../src/engine/image/preprocessing.js'
import { limits, png } from '../engine/datasets/pictures.js'
import { createTestCatalog } from './test-database.js'

let catalog: Catalog
let close: () => Promise<void>
beforeAll(async () => {
  ;({ catalog, close } = await createTestCatalog())
})
afterAll(() => close())

const base = { name: 'Two', classNames: ['cat', 'dog'], description: null, license: null }
const how: Preprocessing = { resize: null, resample: 'bicubic', crop: null, rescale: 1, mean: [0, 0, 0], std: [1, 1, 1], mode: 'RGB' }
const held: HeldAs = { as: 'whole', side: 100, withAlpha: false }
const none = { count: 0, first: [] }
const open = (id: string) => openCatalogDataset({ catalog, blobs: catalog.blobs }, id)

describe('a registered data set', () => {
  test('opens with what is known of its pictures, which are read from the blob store', async () => {
    const bytes = await png(7)
    const imageId = `sha256:${await catalog.blobs.put(bytes)}`
    const captions = [{ text: 'a "cat"', weight: 0.5 }]
    const report = { unreadable: { count: 1, first: ['x.png (damaged)'] }, identical: none, ignored: none }
    const facets = { category: 'Animals', tone: 3 }
    const items = [
      { name: 'one.png', imageId, label: 1, captions, facets, variants: [imageId] },
      { name: 'two.png', imageId, label: 0 },
    ]
    await catalog.datasets.register({ ...base, id: 'two', hash: 'a'.repeat(64), report, items })

    const dataset = await open('two')
    expect(dataset).toMatchObject({ name: 'two', hash: 'a'.repeat(64), size: 2, nClasses: 2, classNames: ['cat', 'dog'], report })
    const first = dataset.item(0)
    expect(first).toMatchObject({ name: 'one.png', label: 1, captions, facets })
    expect(first.variants).toHaveLength(1)
    expect(dataset.item(1)).toEqual({ name: 'two.png', picture: { kind: 'stored', read: expect.any(Function) }, label: 0, facets: {} })
    const store = createPictureStore({ how, held, cacheBytes: 1e6, limits })
    expect(await store.get(first.picture, first.name)).toEqual(await decode(bytes, limits))
  })

  test('of more items than one statement has is whole and in order', async () => {
    const items = Array.from({ length: 20_001 }, (_, index) => ({ name: `${index}.png`, imageId: `sha256:${index}`, label: null }))
    await catalog.datasets.register({ ...base, classNames: [], id: 'many', hash: 'b'.repeat(64), items })
    const dataset = await open('many')
    expect(dataset.nClasses).toBeUndefined()
    expect(Array.from({ length: dataset.size }, (_, index) => dataset.item(index).name)).toEqual(items.map(({ name }) => name))
  })

  test.each<[string, string, RegExp]>([
    ['there is none of the id', 'nothing', /"nothing".*none of this id/],
    ['it is known from a published table', 'published', /only known by name/],
    ['a picture is not stored', 'bare', /picture of a\.png is not stored/],
  ])('is refused when %s', async (_, id, message) => {
    await catalog.datasets.register({ ...base, id: 'published', hash: null, items: [] })
    await catalog.datasets.register({ ...base, id: 'bare', hash: 'c'.repeat(64), items: [{ name: 'a.png', imageId: null, label: null }] })
    await expect(open(id)).rejects.toMatchObject({ code: 'DATASET_INVALID', message: expect.stringMatching(message) })
  })

  test('says which picture is gone when it is asked for', async () => {
    const items = [{ name: 'lost.png', imageId: `sha256:${'0'.repeat(64)}`, label: null }]
    await catalog.datasets.register({ ...base, id: 'lost', hash: 'd'.repeat(64), items })
    const { picture, name } = (await open('lost')).item(0)
    const store = createPictureStore({ how, held, cacheBytes: 0, limits })
    await expect(store.get(picture, name)).rejects.toMatchObject({ code: 'DATASET_INVALID', message: expect.stringContaining('lost.png') })
  })
})
