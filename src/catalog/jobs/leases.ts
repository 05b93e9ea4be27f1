/**
 * How shards are taken, held and finished. A shard is held by a lease that its holder renews; when the holder dies, the lease runs out and
 * another takes the shard. Each taking has a new number, and everything a holder writes is written only while that number is still the
 * shard's: whoever was believed dead and comes back changes nothing. Everything that changes a job or its shards locks the job's row
 * first, so that nothing deadlocks and whoever finishes last sees that. All times are the database's.
 */

import type { Json } from '../../engine/training/run/checkpoints.js'
import type { JobConnection, Sql, Transaction } from './connection.js'
import type { ClaimRequest, ForgottenJob, JobFailure, JobLeases, NewLogLine, PartRecord, ShardLease, Standing } from './job.js'
import { CHANNEL, STOP_CHANNEL, settleAllCancelled, settleCancelled, tell, tellStop } from './rows.js'
import { storableJson, storableText } from './storable.js'

/** Processes that may die of the same shard, without getting further in between, before the job is given up. */
export const MAX_CRASHES = 4
/** A shard that got this much further than ever before is no trap. */
const FURTHER = 0.01
/** Lines of a log that are kept, the newest. */
const MAX_LINES = 10_000
const MAX_TEXT = 2000

type Key = Pick<ShardLease, 'jobId' | 'stage' | 'index' | 'lease'>

/** The shard while it is still this holder's. */
const held = (sql: Sql | Transaction, { jobId, stage, index, lease }: Key) => sql`
  job_id = ${jobId} and stage = ${stage} and index = ${index} and lease = ${lease} and state = 'running'`

const milliseconds = (sql: Sql | Transaction, ms: number) => sql`${ms} * interval '1 millisecond'`

/** A shard (`s`) that may be taken: nobody has it, or its holder did not renew its lease. */
const isFree = (sql: Transaction) => sql`
  ((s.state = 'waiting' and s.not_before <= now()) or (s.state = 'running' and s.leased_until < now()))`

