import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import type { NewDataset } from '../../src/catalog/datasets.js'
import { createTestCatalog } from './test-database.js'

let catalog: Catalog
let close: () => Promise<void>
beforeAll(async () => {
  const made = await createTestCatalog()
  catalog = made.catalog
  close = made.close
  await catalog.baseModels.add([{ id: 'm', name: 'm', repo: null, aliases: [], license: null }])
})
afterAll(() => close())

const aDataset = (change: Partial<NewDataset>): NewDataset => ({
  ...{ id: 'pictures', name: 'Pictures', hash: 'a'.repeat(64), classNames: ['cat', 'dog'], description: null, license: null },
  items: Array.from({ length: 12 }, (_, index) => ({ name: `${index}.png`, imageId: `sha256:${index}`, label: index % 2 })),
  ...change,
})

describe('data sets', () => {
  test('are their content: the same under another id is the first, another under the same id is refused', async () => {
    const made = await catalog.datasets.register(aDataset({}))
    expect(made).toMatchObject({ id: 'pictures', nItems: 12, classNames: ['cat', 'dog'] })
    expect(await catalog.datasets.register(aDataset({ id: 'again' }))).toEqual(made)
    await expect(catalog.datasets.register(aDataset({ hash: 'b'.repeat(64) }))).rejects.toMatchObject({ code: 'INPUT_INVALID' })
    expect(await catalog.datasets.ids()).toEqual(['pictures'])
  })

  test('say which picture an item is', async () => {
    expect(await catalog.datasets.items('pictures', [3, 11, 3, 99])).toEqual([
      { index: 3, name: '3.png', imageId: 'sha256:3', label: 1 },
      { index: 11, name: '11.png', imageId: 'sha256:11', label: 1 },
    ])
  })

  test('registered by five at once are one', async () => {
    const hash = 'c'.repeat(64)
    const made = await Promise.all([1, 2, 3, 4, 5].map(() => catalog.datasets.register(aDataset({ id: 'five', hash }))))
    expect(new Set(made.map(({ createdAt }) => createdAt.getTime())).size).toBe(1)
    expect(await catalog.datasets.items('five', [0])).toHaveLength(1)
    expect(await catalog.datasets.ofHash(hash)).toEqual(made[0])
  })

  test('are listed in pages, found by name, and gone with their items when removed', async () => {
    await catalog.datasets.register(aDataset({ id: 'odd', name: 'Odd\0 ones', hash: 'd'.repeat(64), items: [] }))
    const first = await catalog.datasets.list({ limit: 2 })
    const rest = await catalog.datasets.list({ limit: 2, cursor: first.nextCursor! })
    expect([...first.items, ...rest.items].map(({ id }) => id)).toEqual(['five', 'odd', 'pictures'])
    expect((await catalog.datasets.list({ limit: 5, text: 'ODD ones' })).items.map(({ id }) => id)).toEqual(['odd'])
    expect(await catalog.datasets.remove('five')).toBe(true)
    expect(await catalog.datasets.items('five', [0])).toEqual([])
    expect(await catalog.datasets.remove('five')).toBe(false)
  })
})

describe('vectors', () => {
  const vector = {
    id: 'smile',
    modelId: 'm',
    hookPoint: 'blocks.1.hook_resid_post',
    values: Float32Array.of(1.5, -2, 1 / 3),
    description: 'x',
  }

  test('keep their numbers, under an id that is theirs', async () => {
    expect((await catalog.vectors.create(vector)).values).toEqual(vector.values)
    expect((await catalog.vectors.get('smile'))!.values).toEqual(vector.values)
    expect((await catalog.vectors.create(vector)).values).toEqual(vector.values)
    const other = { ...vector, values: Float32Array.of(1.5, -2, 0) }
    await expect(catalog.vectors.create(other)).rejects.toMatchObject({ code: 'INPUT_INVALID', details: { path: 'id' } })
    await expect(catalog.vectors.create({ ...vector, id: 'y', modelId: 'nobody' })).rejects.toMatchObject({ code: 'BASE_MODEL_UNKNOWN' })
  })

  test('are listed by model, and gone when removed', async () => {
    expect((await catalog.vectors.list({ limit: 5, model: 'm' })).items.map(({ id }) => id)).toEqual(['smile'])
    expect((await catalog.vectors.list({ limit: 5, model: 'n' })).totalCount).toBe(0)
    expect(await catalog.vectors.remove('smile')).toBe(true)
    expect(await catalog.vectors.get('smile')).toBeUndefined()
  })
})
