/**
 * Is a server running on this data folder? Answered from `postmaster.pid`, which outlives a crash and whose process id may by then
 * belong to any program.
 */

import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { processIdentity } from '../process-lock.js'

export interface Postmaster {
  readonly pid: number
  /** Undefined while the server is starting and has not written it yet. */
  readonly port: number | undefined
}

/** The server that runs on `dataFolder`, or undefined. */
export function runningPostmaster(dataFolder: string): Postmaster | undefined {
  const recorded = recordedPostmaster(dataFolder)
  return recorded !== undefined && isPostgresOn(recorded.pid, dataFolder) ? recorded : undefined
}

/** What `postmaster.pid` says, true or not. Its lines: pid, data folder, start time, port, ... */
function recordedPostmaster(dataFolder: string): Postmaster | undefined {
  let lines: string[]
  try {
    lines = fs.readFileSync(path.join(dataFolder, 'postmaster.pid'), 'utf8').split('\n')
  } catch {
    return undefined
  }
  const pid = Number(lines[0])
  return Number.isInteger(pid) && pid > 0 ? { pid, port: Number(lines[3]) || undefined } : undefined
}

/** A server and all its children work inside the data folder. */
function isPostgresOn(pid: number, dataFolder: string): boolean {
  if (processIdentity(pid) === undefined) return false
  try {
    if (process.platform === 'linux') return fs.readlinkSync(`/proc/${pid}/cwd`) === fs.realpathSync(dataFolder)
    if (process.platform === 'win32') return /postgres/i.test(execFileSync('tasklist', ['/FI', `PID eq ${pid}`], { encoding: 'utf8' }))
    return /postgres/.test(execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }))
  } catch {
    return false
  }
}

/**
 * Removes `postmaster.pid` when the process it names is alive but another program (or a zombie that nobody reaps), and when it names none
 * (a power cut leaves it empty): PostgreSQL cannot tell and would refuse to start for ever. Where the process is simply gone, PostgreSQL
 * sorts it out better itself: it also looks for children of the dead server that still have the data open.
 *
 * @returns false when such children are still there: wait, and call again
 */
export function clearMistakenPidFile(dataFolder: string): boolean {
  const file = path.join(dataFolder, 'postmaster.pid')
  const recorded = recordedPostmaster(dataFolder)
  const isMistaken = recorded === undefined ? fs.existsSync(file) : takesPid(recorded.pid) && !isPostgresOn(recorded.pid, dataFolder)
  if (!isMistaken) return true
  if (orphanedChildren(dataFolder)) return false
  fs.rmSync(file, { force: true })
  return true
}

/** True for a zombie too. */
function takesPid(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function orphanedChildren(dataFolder: string): boolean {
  if (process.platform !== 'linux') return false
  const folder = fs.realpathSync(dataFolder)
  return fs.readdirSync('/proc').some((entry) => {
    if (!/^\d+$/.test(entry)) return false
    try {
      return fs.readlinkSync(`/proc/${entry}/cwd`) === folder
    } catch {
      return false
    }
  })
}