export function jobLeases(connection: JobConnection): JobLeases {
  return {
    async claim(request) {
      await connection.ask((sql) => settleAllCancelled(sql))
      for (;;) {
        const claimed = await connection.transact((sql) => claimNext(sql, request))
        if (claimed !== 'again') return claimed
      }
    },

    report: (lease, { progress, message, lines }, leaseMs) =>
      connection.transact(async (sql) => {
        const standing = await lockJob(sql, lease.jobId)
        const [renewed] = await sql<{ grown: boolean }[]>`
          update job_shards set
            leased_until = now() + ${milliseconds(sql, leaseMs)},
            progress = ${progress},
            crashes = case when ${progress} > furthest + ${FURTHER} then 0 else crashes end,
            furthest = greatest(furthest, ${progress})
          where ${held(sql, lease)}
          returning true as grown`
        if (renewed === undefined) return 'lost'
        await addLines(sql, lease.jobId, lines)
        if (lines.length > 0) await tell(sql, lease.jobId)
        await describe(sql, lease.jobId, message)
        return standing
      }),

    commitPlan: (lease, shards) =>
      commit(connection, lease, { json: null }, async (sql) => {
        await sql`
          insert into job_shards (job_id, stage, index, input)
          select ${lease.jobId}, 'run', ordinality - 1, value
          from jsonb_array_elements(${sql.json(storableJson(shards) as never)}) with ordinality`
        await sql`update jobs set n_shards = ${shards.length} where id = ${lease.jobId}`
      }),

    commitPart: (lease, part) =>
      commit(connection, lease, part, async (sql) => {
        await sql`
          with counted as (update jobs set n_done = n_done + 1 where id = ${lease.jobId} returning id, n_done, n_shards)
          insert into job_shards (job_id, stage, index) select id, 'finish', 0 from counted where n_done = n_shards`
        await describe(sql, lease.jobId)
      }),

    commitResult: (lease, result) =>
      commit(connection, lease, { json: null }, async (sql) => {
        await sql`
          update jobs set state = 'succeeded', progress = 1, message = '', result = ${sql.json(storableJson(result) as never)},
            finished_at = now(), revision = revision + 1
          where id = ${lease.jobId}`
      }),

    release: (lease, retry) =>
      connection.transact(async (sql) => {
        await lockJob(sql, lease.jobId)
        const [row] = await sql<{ crashes: number }[]>`
          update job_shards set state = 'waiting', worker = null, leased_until = null,
            crashes = crashes + ${retry === undefined ? 0 : 1},
            not_before = now() + ${milliseconds(sql, retry?.afterMs ?? 0)}
          where ${held(sql, lease)}
          returning crashes`
        if (row !== undefined && retry !== undefined) {
          if (row.crashes >= MAX_CRASHES) await failJob(sql, lease.jobId, retry.failure)
          else await addLines(sql, lease.jobId, [{ level: 'warning', text: `${retry.failure.message} It is tried again.` }])
        }
        await settleCancelled(sql, lease.jobId)
        await tell(sql, lease.jobId)
      }),

    fail: (lease, failure) =>
      connection.transact(async (sql) => {
        await lockJob(sql, lease.jobId)
        const { count } = await sql`
          update job_shards set state = 'waiting', worker = null, leased_until = null where ${held(sql, lease)}`
        if (count > 0) await failJob(sql, lease.jobId, failure)
        await settleCancelled(sql, lease.jobId)
        await tell(sql, lease.jobId)
      }),

    async parts(jobId, { from, limit }) {
      const rows = await connection.ask(
        (sql) => sql<{ result: Json; result_blob: string | null }[]>`
          select result, result_blob from job_shards
          where job_id = ${jobId} and stage = 'run' and state = 'done' and index >= ${from} order by index limit ${limit}`,
      )
      return rows.map(({ result, result_blob }) => (result_blob === null ? { json: result } : { blob: result_blob }))
    },

    async leftovers({ places, jobId }) {
      const rows = await connection.ask(
        (sql) => sql<{ job_id: string; blobs: string[] }[]>`
          select s.job_id, array_agg(distinct s.result_blob) as blobs
          from job_shards s join jobs on jobs.id = s.job_id
          where jobs.state = 'succeeded' and jobs.place = any(${[...places]}) and s.result_blob is not null
            and ${jobId === undefined ? sql`true` : sql`s.job_id = ${jobId}`}
          group by s.job_id`,
      )
      return rows.map(({ job_id, blobs }) => ({ jobId: job_id, blobs }))
    },

    forgetLeftover: async (jobId) => {
      await connection.ask(
        (sql) => sql`
          update job_shards set result_blob = null from jobs
          where job_id = ${jobId} and jobs.id = job_id and jobs.state = 'succeeded' and result_blob is not null`,
      )
    },

    async forgetOld({ places, olderThanMs, limit }) {
      const rows = await connection.transact(
        (sql) => sql<{ id: string; state: ForgottenJob['state']; result: Json | null; blobs: string[] | null }[]>`
          with old as (
            select id from jobs
            where state in ('succeeded', 'failed', 'cancelled') and place = any(${[...places]})
              and finished_at < now() - ${milliseconds(sql, olderThanMs)}
              and not exists (select 1 from job_shards s where s.job_id = jobs.id and s.state = 'running' and s.leased_until > now())
            order by finished_at, id limit ${limit}
            for update skip locked
          ), parts as (
            select s.job_id, array_agg(distinct s.result_blob) as blobs
            from job_shards s join old on old.id = s.job_id where s.result_blob is not null group by s.job_id
          )
          delete from jobs using old left join parts on parts.job_id = old.id
          where jobs.id = old.id
          returning jobs.id, jobs.state, jobs.result, parts.blobs`,
      )
      return rows.map(({ id, state, result, blobs }) => ({ jobId: id, state, result: result ?? undefined, blobs: blobs ?? [] }))
    },

    async unnamedBlobs(hashes) {
      const rows = await connection.ask(
        (sql) => sql<{ sha256: string }[]>`
          select sha256 from unnest(${[...hashes]}::text[]) as given(sha256)
          where not exists (select 1 from images where id = 'sha256:' || sha256)
            and not exists (select 1 from feature_sets where embeddings_sha256 = sha256)
            and not exists (
              select 1 from jobs where result -> 'artifacts' @> jsonb_build_array(jsonb_build_object('sha256', sha256))
            )`,
      )
      return rows.map(({ sha256 }) => sha256)
    },

    async nextDueMs({ places, kinds }) {
      const [row] = await connection.ask(
        (sql) => sql<{ ms: number | null }[]>`
          select extract(epoch from min(case when s.state = 'waiting' then s.not_before else s.leased_until end) - now()) * 1000 as ms
          from job_shards s join jobs on jobs.id = s.job_id
          where jobs.state in ('queued', 'running', 'cancelling') and jobs.place = any(${[...places]}) and jobs.kind = any(${[...kinds]})
            and s.state <> 'done' and (s.state = 'running' or s.not_before > now())`,
      )
      return row?.ms === null || row === undefined ? undefined : Math.max(0, Number(row.ms))
    },

    onChange: (listener) => connection.listen(CHANNEL, listener),
    onStop: (listener) => connection.listen(STOP_CHANNEL, listener),
  }
}

