/** What a process takes, as Linux counts it. */

import fs from 'node:fs'

export interface ProcessMemory {
  /** Bytes resident. */
  readonly rss: number
  /** The same, with what it shares with other processes divided among them. */
  readonly pss: number
  /** The most that was ever resident. */
  readonly peak: number
}

export function memoryOf(pid: number): ProcessMemory {
  const rollup = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  return { rss: bytes(rollup, 'Rss'), pss: bytes(rollup, 'Pss'), peak: bytes(fs.readFileSync(`/proc/${pid}/status`, 'utf8'), 'VmHWM') }
}

/** Children, theirs, and so on. */
export function childrenOf(pid: number): number[] {
  const threads = fs.readdirSync(`/proc/${pid}/task`)
  const children = threads.flatMap((thread) => fs.readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean))
  return children.map(Number).flatMap((child) => [child, ...childrenOf(child)])
}

function bytes(table: string, name: string): number {
  const [, kilobytes] = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(table) ?? []
  return Number(kilobytes) * 1024
}
