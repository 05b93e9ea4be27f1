/**
 * Applies `migrations/<name>/migration.sql` in order of name, at start. The bookkeeping is Prisma's own table, so that Prisma's
 * command line agrees with what was done here (`npx prisma migrate status`).
 */

import { createHash, randomUUID } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import postgres from 'postgres'
import { EngineError } from '../engine/errors.js'
import { databaseError } from './postgres/database-errors.js'

/** The advisory lock that Prisma's own engine takes: servers and developers never migrate at the same time. */
const LOCK_ID = 72707369

export const migrationsFolder = path.resolve(import.meta.dirname, '../../migrations')

interface Migration {
  readonly name: string
  readonly sql: string
  readonly checksum: string
}

/**
 * Brings the database up to date in one transaction; several processes may call it at once.
 *
 * @returns the names of the migrations applied now
 * @throws DATABASE_UNAVAILABLE when the database cannot be reached, was made by a newer version, or has a migration that failed or was
 *   edited since
 */
export async function migrate(databaseUrl: string, folder: string = migrationsFolder): Promise<string[]> {
  const migrations = await readMigrations(folder)
  const sql = postgres(databaseUrl, { max: 1, connect_timeout: 10, onnotice: () => {} })
  try {
    return await sql.begin(async (transaction) => {
      await transaction`select pg_advisory_xact_lock(${LOCK_ID})`
      await transaction.unsafe(`
        create table if not exists "_prisma_migrations" (
          "id" varchar(36) primary key not null,
          "checksum" varchar(64) not null,
          "finished_at" timestamptz,
          "migration_name" varchar(255) not null,
          "logs" text,
          "rolled_back_at" timestamptz,
          "started_at" timestamptz not null default now(),
          "applied_steps_count" integer not null default 0
        )`)
      const done = await transaction<{ name: string; checksum: string; finished: boolean }[]>`
        select migration_name as name, checksum, finished_at is not null as finished
        from _prisma_migrations where rolled_back_at is null`
      const pending = pendingMigrations(migrations, done)
      for (const { name, sql: statements, checksum } of pending) {
        await transaction.unsafe(statements)
        await transaction`
          insert into _prisma_migrations (id, checksum, finished_at, migration_name, applied_steps_count)
          values (${randomUUID()}, ${checksum}, now(), ${name}, 1)`
      }
      return pending.map(({ name }) => name)
    })
  } catch (error) {
    throw databaseError(error, databaseUrl)
  } finally {
    await sql.end({ timeout: 2 })
  }
}

async function readMigrations(folder: string): Promise<Migration[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  return Promise.all(
    names.sort().map(async (name) => {
      const sql = await readFile(path.join(folder, name, 'migration.sql'), 'utf8')
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') }
    }),
  )
}

function pendingMigrations(
  migrations: readonly Migration[],
  done: readonly { readonly name: string; readonly checksum: string; readonly finished: boolean }[],
): Migration[] {
  const refuse = (problem: string, instead: string) => new EngineError('DATABASE_UNAVAILABLE', { problem, instead })
  for (const { name, checksum, finished } of done) {
    const migration = migrations.find((candidate) => candidate.name === name)
    if (migration === undefined) {
      throw refuse(
        `its schema is newer than this version of Refract: migration ${name} is unknown here`,
        'Update Refract, or use another database or DATA_DIR.',
      )
    }
    if (!finished) {
      throw refuse(`migration ${name} failed half-way`, `Repair the database, then run: npx prisma migrate resolve --rolled-back ${name}.`)
    }
    if (migration.checksum !== checksum) {
      throw refuse(
        `migration ${name} was edited after it was applied`,
        `Restore migrations/${name} as it was and put the change into a new migration.`,
      )
    }
  }
  const applied = new Set(done.map(({ name }) => name))
  const pending = migrations.filter(({ name }) => !applied.has(name))
  const last = done
    .map(({ name }) => name)
    .sort()
    .at(-1)
  const early = pending.find(({ name }) => last !== undefined && name < last)
  if (early !== undefined) {
    throw refuse(`migration ${early.name} comes before ${last}, which is applied already`, 'Give it a later number.')
  }
  return pending
}
