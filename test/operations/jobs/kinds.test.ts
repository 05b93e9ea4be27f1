/** Imports and trainings, done by a real worker. */

import fs from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Catalog } from '../../../src/catalog/catalog.js'
import type { JobRecord } from '../../../src/catalog/jobs/job.js'
import { type Config, readConfig } from '../../../src/config.js'
import { chooseBackend } from '../../../src/engine/host/choose-backend.js'
import { trainClassifier } from '../../../src/engine/training/recipes/train-classifier.js'
import { checkSaesConfig } from '../../../src/engine/training/recipes/train-saes-recipe.js'
import { type JobWorker, startJobWorker } from '../../../src/operations/jobs/job-worker.js'
import { trainModelJob, trainSaeJob } from '../../../src/operations/jobs/kinds/train.js'
import { jobKinds, kindsModule } from '../../../src/operations/jobs/kinds.js'
import { createTestCatalog } from '../../catalog/test-database.js'
import { folderOf } from '../../engine/models/fixtures.js'

const MODEL = folderOf('hf-vit-classifier')

let catalog: Catalog
let config: Config
let worker: JobWorker
let close: () => Promise<void>

beforeAll(async () => {
  const made = await createTestCatalog()
  catalog = made.catalog
  const { dataDir, url: databaseUrl } = made.database
  config = { ...readConfig({}), dataDir }
  close = made.close
  for (const [name, red, blue] of [['red-things', 220, 20] as const, ['blue-things', 20, 220] as const]) {
    await fs.mkdir(path.join(dataDir, 'pictures', name), { recursive: true })
    for (let index = 0; index < 8; index++) {
      const background = { r: red - 5 * index, g: 10 * index, b: blue - 5 * index }
      const picture = sharp({ create: { width: 16, height: 16, channels: 3, background } }).png()
      await picture.toFile(path.join(dataDir, 'pictures', name, `${index}.png`))
    }
  }
  worker = startJobWorker({
    ...{ catalog, config, kinds: jobKinds, kindsModule },
    places: { databaseUrl, dataDir },
    slots: { compute: 1, transfer: 1 },
    say: () => {},
  })
})
afterAll(async () => {
  await worker.close()
  await close()
})

async function begin(kind: string, input: unknown): Promise<string> {
  const { lane = 'compute' } = jobKinds.find(({ name }) => name === kind)!
  return (await catalog.jobs.create({ kind, input: input as never, lane, place: catalog.places.dataFolder, uses: [] })).job.id
}
async function follow(id: string, when: (job: JobRecord) => boolean = () => false): Promise<JobRecord> {
  let last: JobRecord | undefined
  for await (const event of catalog.jobs.watch(id, { signal: AbortSignal.timeout(100_000) })) {
    if (!('job' in event)) continue
    last = event.job
    if (when(last)) break
  }
  return last!
}

describe('import and train-sae', () => {
  test('bring a model, and then what was trained on it, into the catalog', async () => {
    const imported = await begin('import', { source: MODEL, id: 'tiny' })
    expect(await follow(imported)).toMatchObject({
      state: 'succeeded',
      result: { model: 'tiny', isNew: true },
    })
    const sae = { hookPoint: 'blocks.0.hook_resid_post', architecture: 'topk', k: 2, expansionFactor: 2 }
    const training = {
      model: 'tiny',
      data: { kind: 'folder', folder: 'pictures' },
      // the second differs from the first only in what an id does not say
      saes: [
        { ...sae, name: 'first' },
        { ...sae, name: 'Second', learningRateFactor: 0.5 },
      ],
      ...{ batchSize: 16, picturesPerBatch: 8, initialRows: 16, steps: 4 },
    }
    const end = await follow(await begin('train-sae', { config: training }))
    // the training's folder holds what it wrote, the import's held nothing
    expect(await fs.readdir(path.join(config.dataDir, 'jobs'))).toEqual([end.id])
    const plain = 'tiny.0-resid-post.topk-2-x2-all'
    expect(end).toMatchObject({ state: 'succeeded', result: { steps: 4, saes: [plain, `${plain}-second`] } })
    for (const id of [plain, `${plain}-second`]) {
      const entry = (await catalog.saes.get(id))!
      expect(entry).toMatchObject({ modelId: 'tiny', architecture: 'topk', k: 2, provenance: { kind: 'folder' } })
      expect(entry.download!.folder.startsWith(config.dataDir)).toBe(true)
    }
    expect((await catalog.saes.get(plain))!.download!.weightsSha256).not.toBe(
      (await catalog.saes.get(`${plain}-second`))!.download!.weightsSha256,
    )
  }, 120_000)
})

