import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type JobConnection, openJobConnection } from '../../src/catalog/jobs/connection.js'
import type { JobCatalog, JobEvent, JobLeases, NewJob, ShardLease } from '../../src/catalog/jobs/job.js'
import { jobCatalog } from '../../src/catalog/jobs/job-catalog.js'
import { jobLeases, MAX_CRASHES } from '../../src/catalog/jobs/leases.js'
import { createTestDatabase, type TestDatabase } from './test-database.js'

let database: TestDatabase
let connection: JobConnection
let jobs: JobCatalog
let leases: JobLeases

beforeAll(async () => {
  database = await createTestDatabase()
  connection = openJobConnection(database.url)
  jobs = jobCatalog(connection)
  leases = jobLeases(connection)
})
afterAll(async () => {
  await connection.close()
  await database.close()
})
beforeEach(async () => {
  await connection.ask((sql) => sql`delete from jobs`)
})

const aJob: NewJob = { kind: 'count', input: { upTo: 3 }, lane: 'compute', place: 'here', uses: ['model:vit'] }
const here = { worker: 'a', leaseMs: 60_000, lane: 'compute', places: ['here'], kinds: ['count'] } as const
const failure = { code: 'FILE_INVALID', message: 'it is broken', problems: [] }
const nothing = { progress: 0, lines: [] }

async function make(job: Partial<NewJob> = {}) {
  return (await jobs.create({ ...aJob, ...job })).job
}
async function take(request: Partial<Parameters<JobLeases['claim']>[0]> = {}): Promise<ShardLease> {
  const lease = await leases.claim({ ...here, ...request })
  if (!lease) throw new Error('there is nothing to take')
  return lease
}
/** As if the holder had died long ago. */
const expire = () => connection.ask((sql) => sql`update job_shards set leased_until = now() - interval '1 second' where state = 'running'`)
const dueNow = () => connection.ask((sql) => sql`update job_shards set not_before = now()`)
async function planned(nShards: number) {
  const job = await make()
  await leases.commitPlan(
    await take(),
    Array.from({ length: nShards }, (_, index) => ({ index })),
  )
  return job
}

