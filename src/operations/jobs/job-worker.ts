/**
 * Takes shards, has them done in processes of their own, renews their leases meanwhile and commits what comes of them. Any number of
 * workers share a database; a server has one inside, `refract worker` is nothing else.
 */

import { randomUUID } from 'node:crypto'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Catalog } from '../../catalog/catalog.js'
import { isDatabaseAway } from '../../catalog/jobs/connection.js'
import type { JobLane, ShardLease } from '../../catalog/jobs/job.js'
import type { CatalogPlaces } from '../../catalog/open-catalog.js'
import type { Config } from '../../config.js'
import { forgetOldJobs } from './forget-old-jobs.js'
import { type ChildEnd, JobChild } from './job-child.js'
import type { JobKind } from './job-kind.js'
import { LeaseKeeper } from './lease-keeper.js'

export interface JobWorkerOptions {
  readonly catalog: Pick<Catalog, 'blobs' | 'jobLeases' | 'jobParts' | 'leftBlobs' | 'places'>
  readonly config: Config
  /** What the processes open for themselves. */
  readonly places: CatalogPlaces
  readonly kinds: readonly JobKind[]
  /** The address of a module that exports `jobKinds`, the same; processes load it. */
  readonly kindsModule: string
  /** How many shards of each lane are done at once. */
  readonly slots: Readonly<Record<JobLane, number>>
  /** For the log: what went wrong with the worker itself. */
  readonly say: (message: string) => void
  /** A holder that is silent for so long is taken for dead. Default 20 s. */
  readonly leaseMs?: number
  /** What has been asked to stop gets this long before it is killed. Default 30 s: a step of training and its checkpoint. */
  readonly graceMs?: number
}

export interface JobWorker {
  /** Shards under way. */
  readonly nRunning: number
  /** Gives up what is under way, to be gone on with by others, and takes no more. */
  close(): Promise<void>
}

const LEASE_MS = 20_000
const GRACE_MS = 30_000
/** Notifications can get lost, and leases run out in silence. */
const LOOK_EVERY_MS = 5000
const AWAY_MS = 1000
const FIRST_RETRY_MS = 2000
const LAST_RETRY_MS = 120_000

