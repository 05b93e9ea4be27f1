/**
 * Locks between processes on one machine: a file that names its holder. The lock of a process that died is taken over, and a process
 * is told from a later one with the same number by when it started.
 */

import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isStorageFull } from '../engine/io/storage-errors.js'

const POLL_MS = 50
/** A lock file is empty for an instant between being made and being written. */
const EMPTY_GRACE_MS = 2000

/**
 * `<pid> <start time>` of a running process; undefined when there is none, or only a zombie that nobody has reaped.
 * The start time is empty where the system does not tell it.
 */
export function processIdentity(pid: number): string | undefined {
  if (!Number.isInteger(pid) || pid <= 0) return undefined
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it runs, as another user
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return undefined
  }
  if (process.platform === 'linux') return linuxIdentity(pid)
  if (process.platform === 'win32') return `${pid} `
  try {
    return `${pid} ${execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim()}`
  } catch {
    return undefined
  }
}

/** From /proc/<pid>/stat, whose second field is the command in parentheses and may hold anything. See proc(5). */
function linuxIdentity(pid: number): string | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ESRCH' ? undefined : `${pid} `
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const state = fields[0]
  return state === 'Z' || state === 'X' ? undefined : `${pid} ${fields[19]}`
}

/** True while the process that wrote `identity` runs. */
export function isAlive(identity: string): boolean {
  const pid = Number(identity.split(' ')[0])
  const now = processIdentity(pid)
  return now !== undefined && (now === identity.trim() || now.trim() === identity.trim())
}

export interface LockOptions {
  /** How long to wait for a holder that is alive. Without it: until it is done. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  /** Called once when the lock is held by someone else. */
  readonly onWait?: (holder: string) => void
}

/**
 * Runs `body` while holding the lock `file`, whose folder must exist. Not reentrant.
 * @throws Error when the holder is alive and the time is up; the signal's reason when it is aborted
 */
export async function withLock<T>(file: string, options: LockOptions, body: () => Promise<T>): Promise<T> {
  await acquire(file, options)
  try {
    return await body()
  } finally {
    await fs.rm(file, { force: true })
  }
}

async function acquire(file: string, { timeoutMs, signal, onWait }: LockOptions): Promise<void> {
  const me = processIdentity(process.pid) ?? `${process.pid} `
  const start = Date.now()
  let waited = false
  for (;;) {
    signal?.throwIfAborted()
    try {
      await fs.writeFile(file, me, { flag: 'wx' })
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
        // on a full disk it was made and not written
        if (isStorageFull(error)) await fs.rm(file, { force: true })
        throw error
      }
    }
    const holder = await holderOf(file)
    if (holder === undefined) continue
    if (holder !== 'unknown' && !isAlive(holder)) {
      await takeAway(file, holder)
      continue
    }
    if (!waited) onWait?.(holder)
    waited = true
    if (timeoutMs !== undefined && Date.now() - start > timeoutMs) {
      throw new Error(`${file} has been held by process ${holder.split(' ')[0]} for more than ${Math.round(timeoutMs / 1000)} s.`)
    }
    await sleep(POLL_MS, undefined, signal && { signal })
  }
}

/** Undefined when the lock has just been released; `unknown` while it is being written. */
async function holderOf(file: string): Promise<string | undefined> {
  try {
    const [text, { mtimeMs }] = await Promise.all([fs.readFile(file, 'utf8'), fs.stat(file)])
    if (text !== '') return text
    return Date.now() - mtimeMs < EMPTY_GRACE_MS ? 'unknown' : '0 '
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * Removes a dead process's lock. Two takers may both have seen it: it is moved aside first, and put back if what was moved is not what
 * was seen but a new lock of the other taker.
 */
async function takeAway(file: string, holder: string): Promise<void> {
  const aside = path.join(path.dirname(file), `${path.basename(file)}.stale-${randomUUID()}`)
  try {
    await fs.rename(file, aside)
    const moved = await fs.readFile(aside, 'utf8')
    if (moved !== '' && moved !== holder && isAlive(moved)) await fs.link(aside, file).catch(() => {})
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  } finally {
    await fs.rm(aside, { force: true })
  }
}
