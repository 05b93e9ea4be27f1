import { execFileSync } from 'node:child_process'
import fs from 'node:fs/promises'
import path from 'node:path'
import postgres from 'postgres'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { migrate, migrationsFolder } from '../../src/catalog/migrate.js'
import { createTestDatabase, type TestDatabase } from './test-database.js'

let database: TestDatabase
let folder: string
beforeEach(async () => {
  database = await createTestDatabase({ migrated: false })
  folder = path.join(database.dataDir, 'migrations')
  await add('0001_one', 'create table one (n int);')
  await add('0002_two', 'create table two (n int); create function f() returns int language sql as $$ select 1; $$;')
})
afterEach(() => database.close())

async function add(name: string, sql: string): Promise<void> {
  await fs.mkdir(path.join(folder, name), { recursive: true })
  await fs.writeFile(path.join(folder, name, 'migration.sql'), sql)
}

const tables = async () => {
  const sql = postgres(database.url, { max: 1 })
  const rows = await sql<{ name: string }[]>`select tablename as name from pg_tables where schemaname = 'public' order by 1`
  await sql.end()
  return rows.map(({ name }) => name)
}
const migrating = () => migrate(database.url, folder)

describe('migrations', () => {
  test('are applied in order, once', async () => {
    expect(await migrating()).toEqual(['0001_one', '0002_two'])
    expect(await migrating()).toEqual([])
    await add('0003_three', 'create table three (n int);')
    expect(await migrating()).toEqual(['0003_three'])
    expect(await tables()).toEqual(['_prisma_migrations', 'one', 'three', 'two'])
  })

  test('by five at once are applied by one', async () => {
    const applied = await Promise.all(Array.from({ length: 5 }, migrating))
    expect(applied.flat()).toEqual(['0001_one', '0002_two'])
  })

  test('of which one fails leave the database as it was', async () => {
    await add('0003_bad', 'create table three (n int); create table one (n int);')
    await expect(migrating()).rejects.toThrow(/one/)
    expect(await tables()).toEqual([])
  })

  test.each<[string, () => Promise<unknown>, RegExp]>([
    ['was edited', () => add('0001_one', 'create table uno (n int);'), /0001_one was edited.*new migration/s],
    ['is gone, because the database is newer', () => fs.rm(path.join(folder, '0002_two'), { recursive: true }), /newer.*0002_two.*Update/s],
    ['is put before one that was applied', () => add('0001_another', 'select 1;'), /0001_another comes before 0002_two/],
  ])('refuse a history in which one %s', async (_, change, message) => {
    await migrating()
    await change()
    await expect(migrating()).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE', message: expect.stringMatching(message) })
  })

  test('refuse a database in which one failed half-way', async () => {
    await migrating()
    const sql = postgres(database.url, { max: 1 })
    await sql`update _prisma_migrations set finished_at = null where migration_name = '0002_two'`
    await sql.end()
    await expect(migrating()).rejects.toThrow(/0002_two failed.*prisma migrate resolve/s)
  })

  test.each<[string, (url: URL) => void, RegExp]>([
    ['nothing listens', (url) => Object.assign(url, { port: '1' }), /nothing listens there/],
    ['the password is wrong', (url) => Object.assign(url, { password: 'wrong-secret' }), /password is wrong/],
    ['there is no such database', (url) => Object.assign(url, { pathname: '/nope' }), /no such database.*createdb/s],
  ])('say so when %s, without the password', async (_, change, message) => {
    const url = new URL(database.url)
    change(url)
    const error = await migrate(url.href, folder).catch((reason: Error) => reason)
    expect(error).toMatchObject({ code: 'DATABASE_UNAVAILABLE', message: expect.stringMatching(message) })
    expect((error as Error).message).not.toContain(url.password)
  })

  test("of this repository make exactly what Prisma's schema says", async () => {
    await migrate(database.url)
    const root = path.dirname(migrationsFolder)
    const args = ['migrate', 'diff', '--from-migrations', 'migrations', '--to-schema', 'prisma/schema.prisma', '--exit-code']
    const output = execFileSync(process.execPath, [path.join(root, 'node_modules/prisma/build/index.js'), ...args], {
      cwd: root,
      env: { ...process.env, DATABASE_URL: database.url, CHECKPOINT_DISABLE: '1' },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    // it ends with 0 and no output when its engine dies
    expect(output).toContain('No difference detected')
  })
})
