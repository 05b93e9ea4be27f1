/** Rows of the jobs' tables as records. */

import type { Json } from '../../engine/training/run/checkpoints.js'
import type { Sql, Transaction } from './connection.js'
import type { JobFailure, JobLane, JobRecord, JobState, LogLine } from './job.js'

/** The channel on which changes are told; the payload is the job's id. */
export const CHANNEL = 'refract_jobs'

/** The channel on which those who work on a job hear that nobody wants what they do any more. */
export const STOP_CHANNEL = 'refract_job_stops'

export interface JobRow {
  readonly id: string
  readonly kind: string
  readonly input: Json
  readonly lane: JobLane
  readonly place: string
  readonly uses: readonly string[]
  readonly state: JobState
  readonly progress: number
  readonly message: string
  readonly result: Json
  readonly error: JobFailure | null
  readonly n_shards: number | null
  readonly n_done: number
  readonly n_log_lines: number
  readonly revision: number
  readonly created_by: string | null
  readonly created_at: Date
  readonly started_at: Date | null
  readonly finished_at: Date | null
}

export function recordOf(row: JobRow): JobRecord {
  const { n_shards, n_done, n_log_lines, created_by, created_at, started_at, finished_at, uses, result, ...same } = row
  return {
    ...same,
    uses: [...uses],
    result: row.state === 'succeeded' ? result : undefined,
    nShards: n_shards,
    nDone: n_done,
    nLogLines: n_log_lines,
    createdBy: created_by,
    createdAt: created_at,
    startedAt: started_at,
    finishedAt: finished_at,
  }
}

/** The columns of `JobRow`, of the table or alias `jobs`. */
export const jobColumns = (sql: Sql | Transaction) => sql`
  jobs.id, jobs.kind, jobs.input, jobs.lane, jobs.place, jobs.uses, jobs.state, jobs.progress, jobs.message, jobs.result, jobs.error,
  jobs.n_shards, jobs.n_done, jobs.n_log_lines, jobs.revision, jobs.created_by, jobs.created_at, jobs.started_at, jobs.finished_at`

export type LineRow = LogLine

/** Nobody works on it: no shard's lease is alive. */
const isLeft = (sql: Sql | Transaction) => sql`
  not exists (
    select 1 from job_shards
    where job_shards.job_id = jobs.id and job_shards.state = 'running' and job_shards.leased_until >= now()
  )`

const settled = (sql: Sql | Transaction) => sql`state = 'cancelled', finished_at = now(), revision = revision + 1`

/** A job that was asked to stop, and that nobody works on any more, has stopped. */
export const settleCancelled = (sql: Sql | Transaction, id: string) => sql`
  update jobs set ${settled(sql)} where id = ${id} and state = 'cancelling' and ${isLeft(sql)}`

/** The same for all jobs whose workers died before they could say that they had stopped. */
export const settleAllCancelled = (sql: Sql) => sql`
  with lost as (select id from jobs where state = 'cancelling' and ${isLeft(sql)} for update skip locked),
    settled as (update jobs set ${settled(sql)} from lost where jobs.id = lost.id returning jobs.id)
  select pg_notify(${CHANNEL}, id) from settled`

/** To those who work on it. */
export const tellStop = (sql: Sql | Transaction, id: string) => sql`select pg_notify(${STOP_CHANNEL}, ${id})`

/** Told when the transaction is committed. */
export const tell = (sql: Sql | Transaction, id: string) => sql`select pg_notify(${CHANNEL}, ${id})`
