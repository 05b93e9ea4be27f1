import fs from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import { registerInPlace } from '../../src/catalog/import/register-in-place.js'
import { aModel } from './a-model.js'
import { createTestCatalog } from './test-database.js'

let catalog: Catalog
let dataDir: string
let close: () => Promise<void>
let models: string
let inspected: number
beforeAll(async () => {
  const made = await createTestCatalog()
  ;({ catalog, close } = made)
  dataDir = made.database.dataDir
})
afterAll(() => close())
beforeEach(async () => {
  for (const id of await catalog.models.ids()) await catalog.models.remove(id)
  models = await fs.mkdtemp(path.join(dataDir, 'demo-'))
  inspected = 0
})

const { description } = aModel({ id: 'x' })
const registering = (folder = models) =>
  registerInPlace(folder, 'demo/models', {
    catalog,
    inspect: async () => {
      inspected++
      return description
    },
  })
async function put(id: string, weights: string): Promise<void> {
  await fs.mkdir(path.join(models, id), { recursive: true })
  await fs.writeFile(path.join(models, id, 'config.json'), '{}')
  await fs.writeFile(path.join(models, id, 'model.safetensors'), weights)
}

test('models that come with the repository are registered where they are, once', async () => {
  await put('one', 'a')
  await put('two', 'b')
  await fs.writeFile(path.join(models, 'README.md'), 'not a model')
  await fs.writeFile(path.join(models, 'two', 'README.md'), '---\nlicense: cc-by-4.0\ntags: [tiny]\n---\n# Two\n')
  await fs.mkdir(path.join(models, '.hidden'))
  expect((await registering()).map(({ id }) => id)).toEqual(['one', 'two'])
  expect(await registering()).toEqual([])
  expect(inspected).toBe(2)
  expect(await catalog.models.get('one')).toMatchObject({
    folder: path.join(models, 'one'),
    provenance: { kind: 'folder', name: 'demo/models/one' },
    license: null,
  })
  expect((await catalog.models.get('two'))!.license).toBe('cc-by-4.0')
})

test('one that changed in the repository is registered as it is now', async () => {
  await put('one', 'a')
  const [before] = await registering()
  await put('one', 'retrained')
  const [after] = await registering()
  expect(after?.weightsSha256).not.toBe(before?.weightsSha256)
  expect(await catalog.models.get('one')).toEqual(after)
})

test('a repository that moved takes its models along', async () => {
  await put('one', 'a')
  const [before] = await registering()
  const moved = `${models}-moved`
  await fs.rename(models, moved)
  await registering(moved)
  expect(await catalog.models.get('one')).toEqual({ ...before, folder: path.join(moved, 'one') })
})

test("a user's own model of the same name is left alone", async () => {
  const own = await catalog.models.register(aModel({ id: 'one' }))
  await put('one', 'a')
  expect(await registering()).toEqual([])
  expect(await catalog.models.get('one')).toEqual(own)
})

test('without such a folder there is nothing to register', async () => {
  expect(await registering(path.join(models, 'nowhere'))).toEqual([])
})

test('one that cannot be read is an error that names it', async () => {
  await fs.mkdir(path.join(models, 'empty'))
  await expect(registering()).rejects.toThrow(/empty: holds no weights/)
})