interface ClaimedRow {
  readonly job_id: string
  readonly stage: ShardLease['stage']
  readonly index: number
  readonly lease: number
  readonly crashes: number
  readonly kind: string
  readonly input: Json
  readonly shard: Json
}

/** The oldest job first. `again`: what was seen was gone when it was reached for, or killed whoever took it. */
async function claimNext(sql: Transaction, request: ClaimRequest): Promise<ShardLease | 'again' | undefined> {
  const { worker, leaseMs, lane, places, kinds } = request
  const [next] = await sql<{ id: string }[]>`
    select id from jobs
    where state in ('queued', 'running') and lane = ${lane} and place = any(${[...places]}) and kind = any(${[...kinds]})
      and exists (select 1 from job_shards s where s.job_id = jobs.id and s.state <> 'done' and ${isFree(sql)})
    order by created_at, id
    limit 1`
  if (next === undefined) return undefined
  if ((await lockJob(sql, next.id)) !== 'running') return 'again'
  const [row] = await sql<ClaimedRow[]>`
    with free as (
      select s.job_id, s.stage, s.index from job_shards s
      where s.job_id = ${next.id} and s.state <> 'done' and ${isFree(sql)}
      order by s.stage, s.index
      limit 1
    )
    update job_shards s set
      crashes = s.crashes + case when s.state = 'running' then 1 else 0 end,
      state = 'running', lease = s.lease + 1, worker = ${worker}, leased_until = now() + ${milliseconds(sql, leaseMs)}, progress = 0
    from free, jobs
    where s.job_id = free.job_id and s.stage = free.stage and s.index = free.index and jobs.id = s.job_id
    returning s.job_id, s.stage, s.index, s.lease, s.crashes, jobs.kind, jobs.input, s.input as shard`
  if (row === undefined) return 'again'
  const { job_id: jobId, ...rest } = row
  if (row.crashes >= MAX_CRASHES) {
    await sql`update job_shards set state = 'waiting', worker = null, leased_until = null where ${held(sql, { jobId, ...rest })}`
    await failJob(sql, jobId, {
      code: 'JOB_CRASHED',
      message: `${row.crashes} processes in a row ended while they worked on the same part of it (${nameOf(row.stage, row.index)}), and it got no further.`,
      problems: [],
    })
    await tell(sql, jobId)
    return 'again'
  }
  if (row.crashes > 0) {
    const text = `${nameOf(row.stage, row.index)} was left by a process that ended; it is taken up again.`
    await addLines(sql, jobId, [{ level: 'warning', text }])
  }
  await sql`
    update jobs set state = 'running', started_at = coalesce(started_at, now()), revision = revision + 1
    where id = ${jobId} and state = 'queued'`
  await tell(sql, jobId)
  return { jobId, ...rest }
}

