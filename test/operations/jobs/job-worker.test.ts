import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs/promises'
import path from 'node:path'
import sharp from 'sharp'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { Catalog } from '../../../src/catalog/catalog.js'
import type { JobRecord } from '../../../src/catalog/jobs/job.js'
import { isAlive } from '../../../src/catalog/process-lock.js'
import { readConfig } from '../../../src/config.js'
import type { Json } from '../../../src/operations/jobs/job-kind.js'
import { type JobWorker, type JobWorkerOptions, startJobWorker } from '../../../src/operations/jobs/job-worker.js'
import { createTestCatalog } from '../../catalog/test-database.js'
import { jobKinds, kindsModule, sumOf } from './test-kinds.js'

let catalog: Catalog
let places: { databaseUrl: string; dataDir: string }
let close: () => Promise<void>
let workers: JobWorker[] = []
const said: string[] = []

beforeAll(async () => {
  const made = await createTestCatalog()
  catalog = made.catalog
  places = { databaseUrl: made.database.url, dataDir: made.database.dataDir }
  close = made.close
})
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.close()))
  workers = []
  expect(said.splice(0)).toEqual([])
})
afterAll(() => close())

function work(options: Partial<JobWorkerOptions> = {}): JobWorker {
  const worker = startJobWorker({
    catalog,
    config: { ...readConfig({}), dataDir: places.dataDir },
    places,
    kinds: jobKinds,
    kindsModule,
    slots: { compute: 1, transfer: 0 },
    say: (message) => void said.push(message),
    ...options,
  })
  workers.push(worker)
  return worker
}

async function make(kind: string, input: Json): Promise<JobRecord> {
  const place = jobKinds.find(({ name }) => name === kind)!.place === 'anywhere' ? catalog.places.blobs : catalog.places.dataFolder
  return (await catalog.jobs.create({ kind, input, lane: 'compute', place, uses: [] })).job
}

/** The first state that satisfies `when`; without it the last. */
async function follow(id: string, when: (job: JobRecord) => boolean = () => false): Promise<JobRecord> {
  let last: JobRecord | undefined
  for await (const event of catalog.jobs.watch(id, { signal: AbortSignal.timeout(25_000) })) {
    if (!('job' in event)) continue
    last = event.job
    if (when(last)) return last
  }
  return last!
}
const isRunning = ({ message }: JobRecord) => message === 'waiting'
const logOf = async (id: string) => (await catalog.jobs.log(id, { after: 0, limit: 1000 })).map(({ text }) => text)

