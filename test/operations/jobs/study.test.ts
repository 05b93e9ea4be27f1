/** Evaluating and indexing as jobs: shards anywhere and again, one result. (That the numbers are right is shown in test/engine/evaluation.) */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Catalog } from '../../../src/catalog/catalog.js'
import type { JobRecord } from '../../../src/catalog/jobs/job.js'
import type { Config } from '../../../src/config.js'
import { evaluateFolders } from '../../../src/engine/evaluation/evaluate-folders.js'
import { artifactsOf } from '../../../src/operations/jobs/artifacts.js'
import { beginJob } from '../../../src/operations/jobs/begin-job.js'
import type { JobKind, Json } from '../../../src/operations/jobs/job-kind.js'
import { type JobWorker, startJobWorker } from '../../../src/operations/jobs/job-worker.js'
import { evaluateJob } from '../../../src/operations/jobs/kinds/evaluate.js'
import { indexJob } from '../../../src/operations/jobs/kinds/index-features.js'
import { jobKinds, kindsModule } from '../../../src/operations/jobs/kinds.js'
import { createTestCatalog } from '../../catalog/test-database.js'
import { onnxruntime } from '../../engine/each-backend.js'
import { folderOf } from '../../engine/models/fixtures.js'
import { addModel, addStudy, driver, model, N_PICTURES, saes } from './a-study.js'

let catalog: Catalog
let config: Config
let pictures: string
let places: { databaseUrl: string; dataDir: string }
let close: () => Promise<void>
beforeAll(async () => {
  const made = await createTestCatalog()
  ;({ catalog, close } = made)
  places = { databaseUrl: made.database.url, dataDir: made.database.dataDir }
  ;({ pictures, config } = await addStudy(catalog, places.dataDir))
})
afterAll(() => close())

const evaluation = evaluateJob as unknown as JobKind
const index = indexJob as unknown as JobKind
const input = { model, saes: [...saes], dataset: 'animals', classes: { facet: 'animal', templates: ['a {}'] }, batchSize: 4, seed: 5 }

const measuredOf = async (saeId: string) => (await catalog.metrics.list({ saeId })).filter(({ source }) => source === 'measured')
const metricOf = (values: readonly { metric: string; value: number | null }[], metric: string) =>
  values.find((each) => each.metric === metric)!.value!

/** Everything that is stored of features, as text. */
async function featuresOf(saeId: string): Promise<string> {
  const [set] = await catalog.features.sets(saeId)
  const features = await catalog.features.get(
    set!,
    Array.from({ length: set!.width }, (_, at) => at),
  )
  return JSON.stringify([set!.about, set!.seed, features])
}

describe('an evaluation', () => {
  test('has the same bytes for a shard whoever does it, and the same result however often it is finished', async () => {
    const { shards, run, runApart, finish } = await driver(evaluation, input, { catalog, config })
    expect(shards).toHaveLength(Math.ceil(N_PICTURES / 4))
    // the last first: what was done before does not matter
    const parts = (await Promise.all([...shards].reverse().map((shard, at) => (at % 2 === 0 ? runApart(shard) : undefined)))).reverse()
    for (const [at, shard] of shards.entries()) {
      const again = await run(shard)
      if (parts[at]) expect(Buffer.compare(parts[at], again)).toBe(0)
      parts[at] = again
    }
    const result = await finish(parts as Uint8Array[])
    const values = await measuredOf(saes[0])
    expect(await finish(parts as Uint8Array[])).toEqual(result)
    expect(await measuredOf(saes[0])).toEqual(values)
    expect(result).toMatchObject({ nPictures: N_PICTURES, nBatches: 6, batchSize: 4, seed: 5, saes: saes.map((id) => ({ id })) })
    expect(values[0]).toMatchObject({ n: N_PICTURES, seed: 5, dtype: 'float32', dataset: { id: 'animals', hash: 'a'.repeat(64) } })
  })

  test('says what the pictures as files say, wherever batches do not matter', async () => {
    const folders = await evaluateFolders(
      {
        model: folderOf(model),
        saes: (await catalog.saes.get(saes[0]))!.download!.folder,
        data: { kind: 'folder', folder: pictures },
        batchSize: 7,
      },
      { backend: await onnxruntime.create(), baseFolder: '/', limits: { maxPixels: 1e6 }, cacheBytes: 1e6 },
    ).catch((error: unknown) => error as Error)
    if (folders instanceof Error) throw folders
    const values = await measuredOf(saes[0])
    for (const metric of ['explained-variance', 'mse', 'l0', 'image-l0', 'alive-share', 'cosine-similarity']) {
      const expected = metricOf(folders.saes[0]!.metrics, metric)
      expect(Math.abs(metricOf(values, metric) - expected)).toBeLessThan(1e-5 * Math.max(1, Math.abs(expected)))
    }
  })

  test('leaves a report, a table and plots, with what was published beside it', async () => {
    const known = { metric: 'l0', version: 1, value: 1, flags: [], source: 'published', dataset: null, n: null, seed: null } as const
    await catalog.metrics.put(saes[0], [{ ...known, dtype: null, backend: null, codeVersion: null, measuredAt: null }])
    const { shards, run, finish } = await driver(evaluation, { ...input, pictures: 6 }, { catalog, config })
    const parts = []
    for (const shard of shards) parts.push(await run(shard))
    const result = await finish(parts)
    const files = Object.fromEntries(
      await Promise.all(
        artifactsOf(result).map(async ({ name, sha256 }) => [name, Buffer.from((await catalog.blobs.get(sha256))!).toString()] as const),
      ),
    )
    const report = JSON.parse(files['report.json']!)
    const l0 = metricOf(report.saes[0].metrics, 'l0')
    expect(report.saes[0].published).toEqual([
      { metric: 'l0', published: 1, measured: l0, difference: l0 - 1, isInInterval: expect.any(Boolean), dataset: null },
    ])
    expect(report).toMatchObject({ nPictures: 6, dataset: { id: 'animals' } })
    const [header, ...rows] = files['metrics.csv']!.trimEnd().split('\r\n')
    expect(header).toBe('sae,metric,version,unit,value,low,high,n,flags,published,published_dataset,difference')
    expect(rows).toHaveLength(report.saes.flatMap(({ metrics }: { metrics: unknown[] }) => metrics).length)
    expect(rows.find((row) => row.startsWith(`${saes[0]},l0,`))).toContain(`,1,,${l0 - 1}`)
    expect(files['l0.svg']).toContain('published')
    expect(Object.keys(files)).toEqual(expect.arrayContaining(['explained-variance.svg', 'prisma-l0.svg']))
  })
})