/** Begins to take shards at once. */
export function startJobWorker(options: JobWorkerOptions): JobWorker {
  const { catalog, kinds, slots, say } = options
  const leases = catalog.jobLeases
  const name = `${os.hostname()} ${process.pid} ${randomUUID().slice(0, 8)}`
  const closing = new AbortController()
  const leaseMs = options.leaseMs ?? LEASE_MS
  const request = {
    worker: name,
    leaseMs,
    places: [...new Set([catalog.places.dataFolder, catalog.places.blobs])],
    kinds: kinds.map((kind) => kind.name),
  }
  const waiting = new Set<() => void>()
  let nChanges = 0
  const stopListening = leases.onChange(() => {
    nChanges++
    for (const wake of waiting) wake()
  })
  const complain = (error: unknown) => say(`a worker of jobs: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  let nRunning = 0

  /** Until something may have changed since `nChanges` was `seen`, at most for `ms`. */
  const nap = async (ms: number, seen = nChanges) => {
    if (seen !== nChanges) return
    const woken = new AbortController()
    const wake = () => woken.abort()
    waiting.add(wake)
    await sleep(ms, undefined, { signal: AbortSignal.any([closing.signal, woken.signal]) }).catch(() => {})
    waiting.delete(wake)
  }

  /** Removes what the shards of jobs left that have their result: of one, or of all whose workers died before they could. */
  const tidy = async (jobId?: string): Promise<void> => {
    try {
      for (const left of await leases.leftovers({ places: request.places, ...(jobId !== undefined && { jobId }) })) {
        await catalog.jobParts.remove(left.jobId, left.blobs)
        await leases.forgetLeftover(left.jobId)
      }
    } catch (error) {
      // the next worker that starts tries again
      if (!isDatabaseAway(error)) complain(error)
    }
  }

  const slot = async (lane: JobLane, config: Config): Promise<void> => {
    let child: JobChild | undefined
    while (!closing.signal.aborted) {
      try {
        const seen = nChanges
        const lease = await leases.claim({ ...request, lane })
        if (lease === undefined) {
          await child?.kill()
          child = undefined
          const due = await leases.nextDueMs(request)
          // a moment later than to the millisecond, or the shard is not free yet
          await nap(Math.min(LOOK_EVERY_MS, (due ?? LOOK_EVERY_MS) + 5), seen)
          continue
        }
        if (child !== undefined && (child.jobId !== lease.jobId || child.isDead)) {
          await child.kill()
          child = undefined
        }
        const { places, kindsModule } = options
        child ??= new JobChild(lease.jobId, { type: 'begin', config, places, kindsModule })
        nRunning++
        try {
          await workOn(lease, child)
        } finally {
          nRunning--
        }
      } catch (error) {
        if (!isDatabaseAway(error)) complain(error)
        await nap(AWAY_MS)
      }
    }
    await child?.kill()
  }

  const workOn = async (lease: ShardLease, child: JobChild): Promise<void> => {
    const stopped = new AbortController()
    let grace: NodeJS.Timeout | undefined
    const stop = (why: string) => {
      if (stopped.signal.aborted) return
      stopped.abort()
      child.stop(why)
      grace = setTimeout(() => void child.kill(), options.graceMs ?? GRACE_MS)
    }
    const onClosing = () => stop('the worker is stopping')
    closing.signal.addEventListener('abort', onClosing)
    const keeper = new LeaseKeeper(leases, { lease, leaseMs, onUnwanted: (standing) => stop(`the job is ${standing}`), onError: complain })
    const stopListening = leases.onStop((jobId) => {
      if (jobId === lease.jobId) keeper.look()
    })
    try {
      if (closing.signal.aborted) onClosing()
      const end = await child.work(lease, (report) => keeper.add(report))
      await keeper.end()
      // What is tried again needs a process that has a device.
      if (end.kind === 'failed' && end.failure.code === 'DEVICE_LOST') await child.kill()
      await settle(lease, end, stopped.signal.aborted)
    } finally {
      stopListening()
      clearTimeout(grace)
      closing.signal.removeEventListener('abort', onClosing)
      await keeper.end()
    }
  }

  /** Tells the database, however long that takes: its answer may be what the whole shard was for. */
  const settle = async (lease: ShardLease, end: ChildEnd, wasStopped: boolean): Promise<void> => {
    for (;;) {
      try {
        return await record(lease, end, wasStopped)
      } catch (error) {
        if (!isDatabaseAway(error)) throw error
        // then the lease runs out, and the shard is done again
        if (closing.signal.aborted) return
        await sleep(AWAY_MS, undefined, { signal: closing.signal }).catch(() => {})
      }
    }
  }

  const record = async (lease: ShardLease, end: ChildEnd, wasStopped: boolean): Promise<void> => {
    const afterMs = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 4 ** lease.crashes)
    switch (end.kind) {
      case 'planned':
        return void (await leases.commitPlan(lease, end.shards))
      case 'part':
        return void (await leases.commitPart(lease, end.part))
      case 'result':
        if (!(await leases.commitResult(lease, end.result))) return
        // stays where it holds anything
        await fs.rmdir(path.join(options.config.dataDir, 'jobs', lease.jobId)).catch(() => {})
        return tidy(lease.jobId)
      case 'stopped':
        return leases.release(lease)
      case 'failed':
        return end.isPassing ? leases.release(lease, { failure: end.failure, afterMs }) : leases.fail(lease, end.failure)
      case 'died': {
        if (wasStopped) return leases.release(lease)
        const failure = { code: 'JOB_CRASHED', message: `The process that worked on it ended (${end.how}).`, problems: [] }
        return leases.release(lease, { failure, afterMs })
      }
      default:
        return end satisfies never
    }
  }

  const tidied = tidy()
  const forgetting = forgetOldJobs({ ...options, places: request.places, signal: closing.signal, complain })
  const running = (Object.entries(slots) as [JobLane, number][]).flatMap(([lane, n]) =>
    Array.from({ length: n }, (_, nth) => slot(lane, onOneDevice(options.config, nth))),
  )
  return {
    get nRunning() {
      return nRunning
    },
    async close() {
      closing.abort()
      await Promise.all([...running, tidied, forgetting])
      stopListening()
    },
  }
}

/** Of several devices each process has one, in turn. */
function onOneDevice(config: Config, nth: number): Config {
  return { ...config, devices: [config.devices[nth % config.devices.length]!] }
}