describe('a job', () => {
  test('is planned, run and finished, and has its result and its times', async () => {
    const job = await make({ createdBy: 'key-1' })
    expect(job).toMatchObject({ state: 'queued', progress: 0, nShards: null, startedAt: null, createdBy: 'key-1', uses: ['model:vit'] })
    const plan = await take()
    expect(plan).toMatchObject({ jobId: job.id, stage: 'plan', input: { upTo: 3 }, kind: 'count' })
    expect(await leases.claim(here)).toBeUndefined()
    expect(await leases.commitPlan(plan, [{ from: 0 }, { from: 1 }])).toBe(true)

    const [first, second] = [await take(), await take({ worker: 'b' })]
    expect([first.shard, second.shard]).toEqual([{ from: 0 }, { from: 1 }])
    expect(await leases.commitPart(second, { blob: 'b'.repeat(64) })).toBe(true)
    expect(await jobs.get(job.id)).toMatchObject({ state: 'running', progress: 0.5, nShards: 2, nDone: 1 })
    expect(await leases.claim(here)).toBeUndefined()
    expect(await leases.commitPart(first, { json: [1.5, null] })).toBe(true)

    const finish = await take()
    expect(finish.stage).toBe('finish')
    expect(await leases.parts(job.id, { from: 0, limit: 10 })).toEqual([{ json: [1.5, null] }, { blob: 'b'.repeat(64) }])
    expect(await leases.commitResult(finish, { sum: 3 })).toBe(true)
    const done = await jobs.get(job.id)
    expect(done).toMatchObject({ state: 'succeeded', progress: 1, result: { sum: 3 }, error: null })
    expect(done!.finishedAt!.getTime()).toBeGreaterThanOrEqual(done!.startedAt!.getTime())
    expect(await leases.claim(here)).toBeUndefined()
  })

  test('leaves blobs of its shards until they are removed, and only when it has its result', async () => {
    const job = await planned(3)
    for (const blob of ['a', 'b', 'a']) await leases.commitPart(await take(), { blob: blob.repeat(64) })
    expect(await leases.leftovers({ places: ['here'] })).toEqual([])
    await leases.forgetLeftover(job.id)
    expect(await leases.parts(job.id, { from: 0, limit: 1 })).toEqual([{ blob: 'a'.repeat(64) }])
    await leases.commitResult(await take(), null)
    const left = [{ jobId: job.id, blobs: ['a'.repeat(64), 'b'.repeat(64)] }]
    expect(await leases.leftovers({ places: ['here'] })).toEqual(left)
    expect(await leases.leftovers({ places: ['here'], jobId: job.id })).toEqual(left)
    expect(await leases.leftovers({ places: ['elsewhere'] })).toEqual([])
    await leases.forgetLeftover(job.id)
    expect(await leases.leftovers({ places: ['here'] })).toEqual([])
  })

  test('is left alone by workers of another place, another lane, or without its kind', async () => {
    await make()
    expect(await leases.claim({ ...here, places: ['elsewhere'] })).toBeUndefined()
    expect(await leases.claim({ ...here, lane: 'transfer' })).toBeUndefined()
    expect(await leases.claim({ ...here, kinds: ['other'] })).toBeUndefined()
    expect(await take({ places: ['elsewhere', 'here'], kinds: ['other', 'count'] })).toBeDefined()
  })

  test('asked for twice under one idempotency key is one job', async () => {
    const both = await Promise.all([1, 2].map(() => jobs.create({ ...aJob, idempotencyKey: 'k' })))
    expect(new Set(both.map(({ job }) => job.id)).size).toBe(1)
    expect(both.map(({ isNew }) => isNew).sort()).toEqual([false, true])
    expect((await jobs.list({ limit: 10 })).totalCount).toBe(1)
  })

  test('keeps what PostgreSQL cannot hold in a form that it can', async () => {
    await planned(1)
    const shard = await take()
    await leases.report(shard, { progress: 0.5, message: 'a\0b\ud800', lines: [{ level: 'info', text: `\0${'x'.repeat(5000)}` }] }, 1000)
    await leases.commitPart(shard, { json: { 'k\0': '\udc00', n: Number.NaN } })
    const [job] = (await jobs.list({ limit: 1 })).items
    expect(job!.message).toBe('a\ufffdb\ufffd')
    expect((await jobs.log(job!.id, { after: 0, limit: 10 }))[0]!.text).toHaveLength(2000)
    expect(await leases.parts(job!.id, { from: 0, limit: 1 })).toEqual([{ json: { 'k\ufffd': '\ufffd', n: null } }])
  })
})

