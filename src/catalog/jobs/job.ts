/**
 * What the catalog knows of long work: jobs, the shards they are run as, and their log. Which kinds there are it does not know.
 */

import type { Json } from '../../engine/training/run/checkpoints.js'
import type { Page, PageRequest } from '../page.js'

export const jobStates = ['queued', 'running', 'cancelling', 'cancelled', 'failed', 'succeeded'] as const
export type JobState = (typeof jobStates)[number]

/** A job in one of these changes no more unless it is resumed. */
export const isOver = (state: JobState) => state === 'cancelled' || state === 'failed' || state === 'succeeded'

/** What a job needs most of. Each worker has places for each, so that a download does not wait for a training. */
export const jobLanes = ['compute', 'transfer'] as const
export type JobLane = (typeof jobLanes)[number]

export interface JobFailure {
  readonly code: string
  readonly message: string
  readonly problems: readonly { readonly path: string; readonly message: string }[]
}

export interface NewJob {
  readonly kind: string
  readonly input: Json
  readonly lane: JobLane
  /** Only workers that have this place take it. */
  readonly place: string
  readonly uses: readonly string[]
  readonly createdBy?: string
  /** A second job with the same key is the first one. */
  readonly idempotencyKey?: string
}

export interface JobRecord extends Omit<NewJob, 'createdBy' | 'idempotencyKey'> {
  readonly id: string
  readonly state: JobState
  /** 0 to 1. */
  readonly progress: number
  readonly message: string
  /** Undefined until it has succeeded. */
  readonly result: Json | undefined
  readonly error: JobFailure | null
  /** Null until it is planned. */
  readonly nShards: number | null
  readonly nDone: number
  readonly nLogLines: number
  /** Grows with every change. */
  readonly revision: number
  readonly createdBy: string | null
  readonly createdAt: Date
  readonly startedAt: Date | null
  readonly finishedAt: Date | null
}

export interface LogLine {
  /** From 1, in the order in which they were said, without gaps. */
  readonly number: number
  readonly at: Date
  readonly level: 'info' | 'warning'
  readonly text: string
}

export type NewLogLine = Pick<LogLine, 'level' | 'text'>

export type JobStage = 'plan' | 'run' | 'finish'

/** A shard that this process holds. Others may take it when it is not renewed in time; `lease` tells the holders apart. */
export interface ShardLease {
  readonly jobId: string
  readonly stage: JobStage
  readonly index: number
  readonly lease: number
  readonly kind: string
  readonly input: Json
  /** Of `stage: 'run'`. */
  readonly shard: Json
  /** How many processes died of it, or had to give up, since it last got further. */
  readonly crashes: number
}

export type PartRecord = { readonly json: Json } | { readonly blob: string }

export interface Leftover {
  readonly jobId: string
  /** sha256 of each. */
  readonly blobs: readonly string[]
}

/** A job that is forgotten, and what it left. */
export interface ForgottenJob extends Leftover {
  readonly state: JobState
  readonly result: Json | undefined
}

/** `running`: go on. `cancelling`, `failed`: stop, nobody wants the result. `lost`: another process has it now. */
export type Standing = 'running' | 'cancelling' | 'failed' | 'lost'

export interface ShardReport {
  readonly progress: number
  readonly message?: string
  readonly lines: readonly NewLogLine[]
}

/** For those who make jobs and look at them. Every method throws DATABASE_UNAVAILABLE. */
export interface JobCatalog {
  /** The job, and whether it was there before (under the same idempotency key). */
  create(job: NewJob): Promise<{ readonly job: JobRecord; readonly isNew: boolean }>
  get(id: string): Promise<JobRecord | undefined>
  /** Newest first. */
  list(request: PageRequest & { readonly state?: JobState; readonly kind?: string }): Promise<Page<JobRecord>>
  /** Lines after number `after`, in order. */
  log(id: string, request: { readonly after: number; readonly limit: number }): Promise<readonly LogLine[]>
  /** Asks for a stop; a job that nobody works on stops at once, one that is over stays as it is. */
  cancel(id: string): Promise<JobRecord | undefined>
  /** Puts a cancelled or failed job back into the queue; shards that are done stay done. Any other job stays as it is. */
  resume(id: string): Promise<JobRecord | undefined>
  /** Jobs that are not over and use this (`model:emoji-clip`). */
  using(what: string): Promise<readonly JobRecord[]>
  /**
   * The job now and after every change, and new lines of its log, until it is over. While the database is away it waits.
   * @param after  number of the last line of the log that is known already
   */
  watch(id: string, options: { readonly after?: number; readonly signal: AbortSignal }): AsyncGenerator<JobEvent>
}

export type JobEvent = { readonly line: LogLine } | { readonly job: JobRecord }

/** For those who do the work. Every method throws DATABASE_UNAVAILABLE, and may be tried again then. */
export interface JobLeases {
  /** The next shard to be done here, now held for `leaseMs`; undefined when there is none. */
  claim(request: ClaimRequest): Promise<ShardLease | undefined>
  /** Holds it for another `leaseMs` and tells how far it is. */
  report(lease: ShardLease, report: ShardReport, leaseMs: number): Promise<Standing>
  /** The plan counts, once. False when it is another's. */
  commitPlan(lease: ShardLease, shards: readonly Json[]): Promise<boolean>
  /** The result counts, once. False when it is another's. */
  commitPart(lease: ShardLease, part: PartRecord): Promise<boolean>
  /** The job has succeeded. False when it is another's. */
  commitResult(lease: ShardLease, result: Json): Promise<boolean>
  /** Somebody else may take it at once; `retry`: it went wrong, and is tried again later, or not any more. */
  release(lease: ShardLease, retry?: { readonly failure: JobFailure; readonly afterMs: number }): Promise<void>
  /** The job has failed. */
  fail(lease: ShardLease, failure: JobFailure): Promise<void>
  /** The results of the shards from `from`, in order. */
  parts(jobId: string, request: { readonly from: number; readonly limit: number }): Promise<readonly PartRecord[]>
  /** Jobs that have succeeded and whose shards' blobs are still there, all of them or one; nobody reads those any more. */
  leftovers(request: { readonly places: readonly string[]; readonly jobId?: string }): Promise<readonly Leftover[]>
  /** They are removed. */
  forgetLeftover(jobId: string): Promise<void>
  /**
   * Forgets jobs that have been over for so long, the oldest first; none of which a worker still holds a shard.
   * @param limit  how many at once
   */
  forgetOld(request: {
    readonly places: readonly string[]
    readonly olderThanMs: number
    readonly limit: number
  }): Promise<readonly ForgottenJob[]>
  /** Of blobs, those that no picture is and no job's result names. @param hashes  sha256 of each */
  unnamedBlobs(hashes: readonly string[]): Promise<readonly string[]>
  /** When the next shard that waits for its time, or whose holder may be dead, can be taken: milliseconds from now. */
  nextDueMs(request: Pick<ClaimRequest, 'places' | 'kinds'>): Promise<number | undefined>
  /** Calls `listener` whenever something may have changed, until closed. Not every change is told: look from time to time, too. */
  onChange(listener: (jobId: string) => void): () => void
  /** Calls `listener` when a job's shards may not be wanted any more; `report` says it, too. */
  onStop(listener: (jobId: string) => void): () => void
}

export interface ClaimRequest {
  readonly worker: string
  readonly leaseMs: number
  readonly lane: JobLane
  readonly places: readonly string[]
  /** A job of a kind that this version does not know is left to others. */
  readonly kinds: readonly string[]
}
