/**
 * Following a job. Notifications only say that it is time to look: what is told is read from the tables, so nothing is lost when one does
 * not arrive, and a watcher that was cut off goes on where it was.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { isDatabaseAway } from './connection.js'
import { isOver, type JobEvent, type JobRecord, type LogLine } from './job.js'

/** Notifications can get lost with a connection. */
const LOOK_EVERY_MS = 2000
const LINES_AT_ONCE = 500

export interface Watched {
  readonly find: () => Promise<JobRecord | undefined>
  readonly log: (after: number, limit: number) => Promise<readonly LogLine[]>
}

export interface WatchOptions {
  readonly after: number
  readonly signal: AbortSignal
  /** Calls `changed` when it may be time to look. @returns what ends that */
  readonly onChange: (changed: () => void) => () => void
}

/** Ends when the job is over, is no more, or the signal is aborted. */
export async function* watchJob({ find, log }: Watched, { after, signal, onChange }: WatchOptions): AsyncGenerator<JobEvent> {
  let isTime = false
  let wake = () => {}
  const stop = onChange(() => {
    isTime = true
    wake()
  })
  let last = after
  let revision = -1
  try {
    while (!signal.aborted) {
      isTime = false
      const job = await unlessAway(find)
      // the job before its lines: with the last state all lines are there
      if (job !== 'away') {
        if (job === undefined) return
        let isComplete = false
        while (!isComplete && !signal.aborted) {
          const lines = job.nLogLines > last ? await unlessAway(() => log(last, LINES_AT_ONCE)) : []
          if (lines === 'away') break
          for (const line of lines) {
            yield { line }
            last = line.number
          }
          isComplete = lines.length < LINES_AT_ONCE
        }
        if (isComplete && job.revision !== revision) {
          yield { job }
          revision = job.revision
        }
        if (isComplete && isOver(job.state)) return
      }
      if (isTime) continue
      const woken = new AbortController()
      wake = () => woken.abort()
      await sleep(LOOK_EVERY_MS, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(() => {})
    }
  } finally {
    stop()
  }
}

async function unlessAway<T>(ask: () => Promise<T>): Promise<T | 'away'> {
  try {
    return await ask()
  } catch (error) {
    if (isDatabaseAway(error)) return 'away'
    throw error
  }
}