describe('an index', () => {
  test('has the same bytes for a shard whoever does it, and the same features however often it is finished', async () => {
    const { shards, run, runApart, finish } = await driver(index, { ...input, words: ['sea', 'sky', 'fox'], top: 3 }, { catalog, config })
    const parts = []
    for (const shard of shards) parts.push(await run(shard))
    expect(Buffer.compare(await runApart(shards[1]!), parts[1]!)).toBe(0)
    const result = await finish(parts)
    const [first, second] = [await featuresOf(saes[0]), await featuresOf(saes[1])]
    expect(await finish(parts)).toEqual(result)
    expect([await featuresOf(saes[0]), await featuresOf(saes[1])]).toEqual([first, second])
    const [set] = await catalog.features.sets(saes[0])
    expect(set!.about).toMatchObject({ nImages: N_PICTURES, topLength: 3, classNames: ['cat', 'dog'], labelNames: ['cat', 'dog'] })
    const features = await catalog.features.get(set!, [0, 1, 2, 3, 4, 5, 6, 7])
    const active = features.filter(({ statistics }) => (statistics.imageDensity ?? 0) > 0.5)
    expect(active.length).toBeGreaterThan(0)
    for (const { statistics, examples, data } of active) {
      expect(statistics.monosemanticity).toEqual(expect.any(Number))
      expect(data.classEffects.map(({ index }) => index).sort()).toEqual([0, 1])
      expect(data.wordEffects).toHaveLength(3)
      const top = examples.filter(({ kind, token }) => kind === 'top' && token === 'patch')
      expect(top.length).toBeLessThanOrEqual(3)
      expect(top.every(({ item }) => item < N_PICTURES)).toBe(true)
    }
  })

  test('does not depend on how it was cut', async () => {
    const whole = await driver(index, input, { catalog, config })
    const small = await driver(index, input, { catalog, config: { ...config, memoryMb: 1e-3 } })
    expect(whole.shards.length).toBeLessThan(small.shards.length)
    const finished = async ({ shards, run, finish }: typeof whole) => {
      const parts = []
      for (const shard of shards) parts.push(await run(shard))
      await finish(parts)
      return [await featuresOf(saes[0]), await featuresOf(saes[1])]
    }
    const expected = await finished(whole)
    expect(await finished(small)).toEqual(expected)
  })
})