describe('a shard', () => {
  test('is held by one of many that reach for it at once', async () => {
    await planned(7)
    const taken = await Promise.all(Array.from({ length: 20 }, (_, index) => leases.claim({ ...here, worker: `w${index}` })))
    const indices = taken.flatMap((lease) => (lease ? [lease.index] : []))
    expect(indices.sort()).toEqual([0, 1, 2, 3, 4, 5, 6])
  })

  test('of a holder that died is taken by another, and counts once when the first comes back', async () => {
    const job = await planned(1)
    const first = await take()
    await expire()
    const second = await take({ worker: 'b' })
    expect(second).toMatchObject({ index: first.index, lease: first.lease + 1, crashes: 1 })
    expect(await leases.report(first, nothing, 1000)).toBe('lost')
    expect(await leases.commitPart(first, { json: 'late' })).toBe(false)
    await leases.fail(first, failure)
    await leases.release(first)
    expect(await leases.report(second, nothing, 1000)).toBe('running')
    expect(await leases.commitPart(second, { json: 'right' })).toBe(true)
    expect(await leases.parts(job.id, { from: 0, limit: 9 })).toEqual([{ json: 'right' }])
    expect(await jobs.get(job.id)).toMatchObject({ state: 'running', nDone: 1 })
  })

  test('whose lease ran out while the database was away is still its holder’s when nobody was faster', async () => {
    await planned(1)
    const shard = await take()
    await expire()
    expect(await leases.report(shard, nothing, 60_000)).toBe('running')
    expect(await leases.claim(here)).toBeUndefined()
    await expire()
    expect(await leases.commitPart(shard, { json: 1 })).toBe(true)
  })

  test('committed again because the answer was lost is committed once', async () => {
    const job = await planned(2)
    const shard = await take()
    expect([await leases.commitPart(shard, { json: 1 }), await leases.commitPart(shard, { json: 1 })]).toEqual([true, true])
    expect((await jobs.get(job.id))!.nDone).toBe(1)
  })

  test('that two finish at the same moment is followed by one finish', async () => {
    const job = await planned(8)
    const shards = await Promise.all(Array.from({ length: 8 }, () => take()))
    await Promise.all(shards.map((shard) => leases.commitPart(shard, { json: shard.index })))
    const finishes = await Promise.all([leases.claim(here), leases.claim(here)])
    expect(finishes.filter((lease) => lease?.stage === 'finish')).toHaveLength(1)
    expect((await leases.parts(job.id, { from: 0, limit: 9 })).map((part) => 'json' in part && part.json)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })

  test('that kills whoever takes it ends its job, and lets the next job be done', async () => {
    const [job, next] = [await make(), await make()]
    for (let crash = 0; crash < MAX_CRASHES; crash++) {
      expect((await take()).jobId).toBe(job.id)
      await expire()
    }
    expect((await take()).jobId).toBe(next.id)
    expect(await jobs.get(job.id)).toMatchObject({ state: 'failed', error: { code: 'JOB_CRASHED' } })
  })

  test('is not given up while each of its processes gets further than the one before', async () => {
    const job = await planned(1)
    for (let crash = 0; crash < 3 * MAX_CRASHES; crash++) {
      const shard = await take()
      await leases.report(shard, { progress: 0.05 * (crash + 1), lines: [] }, 60_000)
      await expire()
    }
    expect((await jobs.get(job.id))!.state).toBe('running')
  })

  test('that failed in passing is tried again after a while, some times, and then its job fails with what it said', async () => {
    const job = await planned(1)
    for (let attempt = 0; attempt < MAX_CRASHES; attempt++) {
      const shard = await take()
      await leases.release(shard, { failure: { ...failure, code: 'HUB_UNAVAILABLE' }, afterMs: 60_000 })
      expect(await leases.claim(here)).toBeUndefined()
      await dueNow()
    }
    expect(await jobs.get(job.id)).toMatchObject({ state: 'failed', error: { code: 'HUB_UNAVAILABLE', message: 'it is broken' } })
  })

  test('given back by a worker that stops is free at once, and no crash', async () => {
    await planned(1)
    for (let stop = 0; stop < 2 * MAX_CRASHES; stop++) await leases.release(await take())
    expect(await take()).toMatchObject({ crashes: 0 })
  })

  test('tells when the next one is due', async () => {
    expect(await leases.nextDueMs(here)).toBeUndefined()
    await planned(1)
    await take({ leaseMs: 30_000 })
    const due = await leases.nextDueMs(here)
    expect(due).toBeGreaterThan(20_000)
    expect(due).toBeLessThanOrEqual(30_000)
  })
})

describe('cancelling', () => {
  test('a job that waits stops it at once', async () => {
    const job = await make()
    expect(await jobs.cancel(job.id)).toMatchObject({ state: 'cancelled' })
    expect(await leases.claim(here)).toBeUndefined()
  })

  test('a running job asks its workers, and it has stopped when the last of them has', async () => {
    const job = await planned(2)
    const [first, second] = [await take(), await take()]
    expect(await jobs.cancel(job.id)).toMatchObject({ state: 'cancelling' })
    expect(await leases.report(first, nothing, 60_000)).toBe('cancelling')
    await leases.release(first)
    expect(await jobs.get(job.id)).toMatchObject({ state: 'cancelling' })
    await leases.release(second)
    expect(await jobs.get(job.id)).toMatchObject({ state: 'cancelled' })
  })

  test('a job whose worker is dead does not wait for it', async () => {
    const job = await planned(1)
    await take()
    await jobs.cancel(job.id)
    await expire()
    expect(await jobs.get(job.id)).toMatchObject({ state: 'cancelled' })
  })

  test('a job that is over changes nothing, and an unknown one is none', async () => {
    const job = await make()
    await leases.fail(await take(), failure)
    expect(await jobs.cancel(job.id)).toMatchObject({ state: 'failed', error: failure })
    expect(await jobs.cancel('nothing')).toBeUndefined()
    expect(await jobs.cancel('00000000-0000-0000-0000-000000000000')).toBeUndefined()
  })

  test('comes too late for a result that is committed, and in time for one that is not', async () => {
    const job = await planned(1)
    await leases.commitPart(await take(), { json: 1 })
    const finish = await take()
    await jobs.cancel(job.id)
    expect(await leases.commitResult(finish, 'too late')).toBe(false)
    await leases.release(finish)
    expect(await jobs.get(job.id)).toMatchObject({ state: 'cancelled', result: undefined })
  })
})

describe('resuming', () => {
  test('a failed job goes on with what is not done, and who still worked on it has lost it', async () => {
    const job = await planned(3)
    const [first, second, third] = [await take(), await take(), await take()]
    await leases.commitPart(first, { json: 'kept' })
    await leases.fail(second, failure)
    expect(await jobs.get(job.id)).toMatchObject({ state: 'failed', error: failure })
    expect(await leases.report(third, nothing, 1000)).toBe('failed')
    expect(await jobs.resume(job.id)).toMatchObject({ state: 'queued', error: null, finishedAt: null, nDone: 1 })
    expect(await leases.report(third, nothing, 1000)).toBe('lost')
    expect([(await take()).index, (await take()).index]).toEqual([1, 2])
    expect(await leases.claim(here)).toBeUndefined()
  })

  test('is nothing for a job that runs or has succeeded', async () => {
    const job = await planned(1)
    expect(await jobs.resume(job.id)).toMatchObject({ state: 'running' })
    await leases.commitPart(await take(), { json: 1 })
    await leases.commitResult(await take(), 2)
    expect(await jobs.resume(job.id)).toMatchObject({ state: 'succeeded', result: 2 })
  })
})

test('whatever workers do, and whenever they die, each shard counts once and the job finishes', async () => {
  const step = fc.constantFrom('take', 'commit', 'die', 'release', 'late commit', 'report')
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), fc.integer({ min: 1, max: 4 }), async (steps, nShards) => {
      const job = await planned(nShards)
      let held: ShardLease[] = []
      const dead: ShardLease[] = []
      const commit = (lease: ShardLease) =>
        lease.stage === 'finish' ? leases.commitResult(lease, 'done') : leases.commitPart(lease, { json: lease.index })
      for (const what of steps) {
        const [one, ...others] = held
        if (what === 'take') held.push(...[await leases.claim(here)].filter((lease) => lease !== undefined))
        if (what === 'late commit' && dead[0]) await commit(dead[0])
        if (one === undefined) continue
        if (what === 'report') await leases.report(one, { progress: 0.5, lines: [{ level: 'info', text: 'half' }] }, 60_000)
        if (what === 'commit') expect(await commit(one)).toBe(true)
        if (what === 'release') await leases.release(one)
        if (what === 'commit' || what === 'release') held = others
        if (what === 'die') {
          await expire()
          dead.push(...held)
          held = []
        }
      }
      await expire()
      for (let lease = await leases.claim(here); lease; lease = await leases.claim(here)) await commit(lease)
      const end = (await jobs.get(job.id))!
      // so many deaths of one shard that it was given up are the one other end
      if (end.state === 'failed') expect(end.error!.code).toBe('JOB_CRASHED')
      else {
        expect(end).toMatchObject({ state: 'succeeded', nDone: nShards, result: 'done' })
        const parts = await leases.parts(job.id, { from: 0, limit: 100 })
        expect(parts).toEqual(Array.from({ length: nShards }, (_, json) => ({ json })))
      }
      await connection.ask((sql) => sql`delete from jobs`)
    }),
    { numRuns: 25 },
  )
})

