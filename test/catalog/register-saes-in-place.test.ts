import fs from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import { registerSaesInPlace } from '../../src/catalog/import/register-saes-in-place.js'
import { describeSae } from '../../src/engine/saes/load-sae.js'
import { saveSae } from '../../src/engine/saes/save-sae.js'
import { float32 } from '../../src/engine/tensor.js'
import { aModel } from './a-model.js'
import { createTestCatalog } from './test-database.js'

let catalog: Catalog
let dataDir: string
let close: () => Promise<void>
let saes: string
let inspected: string[]
beforeAll(async () => {
  const made = await createTestCatalog()
  ;({ catalog, close } = made)
  dataDir = made.database.dataDir
  await catalog.models.register(aModel({ id: 'tiny-vit' }))
})
afterAll(() => close())
beforeEach(async () => {
  for (const id of await catalog.saes.ids()) await catalog.saes.remove(id)
  saes = await fs.mkdtemp(path.join(dataDir, 'demo-saes-'))
  inspected = []
})

const registering = () =>
  registerSaesInPlace(saes, 'demo/saes', {
    catalog,
    license: 'mit',
    inspectSae: ({ folder }) => {
      inspected.push(path.basename(folder))
      return describeSae(folder)
    },
  })

const id = 'tiny-vit.0-resid-post.topk-2-x2-all'
const other = 'tiny-vit.0-resid-post.topk-3-x2-all'

async function put(name: string, { weight = 1, l0 }: { weight?: number; l0?: number } = {}): Promise<void> {
  const folder = path.join(saes, name)
  const shared = { architecture: 'topk', activation: 'topk', k: 2, dIn: 2, dOut: 2, dSae: 4, normalization: 'none' } as const
  const config = { ...shared, subtractsDecoderBias: true, hookPoint: 'blocks.0.hook_resid_post' }
  const filled = (shape: number[]) => float32(shape, new Array(shape.reduce((a, b) => a * b, 1)).fill(weight))
  const weights = { W_enc: filled([2, 4]), b_enc: filled([4]), W_dec: filled([4, 2]), b_dec: filled([2]) }
  await saveSae(folder, { config, weights, training: { positions: 'all', datasetName: 'shapes' } }, { layout: 'sae-lens', replace: true })
  if (l0 === undefined) return
  const metrics = [
    { metric: 'l0', version: 1, value: l0, flags: [], n: 10 },
    { metric: 'no-metric-any-more', version: 1, value: 1, flags: [], n: 10 },
  ]
  const dataset = { name: 'shapes, held out', hash: 'a'.repeat(64) }
  await fs.writeFile(
    path.join(folder, 'metrics.json'),
    JSON.stringify({ codeVersion: '1', backend: 'onnxruntime', dtype: 'float32', dataset, metrics }),
  )
}

test('SAEs that come with the repository are registered where they are, once, with what was measured of them', async () => {
  await put(id, { l0: 2 })
  await put('other-vit.0-resid-post.topk-2-x2-all')
  await fs.writeFile(path.join(saes, 'README.md'), 'no SAE')
  await put(other)
  await fs.writeFile(path.join(saes, other, 'README.md'), '---\nlicense: cc-by-sa-4.0\n---\n')
  expect((await registering()).map((entry) => entry.id).sort()).toEqual([id, other])
  expect(await registering()).toEqual([])
  expect((await catalog.saes.get(other))!.license).toBe('cc-by-sa-4.0')
  expect(inspected.sort()).toEqual([id, other])
  expect(await catalog.saes.get(id)).toMatchObject({
    modelId: 'tiny-vit',
    architecture: 'topk',
    hookPointIn: 'blocks.0.hook_resid_post',
    ...{ layer: 0, k: 2, width: 4, positions: 'all', trainedOn: 'shapes', license: 'mit' },
    provenance: { kind: 'folder', name: `demo/saes/${id}` },
    download: { folder: path.join(saes, id) },
  })
  expect(await catalog.metrics.list({ saeId: id })).toMatchObject([
    { metric: 'l0', value: 2, n: 10, source: 'measured', codeVersion: '1', dataset: { id: 'shapes-held-out', hash: 'a'.repeat(64) } },
  ])
})

test('one that was trained or measured anew is registered as it is now', async () => {
  await put(id, { l0: 2 })
  const [before] = await registering()
  await put(id, { l0: 1 })
  expect(await registering()).toEqual([])
  expect((await catalog.metrics.list({ saeId: id })).map(({ value }) => value)).toEqual([1])
  await put(id, { weight: 3, l0: 1 })
  const [after] = await registering()
  expect(after!.download!.weightsSha256).not.toBe(before!.download!.weightsSha256)
})

test("a user's own SAE of that id is left alone", async () => {
  await put(id)
  const [entry] = await registering()
  await catalog.saes.remove(id)
  const { download, createdAt: _, isPublished: __, ...facts } = entry!
  await catalog.saes.create({ ...facts, provenance: { kind: 'folder', name: 'mine' }, download: download! })
  expect(await registering()).toEqual([])
  expect((await catalog.saes.get(id))!.provenance).toEqual({ kind: 'folder', name: 'mine' })
})
