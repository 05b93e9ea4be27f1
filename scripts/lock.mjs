/**
 * One at a time, also between processes; a lock whose holder died is taken over. `src/catalog/process-lock.ts` is the server's own; this
 * one runs before anything is installed or compiled.
 */

import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** `<pid> <start time>`: a later process with the same number is not the holder. Undefined when there is none. */
function identity(pid) {
  if (!(pid > 0)) return undefined
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (error.code !== 'EPERM') return undefined
  }
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : `${pid} ${fields[19]}`
  } catch {
    return `${pid} `
  }
}

const isAlive = (holder) => identity(Number.parseInt(holder, 10)) === holder

/**
 * Runs `body` while holding `file`; `onWait(pid)` is called once when another process holds it.
 *
 * `body` is given `heldBy(pid)`: the lock is also held while that process lives. A step's child goes on for a while when we are killed.
 */
export async function withLock(file, onWait, body) {
  fs.mkdirSync(path.dirname(file), { recursive: true })
  for (let waited = false; !take(file); waited = true) {
    const holder = read(file)
    if (holder !== undefined && !holder.split('\n').some(isAlive)) {
      // Moved aside before it is removed: of two that saw the dead holder, only one moves it.
      const aside = `${file}.stale-${process.pid}-${Date.now()}`
      try {
        fs.renameSync(file, aside)
        if (read(aside) !== holder) fs.linkSync(aside, file)
      } catch {
        // the other one was faster
      }
      fs.rmSync(aside, { force: true })
      continue
    }
    if (!waited && holder !== undefined) onWait(Number.parseInt(holder, 10))
    await sleep(100)
  }
  try {
    return await body((pid) => fs.appendFileSync(file, `\n${identity(pid)}`))
  } finally {
    fs.rmSync(file, { force: true })
  }
}

function take(file) {
  try {
    fs.writeFileSync(file, identity(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  }
}

/** Undefined when it was released meanwhile, or is empty because it is being written. */
function read(file) {
  try {
    const text = fs.readFileSync(file, 'utf8')
    if (text === '' && Date.now() - fs.statSync(file).mtimeMs > 2000) return '0 '
    return text || undefined
  } catch {
    return undefined
  }
}