describe('an index with an image encoder', () => {
  const indexedBy = async (change: object) => {
    const { shards, run, finish } = await driver(index, { ...input, saes: [saes[0]], ...change }, { catalog, config })
    const parts = []
    for (const shard of shards) parts.push(await run(shard))
    await finish(parts)
    const [set] = await catalog.features.sets(saes[0])
    return { set: set!, monosemanticity: [...(await catalog.features.statistic(set!, 'monosemanticity'))] }
  }

  test('compares pictures by its answers, says so, and keeps no embeddings for search by text', async () => {
    await addModel(catalog, 'hf-dinov2')
    await addModel(catalog, 'copy', model)
    const own = await indexedBy({})
    expect(own.set.about.imageEncoder).toBe(model)
    expect(own.set.embeddings).toBeDefined()
    const copied = await indexedBy({ imageEncoder: 'copy' })
    expect(copied.set.about.imageEncoder).toBe('copy')
    expect(copied.set.embeddings).toBeUndefined()
    expect(copied.monosemanticity).toEqual(own.monosemanticity)
    const other = await indexedBy({ imageEncoder: 'hf-dinov2' })
    expect(other.set.about.imageEncoder).toBe('hf-dinov2')
    expect(other.monosemanticity.some(Number.isFinite)).toBe(true)
    expect(other.monosemanticity).not.toEqual(own.monosemanticity)
    expect((await indexedBy({ monosemanticity: false })).set.about.imageEncoder).toBeUndefined()
  })

  test('has the same bytes for a shard whoever does it, and fails where the encoder was replaced on the way', async () => {
    const { shards, run, runApart, finish } = await driver(index, { ...input, imageEncoder: 'hf-dinov2' }, { catalog, config })
    const parts = []
    for (const shard of shards) parts.push(await run(shard))
    expect(Buffer.compare(await runApart(shards.at(-1)!), parts.at(-1)!)).toBe(0)
    await catalog.models.remove('hf-dinov2')
    await addModel(catalog, 'hf-dinov2', 'hf-dinov2-registers')
    await expect(finish(parts)).rejects.toMatchObject({ code: 'CHECKPOINT_MISMATCH', message: expect.stringMatching(/image encoder/) })
  })

  test.each<[string, object, string, RegExp]>([
    ['is not there', { imageEncoder: 'hf-dinov3' }, 'MODEL_UNKNOWN', /hf-dinov2/],
    ['has nothing to compare', { imageEncoder: 'hf-dinov2', monosemanticity: false }, 'INPUT_INVALID', /input\.imageEncoder.*no pictures/],
    ['answers with a vector for each token', { imageEncoder: 'timm-all-positions' }, 'INPUT_INVALID', /input\.imageEncoder.*one vector/],
  ])('that %s is refused before there is a job', async (_, change, code, message) => {
    await addModel(catalog, 'timm-all-positions')
    const made = beginJob({ catalog, config }, { kind: 'index', input: { ...input, ...change } as Json }, {})
    await expect(made).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
  })

  test('stays while the job is not over', () => {
    expect(index.uses!({ ...input, imageEncoder: 'copy' })).toEqual([
      `model:${model}`,
      'model:copy',
      ...saes.map((id) => `sae:${id}`),
      'dataset:animals',
    ])
    expect(index.uses!(input)).toEqual([`model:${model}`, ...saes.map((id) => `sae:${id}`), 'dataset:animals'])
  })
})

