import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { isAlive, processIdentity, withLock } from '../../src/catalog/process-lock.js'

let folder: string
let lock: string
beforeEach(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'refract-lock-'))
  lock = path.join(folder, 'lock')
})
afterEach(() => fs.rm(folder, { recursive: true }))

describe('a lock between processes', () => {
  test('is not left behind empty where the disk is full', async () => {
    const { writeFile } = fs
    const full = vi.spyOn(fs, 'writeFile').mockImplementationOnce(async (file) => {
      await writeFile(file, '')
      throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
    })
    await expect(withLock(lock, {}, async () => 'done')).rejects.toMatchObject({ code: 'ENOSPC' })
    full.mockRestore()
    expect(await fs.readdir(folder)).toEqual([])
  })

  test('lets in one at a time', async () => {
    let inside = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 10 }, () =>
        withLock(lock, {}, async () => {
          most = Math.max(most, ++inside)
          await new Promise(setImmediate)
          inside--
        }),
      ),
    )
    expect(most).toBe(1)
    expect(await fs.readdir(folder)).toEqual([])
  })

  test('of a process that died is taken over by exactly one at a time', async () => {
    const dead = spawn(process.execPath, ['--eval', ''])
    const { pid } = dead
    await once(dead, 'exit')
    await fs.writeFile(lock, `${pid} 1`)
    let inside = 0
    const enter = () =>
      withLock(lock, {}, async () => {
        expect(++inside).toBe(1)
        await new Promise(setImmediate)
        inside--
      })
    await Promise.all([enter(), enter(), enter()])
    expect(await fs.readdir(folder)).toEqual([])
  })

  test('of a dead process whose number another one has now is taken over', async () => {
    await fs.writeFile(lock, `${process.pid} 1`)
    expect(isAlive(`${process.pid} 1`)).toBe(false)
    await withLock(lock, { timeoutMs: 0 }, async () => {})
  })

  test('of a living process is respected until the time is up, and named', async () => {
    await fs.writeFile(lock, processIdentity(process.pid) ?? '')
    const waits: string[] = []
    const taking = withLock(lock, { timeoutMs: 0, onWait: (holder) => waits.push(holder) }, async () => {})
    await expect(taking).rejects.toThrow(`held by process ${process.pid}`)
    expect(waits).toHaveLength(1)
  })

  test('is released when the work fails', async () => {
    await expect(
      withLock(lock, {}, async () => {
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    expect(await fs.readdir(folder)).toEqual([])
  })

  test('stops waiting when asked to', async () => {
    await fs.writeFile(lock, processIdentity(process.pid) ?? '')
    const stop = new AbortController()
    const taking = withLock(lock, { signal: stop.signal, onWait: () => stop.abort() }, async () => {})
    await expect(taking).rejects.toThrow(/abort/i)
  })
})

describe('who a process is', () => {
  test('is the same while it lives and gone when it ends', async () => {
    const child = spawn(process.execPath, ['--eval', 'process.stdin.resume()'])
    await once(child, 'spawn')
    const identity = processIdentity(child.pid ?? 0)
    expect(identity).toBe(processIdentity(child.pid ?? 0))
    expect(isAlive(identity ?? '')).toBe(true)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(processIdentity(child.pid ?? 0)).toBeUndefined()
    expect(isAlive(identity ?? '')).toBe(false)
  })

  test.each([0, -1, 1.5, Number.NaN])('is nobody for %d', (pid) => {
    expect(processIdentity(pid)).toBeUndefined()
  })
})
