import fs from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import { importTrainedSaes } from '../../src/catalog/import/import-trained-saes.js'
import { readConfig } from '../../src/config.js'
import { saveSae } from '../../src/engine/saes/save-sae.js'
import { float32 } from '../../src/engine/tensor.js'
import { anSae } from './an-sae.js'
import { createTestCatalog } from './test-database.js'

const plain = 'tiny-vit.0-resid-post.topk-2-x2-all'

let catalog: Catalog
let dataDir: string
let close: () => Promise<void>
let run: string
beforeAll(async () => {
  const made = await createTestCatalog()
  ;({ catalog, close } = made)
  dataDir = made.database.dataDir
  await catalog.baseModels.add([{ id: 'tiny-vit', name: 'tiny-vit', repo: null, aliases: [], license: null }])
})
afterAll(() => close())
beforeEach(async () => {
  for (const id of await catalog.saes.ids()) await catalog.saes.remove(id)
  run = await fs.mkdtemp(path.join(dataDir, 'run-'))
})

async function trained(name: string, weight: number): Promise<string> {
  const folder = path.join(run, 'saes', name)
  const shared = { architecture: 'topk', activation: 'topk', k: 2, dIn: 2, dOut: 2, dSae: 4, normalization: 'none' } as const
  const config = { ...shared, subtractsDecoderBias: true, hookPoint: 'blocks.0.hook_resid_post' }
  const filled = (shape: number[]) => float32(shape, new Array(shape.reduce((a, b) => a * b, 1)).fill(weight))
  const weights = { W_enc: filled([2, 4]), b_enc: filled([4]), W_dec: filled([4, 2]), b_dec: filled([2]) }
  await saveSae(folder, { config, weights, training: { positions: 'all', datasetName: 'shapes' } }, { layout: 'refract' })
  return folder
}
const importing = (folders: readonly string[], training = 'run-1') =>
  importTrainedSaes({ folders, training, modelId: 'tiny-vit', catalog, config: { ...readConfig({}), dataDir } })

test('each SAE of a training has an id of its own, the same when it is done again', async () => {
  const folders = [await trained('first', 1), await trained('Second try', 2)]
  expect(await importing(folders)).toEqual([plain, `${plain}-second-try`])
  expect(await importing(folders)).toEqual([plain, `${plain}-second-try`])
  await fs.rm(run, { recursive: true })
  const { download } = (await catalog.saes.get(plain))!
  for (const file of download!.files) expect((await fs.stat(path.join(download!.folder, file.path))).size).toBe(file.bytes)
})

test('neither what is there already nor what was published is taken for what was trained', async () => {
  await catalog.saes.create(anSae({ id: plain, modelId: 'tiny-vit', hookPointIn: 'blocks.0.hook_resid_post', layer: 0 }))
  expect(await importing([await trained('mine', 1)])).toEqual([`${plain}-mine`])
  expect((await catalog.saes.get(plain))!.download).toBeNull()
  await fs.rm(run, { recursive: true })
  expect(await importing([await trained('mine', 2)], 'run-2')).toEqual([`${plain}-mine-run-2`])
})
