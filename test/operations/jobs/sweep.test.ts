/** Sweeps as jobs: shards anywhere and again, one result; a worker that is killed. (That the numbers are right: test/engine/analyses/sweep.test.ts.) */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { tableFromIPC } from 'apache-arrow'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Catalog } from '../../../src/catalog/catalog.js'
import type { JobRecord } from '../../../src/catalog/jobs/job.js'
import type { Config } from '../../../src/config.js'
import { artifactsOf } from '../../../src/operations/jobs/artifacts.js'
import { beginJob } from '../../../src/operations/jobs/begin-job.js'
import type { JobKind, Json } from '../../../src/operations/jobs/job-kind.js'
import { type JobWorker, startJobWorker } from '../../../src/operations/jobs/job-worker.js'
import { sweepJob } from '../../../src/operations/jobs/kinds/sweep.js'
import { jobKinds, kindsModule } from '../../../src/operations/jobs/kinds.js'
import { createTestCatalog } from '../../catalog/test-database.js'
import { addStudy, driver, model, N_PICTURES, saes } from './a-study.js'

let catalog: Catalog
let config: Config
let places: { databaseUrl: string; dataDir: string }
let close: () => Promise<void>
beforeAll(async () => {
  const made = await createTestCatalog()
  ;({ catalog, close } = made)
  places = { databaseUrl: made.database.url, dataDir: made.database.dataDir }
  ;({ config } = await addStudy(catalog, places.dataDir))
  config = { ...config, devices: ['cpu'] }
})
const drivers: Awaited<ReturnType<typeof driver>>[] = []
const drive = async (given: Json) => {
  const driven = await driver(kind, given, { catalog, config })
  drivers.push(driven)
  return driven
}
afterAll(async () => {
  for (const { closeAll } of drivers) await closeAll()
  await close()
})

/** An engine of its own for each process that is played. */
const SLOW = { timeout: 90_000 }

const kind = sweepJob as unknown as JobKind
const strengths = Array.from({ length: 16 }, (_, at) => (at - 7) / 4)
const input = {
  model,
  directions: [{ vector: { sae: saes[0], feature: 3 } }, { vector: { sae: saes[1], feature: 5 }, label: 'the other' }],
  strengths,
  positions: ['all', 'patches'],
  on: { dataset: 'animals', pictures: 6 },
  control: { dataset: 'animals' },
  classify: { labels: ['a cat', 'a dog'] },
  controls: 4,
}

/** All shards, done in this process, once. */
const whole = onlyOnce(async () => {
  const driven = await drive(input as unknown as Json)
  const parts = []
  for (const shard of driven.shards) parts.push(await driven.run(shard))
  return { ...driven, parts }
})
const wholeResult = onlyOnce(async () => {
  const { finish, parts } = await whole()
  return finish(parts)
})

function onlyOnce<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make()
    return made
  }
}

async function filesOf(result: Json): Promise<Record<string, Buffer>> {
  const read = artifactsOf(result).map(async ({ name, sha256 }) => [name, Buffer.from((await catalog.blobs.get(sha256))!)] as const)
  return Object.fromEntries(await Promise.all(read))
}