describe('the log', () => {
  test('is numbered without gaps in the order in which it can be read, whoever writes', async () => {
    const job = await planned(6)
    const shards = await Promise.all(Array.from({ length: 6 }, () => take()))
    const lines = (index: number) => [1, 2, 3].map((n) => ({ level: 'info', text: `${index}.${n}` }) as const)
    await Promise.all(shards.map((shard) => leases.report(shard, { progress: 0.1, lines: lines(shard.index) }, 60_000)))
    const log = await jobs.log(job.id, { after: 0, limit: 100 })
    expect(log.map(({ number }) => number)).toEqual(Array.from({ length: 18 }, (_, index) => index + 1))
    for (const { index } of shards)
      expect(log.filter(({ text }) => text.startsWith(`${index}.`)).map(({ text }) => text)).toEqual(lines(index).map(({ text }) => text))
    expect((await jobs.log(job.id, { after: 16, limit: 100 })).map(({ number }) => number)).toEqual([17, 18])
    expect(await jobs.log(job.id, { after: 3, limit: 2 })).toHaveLength(2)
  })
})

describe('lists', () => {
  test('page through all jobs, newest first, and filter', async () => {
    const made: string[] = []
    for (let n = 0; n < 5; n++) made.push((await make({ kind: n % 2 ? 'odd' : 'even' })).id)
    await jobs.cancel(made[0]!)
    const ids: string[] = []
    let cursor: string | undefined
    do {
      const page = await jobs.list({ limit: 2, ...(cursor !== undefined && { cursor }) })
      expect(page.totalCount).toBe(5)
      ids.push(...page.items.map(({ id }) => id))
      cursor = page.nextCursor ?? undefined
    } while (cursor !== undefined)
    expect(new Set(ids)).toEqual(new Set(made))
    const times = await Promise.all(ids.map(async (id) => (await jobs.get(id))!.createdAt.getTime()))
    expect(times).toEqual([...times].sort((a, b) => b - a))
    expect((await jobs.list({ limit: 9, kind: 'odd' })).items).toHaveLength(2)
    expect((await jobs.list({ limit: 9, state: 'cancelled' })).items.map(({ id }) => id)).toEqual([made[0]])
    await expect(jobs.list({ limit: 9, cursor: 'nonsense' })).rejects.toMatchObject({ code: 'CURSOR_INVALID' })
  })

  test('name the jobs that use something and are not over', async () => {
    const [first, second] = [await make(), await make()]
    await jobs.cancel(first.id)
    expect((await jobs.using('model:vit')).map(({ id }) => id)).toEqual([second.id])
    expect(await jobs.using('model:other')).toEqual([])
  })
})

