import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import postgres from 'postgres'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/catalog/postgres/embedded-postgres.js'

const run = promisify(execFile)
const script = path.join(import.meta.dirname, 'start-in-process.ts')
let dataDir: string
let started: EmbeddedPostgres[]
// Making a cluster takes a second or more: the tests share one, and leave it stopped and whole.
beforeAll(async () => {
  dataDir = await fs.mkdtemp(path.join(os.tmpdir(), 'refract-postgres-'))
})
afterAll(() => fs.rm(dataDir, { recursive: true, force: true }))
beforeEach(() => {
  started = []
})
afterEach(async () => {
  for (const one of started) await one.stop()
})

async function start(onProgress?: (message: string) => void): Promise<EmbeddedPostgres> {
  const one = await startEmbeddedPostgres({ dataDir, ...(onProgress && { onProgress }) })
  started.push(one)
  return one
}

const data = () => path.join(dataDir, 'postgres/cluster/data')
const pidFile = () => path.join(data(), 'postmaster.pid')
const postmaster = async () => Number((await fs.readFile(pidFile(), 'utf8')).split('\n')[0])

async function replaced(name: string, text: string): Promise<{ restore(): Promise<void> }> {
  const file = path.join(data(), name)
  const before = await fs.readFile(file)
  await fs.writeFile(file, text)
  return { restore: () => fs.writeFile(file, before) }
}

async function query(url: string, statement: string): Promise<readonly Record<string, unknown>[]> {
  const sql = postgres(url, { max: 1, connect_timeout: 5, onnotice: () => {} })
  try {
    return [...(await sql.unsafe(statement))]
  } finally {
    await sql.end({ timeout: 1 })
  }
}

describe('the embedded PostgreSQL', () => {
  test('is made at the first start, also after making it was interrupted; keeps what is written, and is gone after stop', async () => {
    const interrupted = path.join(dataDir, 'postgres/making-interrupted/data')
    await fs.mkdir(interrupted, { recursive: true })
    await fs.writeFile(path.join(interrupted, 'PG_VERSION'), '18\n')
    const first = await start()
    expect(first).toMatchObject({ initialised: true, adopted: false })
    expect(await fs.readdir(path.join(dataDir, 'postgres'))).not.toContain('making-interrupted')
    await query(first.url, 'create table kept (n int); insert into kept values (42)')
    expect(await first.stop()).toBe(true)
    await expect(query(first.url, 'select 1')).rejects.toThrow()
    const second = await start()
    expect(second).toMatchObject({ initialised: false, adopted: false })
    expect(await query(second.url, 'select n from kept')).toEqual([{ n: 42 }])
  })

  test('is shared by several, also in other processes, and stopped by the last', async () => {
    const [one, two] = await Promise.all([start(), start()])
    expect(one.port).toBe(two.port)
    const { stdout } = await run(process.execPath, ['--import', 'tsx', script, dataDir, 'stop'])
    expect(JSON.parse(stdout)).toMatchObject({ port: one.port, adopted: true, stopped: false })
    expect(await one.stop()).toBe(false)
    await query(two.url, 'select 1')
    expect(await two.stop()).toBe(true)
  })

  test('whose starter was killed is adopted, and stopped by who adopted it', async () => {
    const child = spawn(process.execPath, ['--import', 'tsx', script, dataDir, 'stay'], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    child.kill('SIGKILL')
    await once(child, 'exit')
    const one = await start()
    expect(one.adopted).toBe(true)
    expect(await one.stop()).toBe(true)
  })

  test('that was killed while nobody looked recovers at the next start', async () => {
    const first = await start()
    await run(process.execPath, ['--import', 'tsx', script, dataDir, 'leave'])
    await first.stop()
    await run(process.execPath, ['--import', 'tsx', script, dataDir, 'leave'])
    process.kill(await postmaster(), 'SIGKILL')
    const second = await start()
    expect(second.adopted).toBe(false)
    expect(await query(second.url, 'select n from kept')).toEqual([{ n: 42 }])
  })

  test('that is killed while it is used is started again at the same address', async () => {
    let restarted: (() => void) | undefined
    const told = new Promise<void>((resolve) => {
      restarted = resolve
    })
    const one = await start(() => restarted?.())
    process.kill(await postmaster(), 'SIGKILL')
    await told
    // the lock is free again when it runs
    const two = await start()
    expect(two.port).toBe(one.port)
    expect(await query(one.url, 'select n from kept')).toEqual([{ n: 42 }])
  })

  test('starts although its pid file names a process that is another program now', async () => {
    await (await start()).stop()
    await fs.writeFile(pidFile(), `${process.pid}\n${data()}\n1700000000\n5432\n\n127.0.0.1\n  1 1\nready   \n`)
    const one = await start()
    expect(one.adopted).toBe(false)
    await query(one.url, 'select 1')
  })

  test.each(['', 'nonsense\n', '-1\n', '999999999\n'])('starts although its pid file says %j', async (text) => {
    await (await start()).stop()
    await fs.writeFile(pidFile(), text)
    await query((await start()).url, 'select 1')
  })

  test('is stopped also when the disk is full', async () => {
    const one = await start()
    const full = vi.spyOn(fs, 'writeFile').mockRejectedValue(Object.assign(new Error('no space left'), { code: 'ENOSPC' }))
    try {
      expect(await one.stop()).toBe(true)
    } finally {
      full.mockRestore()
    }
    await expect(postmaster()).rejects.toMatchObject({ code: 'ENOENT' })
    // and nothing is in the way of the next start
    await query((await start()).url, 'select 1')
  })

  test('says what is wrong with data of another version, and touches nothing', async () => {
    await (await start()).stop()
    const version = await replaced('PG_VERSION', '12\n')
    await expect(start()).rejects.toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
      message: expect.stringMatching(/made by PostgreSQL 12.*DATABASE_URL/s),
    })
    await version.restore()
  })

  test('says what the server said when it does not start', async () => {
    await (await start()).stop()
    const settings = await replaced('postgresql.auto.conf', 'no_such_setting = 1\n')
    await expect(start()).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE', message: expect.stringContaining('no_such_setting') })
    await settings.restore()
  })

  test('is not moved by the settings of another server in the environment', async () => {
    process.env.PGDATA = '/nowhere'
    process.env.PGPORT = '1'
    try {
      await query((await start()).url, 'select 1')
    } finally {
      delete process.env.PGDATA
      delete process.env.PGPORT
    }
  })
})