describe('what cannot be', () => {
  const begin = (kind: string, change: object) =>
    beginJob({ catalog, config }, { kind, input: { ...input, ...change } as Json }, {}).then(
      () => undefined,
      (error: { code: string; message: string; problems: { path: string }[] }) => error,
    )

  test.each<[string, string, object, string, RegExp]>([
    ['an unknown model', 'evaluate', { model: 'hf-clop' }, 'MODEL_UNKNOWN', /hf-clip/],
    ['an unknown SAE', 'index', { saes: [`${saes[0]}x`] }, 'SAE_UNKNOWN', /relu/],
    ['an unknown data set', 'evaluate', { dataset: 'animal' }, 'DATASET_UNKNOWN', /animals/],
    ['templates without a place', 'evaluate', { classes: { templates: ['a photo'] } }, 'INPUT_INVALID', /\{\}/],
    ['a facet and names', 'index', { classes: { facet: 'animal', names: ['a', 'b'] } }, 'INPUT_INVALID', /facet/],
  ])('%s is refused before there is a job', async (_, kind, change, code, message) => {
    const error = await begin(kind, change)
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) })
  })

  test('a model that an SAE does not fit, and words for one that reads none', async () => {
    await addModel(catalog, 'hf-vit-classifier')
    const error = await begin('index', { model: 'hf-vit-classifier', classes: undefined, words: ['sea'] })
    expect(['SAE_MISFIT', 'INPUT_INVALID']).toContain(error!.code)
  })

  test('everything that is wrong is said at once', async () => {
    const error = await begin('evaluate', { model: 'nothing', dataset: 'nothing' })
    expect(error!.problems.map(({ path }) => path).sort()).toEqual(['input.dataset', 'input.model'])
  })

  test('a facet that a picture does not have ends the shard with its path', async () => {
    const { shards, run } = await driver(evaluation, { ...input, classes: { facet: 'colour' } }, { catalog, config })
    await expect(run(shards[0]!)).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      message: expect.stringMatching(/input\.classes\.facet.*colour/),
    })
  })

  test('classes of pictures that are not all labelled, or of classes without names', async () => {
    const [first] = (await catalog.datasets.itemPage('animals', { limit: 1 })).items
    const { imageId } = first!
    const about = { name: 'Some', description: null, license: null }
    const items = [0, null].map((label, at) => ({ name: `${at}.png`, imageId, label }))
    await catalog.datasets.register({ ...about, id: 'some', hash: 'd'.repeat(64), classNames: ['cat'], items })
    await catalog.datasets.register({ ...about, id: 'unnamed', hash: 'e'.repeat(64), classNames: [], nClasses: 1, items: [items[0]!] })
    const refusalOf = async (change: object) => {
      const { shards, run } = await driver(evaluation, { ...input, ...change }, { catalog, config })
      return run(shards[0]!).then(
        () => undefined,
        ({ message }: Error) => message,
      )
    }
    expect(await refusalOf({ dataset: 'some', classes: {} })).toMatch(/input\.classes.*1\.png has no label/)
    expect(await refusalOf({ dataset: 'unnamed', classes: {} })).toMatch(/have no names/)
    expect(await refusalOf({ dataset: 'unnamed', classes: { names: ['cat', 'dog'] } })).toMatch(/are 2; unnamed has 1/)
    expect(await refusalOf({ dataset: 'unnamed', classes: { names: ['cat'] } })).toBeUndefined()
    expect(await refusalOf({ dataset: 'some', classes: undefined })).toBeUndefined()
  })

  test('a data set that was replaced while the job ran', async () => {
    const { shards, run, finish } = await driver(evaluation, { ...input, saes: [saes[1]] }, { catalog, config })
    const parts = []
    for (const shard of shards) parts.push(await run(shard))
    await catalog.prisma.$executeRaw`update datasets set hash = ${'b'.repeat(64)} where id = 'animals'`
    await expect(finish(parts)).rejects.toMatchObject({ code: 'CHECKPOINT_MISMATCH', message: expect.stringMatching(/other content/) })
    await catalog.prisma.$executeRaw`update datasets set hash = ${'a'.repeat(64)} where id = 'animals'`
  })
})

describe('a worker that is killed', () => {
  const PATIENCE = 240_000
  let victim: ChildProcess | undefined
  let worker: JobWorker | undefined
  afterEach(async () => {
    victim?.kill('SIGKILL')
    await worker?.close()
  })

  async function follow(id: string, when: (job: JobRecord) => boolean = () => false): Promise<JobRecord> {
    let last: JobRecord | undefined
    for await (const event of catalog.jobs.watch(id, { signal: AbortSignal.timeout(PATIENCE) })) {
      if (!('job' in event)) continue
      last = event.job
      if (when(last)) return last
    }
    return last!
  }

  test.each(['evaluate', 'index'])(
    'in the middle of %s leaves a job that another finishes with the same bits',
    { timeout: PATIENCE },
    async (kind) => {
      const { shards, run, finish } = await driver(kind === 'index' ? index : evaluation, { ...input, batchSize: 2 }, { catalog, config })
      const parts = []
      for (const shard of shards) parts.push(await run(shard))
      const expected = await finish(parts)
      const features = kind === 'index' && (await featuresOf(saes[0]))

      const job = await beginJob({ catalog, config }, { kind, input: { ...input, batchSize: 2 } }, {})
      expect((await catalog.jobs.using(`sae:${saes[1]}`)).map(({ id }) => id)).toEqual([job.id])
      const script = path.join(import.meta.dirname, 'study-worker.ts')
      const args = ['--import', 'tsx', script, places.databaseUrl, places.dataDir, '2000']
      victim = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
      const { nDone } = await follow(job.id, (seen) => seen.nDone >= 2)
      victim.kill('SIGKILL')
      await once(victim, 'exit')
      expect(nDone).toBeLessThan(shards.length)

      const slots = { compute: 1, transfer: 0 }
      worker = startJobWorker({ catalog, config, places, kinds: jobKinds, kindsModule, slots, say: () => {}, leaseMs: 2000 })
      const end = await follow(job.id)
      expect(end).toMatchObject({ state: 'succeeded', error: null, nShards: shards.length })
      const withoutTime = (result: Json | undefined) => {
        const { measuredAt: _, artifacts, ...rest } = result as Record<string, Json>
        // the report says when
        return { ...rest, artifacts: artifactsOf({ artifacts: artifacts ?? [] }).filter(({ name }) => name !== 'report.json') }
      }
      expect(withoutTime(end.result)).toEqual(withoutTime(expected))
      if (features) expect(await featuresOf(saes[0])).toBe(features)
    },
  )
})