describe('watching', () => {
  test('tells every line and the last state, and goes on where a watcher was cut off', async () => {
    const job = await planned(1)
    const events: JobEvent[] = []
    const watching = (async () => {
      for await (const event of jobs.watch(job.id, { signal: AbortSignal.timeout(20_000) })) events.push(event)
    })()
    const shard = await take()
    for (const n of [1, 2, 3]) await leases.report(shard, { progress: n / 10, lines: [{ level: 'info', text: `line ${n}` }] }, 60_000)
    await leases.commitPart(shard, { json: 1 })
    await leases.commitResult(await take(), 'done')
    await watching
    const lines = (list: readonly JobEvent[]) => list.flatMap((event) => ('line' in event ? [event.line.text] : []))
    expect(lines(events)).toEqual(['line 1', 'line 2', 'line 3'])
    expect(events.at(-1)).toMatchObject({ job: { state: 'succeeded', result: 'done' } })

    const again: JobEvent[] = []
    for await (const event of jobs.watch(job.id, { after: 2, signal: AbortSignal.timeout(20_000) })) again.push(event)
    expect(lines(again)).toEqual(['line 3'])
    expect(again).toHaveLength(2)
  })

  test('ends when it is told to, and for a job that is none at once', async () => {
    const job = await make()
    const stop = new AbortController()
    const events: JobEvent[] = []
    for await (const event of jobs.watch(job.id, { signal: stop.signal })) {
      events.push(event)
      stop.abort()
    }
    expect(events).toHaveLength(1)
    for await (const event of jobs.watch('none', { signal: AbortSignal.timeout(1000) })) events.push(event)
    expect(events).toHaveLength(1)
  })
})

test('a database that does not answer is a refusal', async () => {
  const away = openJobConnection(Object.assign(new URL(database.url), { port: '1' }).href)
  await expect(jobCatalog(away).list({ limit: 1 })).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
  await expect(jobLeases(away).claim(here)).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' })
  await away.close()
})
