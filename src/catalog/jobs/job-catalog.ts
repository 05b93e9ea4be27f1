/** Making jobs, finding them, and asking them to stop or to go on. */

import { randomUUID } from 'node:crypto'
import { decodeTimeCursor, pageOf, timeKey } from '../cursors.js'
import type { JobConnection, Transaction } from './connection.js'
import type { JobCatalog, JobRecord, NewJob } from './job.js'
import { CHANNEL, type JobRow, jobColumns, type LineRow, recordOf, settleAllCancelled, settleCancelled, tell, tellStop } from './rows.js'
import { storableJson } from './storable.js'
import { watchJob } from './watch.js'

const LIST = 'jobs'
const JOB_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

export function jobCatalog(connection: JobConnection): JobCatalog {
  const find = async (id: string): Promise<JobRecord | undefined> => {
    if (!JOB_ID.test(id)) return undefined
    const [row] = await connection.ask((sql) => sql<JobRow[]>`select ${jobColumns(sql)} from jobs where id = ${id}`)
    if (row?.state !== 'cancelling') return row && recordOf(row)
    // its workers may have died since
    await connection.ask((sql) => settleAllCancelled(sql))
    const [settled] = await connection.ask((sql) => sql<JobRow[]>`select ${jobColumns(sql)} from jobs where id = ${id}`)
    return settled && recordOf(settled)
  }
  /** Changes a job whose row is held, then reads it. */
  const change = async (id: string, body: (sql: Transaction) => Promise<unknown>): Promise<JobRecord | undefined> => {
    if (!JOB_ID.test(id)) return undefined
    await connection.transact(async (sql) => {
      await sql`select 1 from jobs where id = ${id} for update`
      await body(sql)
      await tell(sql, id)
      await tellStop(sql, id)
    })
    return find(id)
  }
  const log: JobCatalog['log'] = async (id, { after, limit }) =>
    JOB_ID.test(id)
      ? connection.ask(
          (sql) => sql<LineRow[]>`
            select number, at, level, text from job_log_lines where job_id = ${id} and number > ${after} order by number limit ${limit}`,
        )
      : []

  return {
    get: find,
    log,
    create: (job) => connection.transact((sql) => create(sql, job)),

    async list({ limit, cursor, state, kind }) {
      const after = cursor === undefined ? undefined : decodeTimeCursor(LIST, cursor)
      return connection.ask(async (sql) => {
        const filter = sql`
          ${state === undefined ? sql`true` : sql`jobs.state = ${state}`} and ${kind === undefined ? sql`true` : sql`jobs.kind = ${kind}`}`
        const [rows, [counted]] = await Promise.all([
          sql<JobRow[]>`
            select ${jobColumns(sql)} from jobs
            where ${filter} and ${after === undefined ? sql`true` : sql`(created_at, id) < (${after.createdAt}, ${after.id})`}
            order by created_at desc, id desc limit ${limit + 1}`,
          sql<{ count: number }[]>`select count(*)::int as count from jobs where ${filter}`,
        ])
        return pageOf([...rows], {
          limit,
          totalCount: counted?.count ?? 0,
          list: LIST,
          key: ({ created_at: createdAt, id }) => timeKey({ createdAt, id }),
          item: recordOf,
        })
      })
    },

    cancel: (id) =>
      change(id, async (sql) => {
        await sql`update jobs set state = 'cancelling', revision = revision + 1 where id = ${id} and state in ('queued', 'running')`
        await settleCancelled(sql, id)
      }),

    resume: (id) =>
      change(id, async (sql) => {
        await settleCancelled(sql, id)
        const { count } = await sql`
          update jobs set state = 'queued', message = '', error = null, finished_at = null, revision = revision + 1
          where id = ${id} and state in ('cancelled', 'failed')`
        if (count === 0) return
        // whoever still works on a shard of the failed job has lost it
        await sql`
          update job_shards set state = 'waiting', lease = lease + 1, worker = null, leased_until = null, crashes = 0, progress = 0,
            not_before = now()
          where job_id = ${id} and state <> 'done'`
      }),

    using: (what) =>
      connection.ask(async (sql) => {
        const rows = await sql<JobRow[]>`
          select ${jobColumns(sql)} from jobs
          where state in ('queued', 'running', 'cancelling') and ${what} = any(uses) order by created_at, id`
        return rows.map(recordOf)
      }),

    watch: (id, { after = 0, signal }) =>
      watchJob(
        { find: () => find(id), log: (last, limit) => log(id, { after: last, limit }) },
        {
          after,
          signal,
          onChange: (changed) =>
            connection.listen(CHANNEL, (payload) => {
              if (payload === id) changed()
            }),
        },
      ),
  }
}

async function create(sql: Transaction, job: NewJob): Promise<{ job: JobRecord; isNew: boolean }> {
  const { kind, input, lane, place, uses, createdBy = null, idempotencyKey = null } = job
  const id = randomUUID()
  const [made] = await sql<JobRow[]>`
    insert into jobs (id, kind, input, lane, place, uses, created_by, idempotency_key)
    values (${id}, ${kind}, ${sql.json(storableJson(input) as never)}, ${lane}, ${place}, ${[...uses]}, ${createdBy}, ${idempotencyKey})
    on conflict (idempotency_key) do nothing
    returning ${jobColumns(sql)}`
  if (made === undefined) {
    const [known] = await sql<JobRow[]>`select ${jobColumns(sql)} from jobs where idempotency_key = ${idempotencyKey}`
    return { job: recordOf(known!), isNew: false }
  }
  await sql`insert into job_shards (job_id, stage, index) values (${id}, 'plan', 0)`
  await tell(sql, id)
  return { job: recordOf(made), isNew: true }
}