describe('a worker', () => {
  test('plans a job, runs its shards and merges them in their order', async () => {
    const input = { nShards: 5, each: 1000 }
    const job = await make('sum', input)
    work()
    expect(await follow(job.id)).toMatchObject({ state: 'succeeded', result: { total: sumOf(input), nShards: 5 }, nDone: 5, progress: 1 })
    expect((await logOf(job.id)).sort()).toEqual([0, 1, 2, 3, 4].map((n) => `terms ${n * 1000} to ${(n + 1) * 1000}`))
  })

  test("removes what shards left once the job has its result, a dead worker's too, and nothing of another job", async () => {
    const input = { nShards: 2, each: 10 }
    const [done, unfinished] = [await make('sum', input), await make('failing', { how: 'bug' })]
    const kept = await (await catalog.jobParts.ofJob(unfinished.id)).put(Buffer.from('a part'))
    const first = work()
    expect(await follow(done.id)).toMatchObject({ state: 'succeeded' })
    await first.close()
    expect(await partFolders()).toEqual([unfinished.id])

    // as if the worker had died with the result committed
    const blob = await (await catalog.jobParts.ofJob(done.id)).put(Buffer.from('left'))
    await catalog.prisma.$executeRaw`update job_shards set result_blob = ${blob} where job_id = ${done.id} and stage = 'run' and index = 0`
    await work().close()
    expect(await partFolders()).toEqual([unfinished.id])
    expect(await (await catalog.jobParts.ofJob(unfinished.id)).get(kept)).toBeDefined()
    await fs.rm(path.join(places.dataDir, 'parts', unfinished.id), { recursive: true })
  })

  test('forgets what has been over for as long as the configuration says, and keeps what anything else names', async () => {
    const ids = async (...kinds: string[]) => Promise.all(kinds.map(async (kind) => (await make(kind, { nShards: 1, each: 1 })).id))
    const [old, failed, recent, queued] = (await ids('sum', 'sum', 'sum', 'sum')) as [string, string, string, string]
    const file = (sha256: string) => path.join(places.dataDir, 'blobs/sha256', sha256.slice(0, 2), sha256)
    const picture = await sharp({ create: { width: 2, height: 2, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    const image = await catalog.images.put(picture, { format: 'png', width: 2, height: 2 })
    const [own, shared, fresh] = await catalog.blobs.putAll(['own', 'shared', 'fresh'].map((text) => Buffer.from(text)))
    const aPicture = image.id.slice('sha256:'.length)
    for (const sha256 of [own!, shared!, aPicture]) await fs.utimes(file(sha256), new Date(0), new Date(0))
    const result = (...hashes: string[]) => ({ artifacts: hashes.map((sha256, n) => ({ name: `${n}.json`, bytes: 1, sha256 })) })
    const over = (id: string, state: string, days: number, made: object) => catalog.prisma.$executeRaw`
      update jobs set state = ${state}::job_state, result = ${JSON.stringify(made)}::jsonb,
        finished_at = now() - ${days} * interval '1 day' where id = ${id}`
    await over(old, 'succeeded', 31, result(own!, shared!, aPicture, fresh!))
    await over(failed, 'failed', 31, {})
    await over(recent, 'succeeded', 29, result(shared!))
    const checkpoint = path.join(places.dataDir, 'jobs', failed)
    await fs.mkdir(checkpoint, { recursive: true })
    await fs.writeFile(path.join(checkpoint, 'checkpoint'), '')
    await (await catalog.jobParts.ofJob(failed)).put(Buffer.from('a part'))

    await work({ slots: { compute: 0, transfer: 0 } }).close()
    expect(await catalog.jobs.get(old)).toBeDefined()
    const config = { ...readConfig({}), dataDir: places.dataDir, keepJobsDays: 30 }
    await work({ config, slots: { compute: 0, transfer: 0 } }).close()

    const states = await Promise.all([old, failed, recent, queued].map(async (id) => (await catalog.jobs.get(id))?.state))
    expect(states).toEqual([undefined, undefined, 'succeeded', 'queued'])
    const kept = await Promise.all([own!, shared!, aPicture, fresh!].map(async (sha256) => (await catalog.blobs.get(sha256)) !== undefined))
    expect(kept).toEqual([false, true, true, true])
    await expect(fs.access(checkpoint)).rejects.toThrow()
    expect(await partFolders()).toEqual([])
    await catalog.jobs.cancel(queued)
  })

  test('says why a job was refused, and keeps the text of a bug for the log', async () => {
    work()
    const refused = await make('failing', { how: 'refusal' })
    expect((await follow(refused.id)).error).toEqual({
      code: 'INPUT_INVALID',
      message: 'input.x: is odd',
      problems: [{ path: 'input.x', message: 'is odd' }],
    })
    const bug = await make('failing', { how: 'bug' })
    const { state, error } = await follow(bug.id)
    expect(state).toBe('failed')
    expect(error!.code).toBe('INTERNAL')
    expect(JSON.stringify(error)).not.toContain('secret')
    expect((await follow((await make('sum', { nShards: 'many' })).id)).error!.code).toBe('INPUT_INVALID')
  })

  test('stops a running job that is cancelled, and one that does not listen, too', async () => {
    work({ graceMs: 200 })
    const listening = await make('patient', { deaf: false })
    await follow(listening.id, isRunning)
    await catalog.jobs.cancel(listening.id)
    expect(await follow(listening.id)).toMatchObject({ state: 'cancelled', error: null })

    const deaf = await make('patient', { deaf: true })
    await follow(deaf.id, isRunning)
    await catalog.jobs.cancel(deaf.id)
    expect(await follow(deaf.id)).toMatchObject({ state: 'cancelled' })
  })

  test('that stops gives back what it was doing, and another goes on at once', async () => {
    const job = await make('patient', { deaf: false })
    const first = work()
    await follow(job.id, isRunning)
    await first.close()
    expect(await catalog.jobs.get(job.id)).toMatchObject({ state: 'running' })
    const lease = await catalog.jobLeases.claim({
      worker: 'test',
      leaseMs: 60_000,
      lane: 'compute',
      places: [catalog.places.blobs],
      kinds: ['patient'],
    })
    expect(lease).toMatchObject({ jobId: job.id, stage: 'run', crashes: 0 })
    await catalog.jobLeases.fail(lease!, { code: 'TEST', message: 'over', problems: [] })
  })
})

describe('a process that dies at its work', () => {
  test('is replaced, and the next one finds what it left', async () => {
    const job = await make('mortal', { deaths: 1 })
    work()
    // the second try is a moment later; nobody waits for it here
    await follow(job.id, ({ nLogLines }) => nLogLines > 0)
    expect(await logOf(job.id)).toEqual([expect.stringMatching(/ended \(SIGKILL\).*tried again/)])
    await retryNow()
    expect(await follow(job.id)).toMatchObject({ state: 'succeeded', result: { died: 1 } })
  })
})

describe('a process that loses its device', () => {
  test('is replaced before it takes the next shard, and the work is tried again', async () => {
    const job = await make('devoid', {})
    work()
    // the other shard is there to be taken at once
    await follow(job.id, ({ nDone }) => nDone > 0)
    expect(await logOf(job.id)).toContainEqual(expect.stringMatching(/"cuda:0" was lost.*tried again/))
    await retryNow()
    const { state, result } = await follow(job.id)
    expect(state).toBe('succeeded')
    const [first, second] = result as { pid: number; lost: number }[]
    expect(first!.lost).toBeGreaterThan(0)
    expect([first!.pid, second!.pid]).not.toContain(first!.lost)
  })
})

describe('a worker that is killed', () => {
  let victim: ChildProcess | undefined
  afterEach(() => void victim?.kill('SIGKILL'))

  test('loses at most the shards it was on: another finishes with the same bits', async () => {
    const input = { nShards: 12, each: 3000, pauseMs: 60 }
    const job = await make('sum', input)
    const script = path.join(import.meta.dirname, 'worker-in-process.ts')
    const args = ['--import', 'tsx', script, places.databaseUrl, places.dataDir, '600']
    victim = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    const { nDone } = await follow(job.id, (seen) => seen.nDone >= 2)
    const children = await childrenOf(victim.pid!)
    victim.kill('SIGKILL')
    await once(victim, 'exit')
    expect(children.length).toBeGreaterThan(0)

    work({ leaseMs: 600 })
    const end = await follow(job.id)
    expect(end).toMatchObject({ state: 'succeeded', nDone: 12, result: { total: sumOf(input), nShards: 12 } })
    // each shard's line is there, and a shard that was left is there twice at most
    const lines = (await logOf(job.id)).filter((text) => text.startsWith('terms'))
    expect(new Set(lines).size).toBe(12)
    expect(lines.length).toBeLessThanOrEqual(12 + 2)
    expect(nDone).toBeLessThan(12)
    expect(children.filter(isAlive)).toEqual([])
  })
})

/** Jobs that have results of shards. */
const partFolders = () => fs.readdir(path.join(places.dataDir, 'parts'))

/** Lets what waits to be tried again be tried now. */
async function retryNow(): Promise<void> {
  await catalog.prisma.$executeRaw`update job_shards set not_before = now()`
  await catalog.prisma.$executeRaw`select pg_notify('refract_jobs', '')`
}

/** Identities of the processes that a process started. */
async function childrenOf(pid: number): Promise<string[]> {
  const { readdir } = await import('node:fs/promises')
  const { processIdentity } = await import('../../../src/catalog/process-lock.js')
  const { readFile } = await import('node:fs/promises')
  const found: string[] = []
  for (const name of await readdir('/proc').catch(() => [])) {
    const stat = /^\d+$/.test(name) ? await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '') : ''
    const parent = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]
    if (Number(parent) === pid) found.push(processIdentity(Number(name)) ?? '')
  }
  return found.filter((identity) => identity !== '')
}