const nameOf = (stage: ShardLease['stage'], index: number) => (stage === 'run' ? `shard ${index + 1}` : `its ${stage}`)

/** Whoever changes a job or counts its shards holds its row first, so that two that finish at once do so one after the other. */
async function lockJob(sql: Transaction, id: string): Promise<Exclude<Standing, 'lost'>> {
  const [row] = await sql<{ state: string }[]>`select state from jobs where id = ${id} for update`
  if (row?.state === 'failed') return 'failed'
  return row?.state === 'cancelling' || row?.state === 'cancelled' || row === undefined ? 'cancelling' : 'running'
}

/** A commit whose answer was lost is tried again by its holder: then it is there already, and that is success, too. */
function commit(
  connection: JobConnection,
  lease: ShardLease,
  part: PartRecord,
  then: (sql: Transaction) => Promise<void>,
): Promise<boolean> {
  const { jobId, stage, index } = lease
  return connection.transact(async (sql) => {
    const standing = await lockJob(sql, jobId)
    const [there] = await sql<{ state: string; lease: number }[]>`
      select state, lease from job_shards where job_id = ${jobId} and stage = ${stage} and index = ${index} for update`
    if (there?.lease !== lease.lease) return false
    if (there.state === 'done') return true
    if (there.state !== 'running') return false
    // What a cancelled job's shards found is kept for when it is resumed, but a finished job is not cancelled any more.
    if (standing !== 'running' && stage === 'finish') return false
    await sql`
      update job_shards set state = 'done', progress = 1, worker = null, leased_until = null, crashes = 0,
        result = ${'json' in part ? sql.json(storableJson(part.json) as never) : null}, result_blob = ${'blob' in part ? part.blob : null}
      where ${held(sql, lease)}`
    await then(sql)
    await settleCancelled(sql, jobId)
    await tell(sql, jobId)
    return true
  })
}

/** Progress from what is done and what is under way, and what is being said. Told only when it is something new. */
async function describe(sql: Transaction, id: string, message?: string): Promise<void> {
  const said = message === undefined ? null : storableText(message, MAX_TEXT)
  const { count } = await sql`
    update jobs set progress = seen.progress, message = coalesce(${said}, jobs.message), revision = revision + 1
    from (
      select case when j.n_shards is null then 0 else least(0.99, (j.n_done + (
        select coalesce(sum(s.progress), 0) from job_shards s where s.job_id = j.id and s.stage = 'run' and s.state = 'running'
      )) / j.n_shards) end as progress
      from jobs j where j.id = ${id}
    ) seen
    where jobs.id = ${id} and jobs.state in ('running', 'cancelling')
      and (jobs.progress <> seen.progress or jobs.message is distinct from coalesce(${said}, jobs.message))`
  if (count > 0) await tell(sql, id)
}

async function failJob(sql: Transaction, id: string, { code, message, problems }: JobFailure): Promise<void> {
  const error = storableJson({ code, message, problems: problems.map(({ path, message: text }) => ({ path, message: text })) })
  await sql`
    update jobs set state = 'failed', error = ${sql.json(error as never)}, finished_at = now(), revision = revision + 1
    where id = ${id} and state in ('queued', 'running')`
  await tellStop(sql, id)
}

/** Numbered in the order of their commits, since the job's row is held: a reader who has seen line n has seen all before it. */
async function addLines(sql: Transaction, id: string, lines: readonly NewLogLine[]): Promise<void> {
  if (lines.length === 0) return
  const [row] = await sql<{ last: number }[]>`
    update jobs set n_log_lines = n_log_lines + ${lines.length}, revision = revision + 1 where id = ${id} returning n_log_lines as last`
  if (row === undefined) return
  const first = row.last - lines.length + 1
  await sql`
    insert into job_log_lines ${sql(
      lines.map(({ level, text }, index) => ({ job_id: id, number: first + index, level, text: storableText(text, MAX_TEXT) })),
    )}`
  await sql`delete from job_log_lines where job_id = ${id} and number <= ${row.last - MAX_LINES}`
}