test('what the documentation shows as an input is one', async () => {
  await expect(trainModelJob.check!(trainModelJob.example, { catalog, config })).resolves.toBeUndefined()
  expect(() => checkSaesConfig(trainSaeJob.example.config, {})).not.toThrow()
})

describe('train-model', () => {
  const steps = 300
  const training = {
    seed: 3,
    model: { nLayers: 1, dModel: 16, nHeads: 2, imageSize: 16, patchSize: 8 },
    data: { train: { kind: 'folder', folder: 'pictures' } },
    ...{ batchSize: 8, steps },
    run: { checkpointEvery: 20, keepLast: 100 },
  }

  test('whose process is killed goes on from its checkpoint to the weights of a run that nothing happened to', async () => {
    const id = await begin('train-model', { recipe: 'model', config: training, id: 'colours' })
    const run = path.join(config.dataDir, 'jobs', id, 'run')
    const first = path.join(run, 'checkpoints/00000020')
    await appearance(first)
    process.kill(await jobProcess(), 'SIGKILL')
    const { mtimeMs } = await fs.stat(first)
    expect((await follow(id, ({ nLogLines }) => nLogLines > 0)).state).toBe('running')
    expect(await fs.readdir(run)).not.toContain('model')
    await catalog.prisma.$executeRaw`update job_shards set not_before = now()`
    await catalog.prisma.$executeRaw`select pg_notify('refract_jobs', '')`
    expect(await follow(id)).toMatchObject({ state: 'succeeded', result: { model: 'colours', steps } })
    // written once: nothing was trained again
    expect((await fs.stat(first)).mtimeMs).toBe(mtimeMs)

    const undisturbed = path.join(config.dataDir, 'undisturbed')
    await trainClassifier(training, {
      backend: await chooseBackend({ device: config.devices[0], intraOpThreads: 1 }),
      folder: undisturbed,
      baseFolder: config.dataDir,
      resume: false,
      code: { version: 'test' },
      limits: { maxPixels: config.maxImagePixels },
      cacheBytes: 2 ** 20,
      now: () => performance.now(),
    })
    const weightsOf = (folder: string) => fs.readFile(path.join(folder, 'model/model.safetensors'))
    expect((await weightsOf(run)).equals(await weightsOf(undisturbed))).toBe(true)
  }, 120_000)
})

/** Resolves once there is such a folder; those above it are made. */
async function appearance(folder: string): Promise<void> {
  await fs.mkdir(path.dirname(folder), { recursive: true })
  for await (const { filename } of fs.watch(path.dirname(folder), { signal: AbortSignal.timeout(100_000) })) {
    if (filename === path.basename(folder)) return
  }
}

/** The process that does the work now. */
async function jobProcess(): Promise<number> {
  for (const name of await fs.readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const [stat, command] = await Promise.all(
      ['stat', 'cmdline'].map((file) => fs.readFile(`/proc/${name}/${file}`, 'utf8').catch(() => '')),
    )
    const parent = Number(stat!.slice(stat!.lastIndexOf(')') + 2).split(' ')[1])
    if (parent === process.pid && command!.includes('job-process')) return Number(name)
  }
  throw new Error('there is no such process')
}
