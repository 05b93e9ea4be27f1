/**
 * A real PostgreSQL for tests, one database for each file: the one of DATABASE_URL, or the embedded one, which test files that run at the
 * same time share and the last one stops.
 */

import { randomUUID } from 'node:crypto'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import postgres from 'postgres'
import type { Catalog } from '../../src/catalog/catalog.js'
import { migrate } from '../../src/catalog/migrate.js'
import { openCatalog } from '../../src/catalog/open-catalog.js'
import { startEmbeddedPostgres } from '../../src/catalog/postgres/embedded-postgres.js'

const SHARED = path.resolve(import.meta.dirname, '../../.refract-test')

export interface TestDatabase {
  readonly url: string
  /** An empty folder, removed with the database. */
  readonly dataDir: string
  close(): Promise<void>
}

/** An empty database; `migrated: false` leaves out the tables. */
export async function createTestDatabase({ migrated = true } = {}): Promise<TestDatabase> {
  const given = process.env.DATABASE_URL
  const embedded = given ? undefined : await startEmbeddedPostgres({ dataDir: SHARED })
  const server = given ?? embedded?.url ?? ''
  const name = `refract_test_${randomUUID().replaceAll('-', '')}`
  await administer(server, `create database ${name}`)
  const url = Object.assign(new URL(server), { pathname: `/${name}` }).href
  if (migrated) await migrate(url)
  const dataDir = await fs.mkdtemp(path.join(os.tmpdir(), 'refract-test-'))
  return {
    url,
    dataDir,
    async close() {
      await administer(server, `drop database ${name} with (force)`)
      await embedded?.stop()
      await fs.rm(dataDir, { recursive: true, force: true })
    },
  }
}

/** A catalog over a database of its own. */
export async function createTestCatalog(): Promise<{ catalog: Catalog; database: TestDatabase; close(): Promise<void> }> {
  const database = await createTestDatabase()
  const catalog = await openCatalog({ databaseUrl: database.url, dataDir: database.dataDir })
  return {
    catalog,
    database,
    async close() {
      await catalog.close()
      await database.close()
    },
  }
}

async function administer(url: string, statement: string): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  try {
    await sql.unsafe(statement)
  } finally {
    await sql.end({ timeout: 2 })
  }
}