describe('a sweep as a job', () => {
  test(
    'has the same bytes for a shard whoever does it, the same result however often it is finished, and files to take away',
    SLOW,
    async () => {
      const { shards, runApart, finish, parts } = await whole()
      expect(shards.length).toBeGreaterThan(2)
      expect(Buffer.compare(await runApart(shards[1]!), parts[1]!)).toBe(0)
      const result = await wholeResult()
      expect(await finish(parts)).toEqual(result)
      expect(result).toMatchObject({ nImages: 6, nControlImages: N_PICTURES, targets: ['a cat', 'a dog'] })
      const files = await filesOf(result)
      expect(Object.keys(files)).toEqual(['sweep.json', 'curves.csv', 'points.arrow', 'curves.svg'])
      const table = tableFromIPC(files['points.arrow']!)
      expect(table.numRows).toBe(6 * 2 * 2 * 16 * 2)
      const { curves, collateral, images } = JSON.parse(files['sweep.json']!.toString())
      expect(images).toHaveLength(6)
      expect(curves).toHaveLength(2 * 2 * 2)
      expect(collateral).toHaveLength(2 * 2)
      const [header, ...rows] = files['curves.csv']!.toString().trimEnd().split('\r\n')
      expect(header).toBe(
        'direction,hook_point,positions,target,strength,score,change,probability,control_low,control_median,control_high,controls_beaten',
      )
      expect(rows).toHaveLength(curves.length * strengths.length)
      expect(files['curves.svg']!.toString()).toContain('the other')
      // the mean over the pictures, of the table
      const scores = table.toArray().map((row) => row.toJSON())
      const own = scores.filter(
        (row) => row.direction === 'the other' && row.positions === 'patches' && row.target === 'a dog' && row.strength === strengths[2],
      )
      expect(own).toHaveLength(6)
      const curve = curves.find((each: Record<string, number>) => each.direction === 1 && each.positions === 1 && each.target === 1)
      expect(own.reduce((sum, row) => sum + row.score, 0) / 6).toBeCloseTo(curve.scores[2], 5)
    },
  )

  test('is refused at once for a model or pictures that are not there', async () => {
    const refusal = (more: object) => beginJob({ catalog, config }, { kind: 'sweep', input: { ...input, ...more } as unknown as Json }, {})
    await expect(refusal({ model: 'nothing' })).rejects.toMatchObject({ code: 'MODEL_UNKNOWN' })
    await expect(refusal({ on: { dataset: 'nothing' } })).rejects.toMatchObject({ code: 'DATASET_UNKNOWN' })
    await expect(refusal({ on: {} })).rejects.toMatchObject({ code: 'INPUT_INVALID', message: expect.stringContaining('input.on') })
    await expect(refusal({ on: { images: [`sha256:${'9'.repeat(64)}`] } })).rejects.toMatchObject({ code: 'IMAGE_UNKNOWN' })
  })

  test('that would take a year says so when it is planned', async () => {
    const years = {
      strengths: Array.from({ length: 1001 }, (_, at) => at / 10),
      controls: 256,
      positions: Array.from({ length: 1024 }, () => 'all'),
    }
    const endless = { ...input, ...years, on: { dataset: 'animals' }, op: 'feature-add' }
    await expect(drive(endless as unknown as Json)).rejects.toMatchObject({
      code: 'LIMIT_EXCEEDED',
      message: expect.stringMatching(/Seconds that \d+ points would take, at [\d.]+ ms for each: [\d.]+ (days|years).*"sweepJobSeconds"/),
    })
  })

  test('has parts of one sweep only', SLOW, async () => {
    const { shards, run, finish } = await drive({ ...input, strengths: [1, 2] } as unknown as Json)
    const parts = []
    for (const shard of shards) parts.push(await run(shard))
    const other = await drive({ ...input, strengths: [1, 3] } as unknown as Json)
    await expect(other.finish(parts)).rejects.toMatchObject({ code: 'CHECKPOINT_MISMATCH' })
    expect(await finish(parts)).toMatchObject({ nImages: 6 })
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

  test('in the middle of a sweep leaves a job that another finishes with the same bits', { timeout: PATIENCE }, async () => {
    const expected = await wholeResult()
    const job = await beginJob({ catalog, config }, { kind: 'sweep', input: input as unknown as Json }, {})
    expect((await catalog.jobs.using(`sae:${saes[1]}`)).map(({ id }) => id)).toEqual([job.id])
    const script = path.join(import.meta.dirname, 'study-worker.ts')
    const args = ['--import', 'tsx', script, places.databaseUrl, places.dataDir, '2000']
    victim = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    const { nDone, nShards } = await follow(job.id, (seen) => seen.nDone >= 2)
    victim.kill('SIGKILL')
    await once(victim, 'exit')
    expect(nDone).toBeLessThan(nShards!)

    const slots = { compute: 1, transfer: 0 }
    worker = startJobWorker({ catalog, config, places, kinds: jobKinds, kindsModule, slots, say: () => {}, leaseMs: 2000 })
    const end = await follow(job.id)
    expect(end).toMatchObject({ state: 'succeeded', error: null })
    expect(end.result).toEqual(expected)
  })
})
