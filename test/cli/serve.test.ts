import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs/promises'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { processIdentity } from '../../src/catalog/process-lock.js'
import { createTestDatabase, type TestDatabase } from '../catalog/test-database.js'
import { startCli } from './run-cli.js'

const BANNER = /ready at (http:\/\/\S+)/

describe('serve', () => {
  let database: TestDatabase
  let env: Record<string, string>
  beforeAll(async () => {
    database = await createTestDatabase({ migrated: false })
    env = { DATABASE_URL: database.url, DATA_DIR: database.dataDir, PORT: '0', REFRACT_DEVICE: 'cpu', REFRACT_LOG_LEVEL: 'silent' }
  })
  afterAll(() => database.close())

  test('answers under the address that it shows, and stops when asked to', async () => {
    const server = startCli(['serve'], env)
    const [, url = ''] = await server.said(BANNER)
    expect((await fetch(`${url}/healthz`)).status).toBe(200)
    for (const page of server.out().match(/http:\S+\/(docs|graphiql|openapi\.json)/g) ?? []) {
      expect((await fetch(page)).status).toBe(200)
    }
    expect(server.out().split('\n').length).toBeLessThan(24)
    expect(server.out()).not.toContain(new URL(database.url).password)
    server.signals.emit('SIGTERM')
    expect(await server.exitCode).toBe(0)
    await expect(fetch(`${url}/healthz`)).rejects.toThrow()
  })

  test('says which port is taken, and how to take another', async () => {
    const other = net.createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as net.AddressInfo
    const server = startCli(['serve'], { ...env, PORT: String(port) })
    expect(await server.exitCode).toBe(2)
    expect(server.err()).toMatch(new RegExp(`Port ${port} is taken.*PORT=${port + 1}`))
    other.close()
  })

  test('is reached from other machines only with a key', async () => {
    const server = startCli(['serve'], { ...env, HOST: '0.0.0.0' })
    expect(await server.exitCode).toBe(2)
    expect(server.err()).toContain('keys create')
  })

  test('stops in the middle of starting', async () => {
    const server = startCli(['serve'], env)
    server.signals.emit('SIGINT')
    expect(await server.exitCode).toBe(130)
    expect(server.out()).toBe('')
  })
})

describe('serve, killed', () => {
  let dataDir: string
  const children: ChildProcess[] = []
  beforeAll(async () => {
    dataDir = await fs.mkdtemp(path.join(os.tmpdir(), 'refract-serve-'))
  })
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL')
    await fs.rm(dataDir, { recursive: true, force: true })
  })

  async function serve(): Promise<{ child: ChildProcess; url: string; err: () => string }> {
    const env = { ...process.env, DATABASE_URL: '', DATA_DIR: dataDir, PORT: '0', REFRACT_DEVICE: 'cpu' }
    const child = spawn(process.execPath, ['--import', 'tsx', path.join(import.meta.dirname, 'serve-in-process.ts')], { env })
    children.push(child)
    let [out, err] = ['', '']
    child.stderr?.on('data', (chunk) => {
      err += chunk
    })
    for await (const chunk of child.stdout ?? []) {
      out += chunk
      const url = BANNER.exec(out)?.[1]
      if (url && out.includes('Ctrl-C')) return { child, url, err: () => err }
    }
    throw new Error(`it ended before it was ready:\n${err}`)
  }
  const postmaster = async () =>
    Number((await fs.readFile(path.join(dataDir, 'postgres/cluster/data/postmaster.pid'), 'utf8')).split('\n')[0])

  test('node, then node and database: each next start recovers; a second one shares the database; SIGTERM stops it all', async () => {
    const first = await serve()
    first.child.kill('SIGKILL')
    await once(first.child, 'exit')
    const adopted = await postmaster()

    const second = await serve()
    expect(await postmaster()).toBe(adopted)
    second.child.kill('SIGKILL')
    await once(second.child, 'exit')
    process.kill(adopted, 'SIGKILL')

    const third = await serve()
    const fourth = await serve()
    expect(fourth.url).not.toBe(third.url)
    for (const { url } of [third, fourth]) expect((await fetch(`${url}/readyz`)).status).toBe(200)
    const running = await postmaster()
    third.child.kill('SIGTERM')
    expect((await once(third.child, 'exit'))[0]).toBe(0)
    expect((await fetch(`${fourth.url}/readyz`)).status).toBe(200)
    fourth.child.kill('SIGINT')
    expect((await once(fourth.child, 'exit'))[0]).toBe(0)
    expect(processIdentity(running)).toBeUndefined()
  }, 120_000)
})
