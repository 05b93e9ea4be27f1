/**
 * What a kind of long work is. A job of it is planned once, run as shards by any number of processes on any number of machines, and
 * finished once. Each of the three is a lease in the database (catalog/jobs): a process that dies loses at most the shard it was on, and
 * what another one makes of it again is the same.
 *
 * So everything here may run twice, in another process, after having run half. `plan` and `run` depend on nothing but what they are given
 * and what never changes (content hashes, catalogued weights); what they write beside their result they write under names that a second
 * run writes again, whole or not at all.
 */

import type { Static, TSchema } from 'typebox'
import type { BlobStore } from '../../catalog/blob-store.js'
import type { Catalog } from '../../catalog/catalog.js'
import type { JobLane } from '../../catalog/jobs/job.js'
import type { Config } from '../../config.js'
import type { Backend } from '../../engine/backends/backend.js'
import type { Json } from '../../engine/training/run/checkpoints.js'
import type { Scope } from '../operation.js'

export type { Json }

export interface JobFacts {
  readonly id: string
  readonly kind: string
}

/** What the work is done with. It runs in a process of its own: it may compute for as long as it likes without yielding. */
export interface JobContext {
  readonly job: JobFacts
  readonly catalog: Catalog
  readonly blobs: BlobStore
  readonly config: Config
  /** The job's own folder below DATA_DIR. It outlives the process; workers of another DATA_DIR have another, see `place`. */
  readonly folder: string
  /** Aborted when the job is cancelled or the worker stops. What throws after that is no failure. */
  readonly signal: AbortSignal
  /** How far this plan, shard or finish is, 0 to 1, and what it is doing. May be called thousands of times a second. */
  progress(done: number, message?: string): void
  /** A line of the job's log. */
  log(text: string, level?: 'info' | 'warning'): void
  /** The configured device, opened once in this process. */
  backend(): Promise<Backend>
  /** Something expensive (a loaded model, a compiled program), made once and kept for the shards of this job that follow in this process. */
  keep<T>(name: string, make: () => Promise<T>): Promise<T>
}

/** The results of a job's shards. */
export interface Parts<Part> {
  readonly count: number
  /** In the order of the plan, whoever ran them and when. One at a time in memory. */
  inOrder(): AsyncIterable<Part>
  /** All of them through `merge`, from the first to the last. @throws Error when there are none, or the kind has no `merge` */
  merged(): Promise<Part>
}

/**
 * @typeParam Shard  JSON that says what one shard does; small: it is stored with the job
 * @typeParam Part   what a shard results in; bytes go to the blob store, JSON into the database
 */
export interface JobKind<Input extends TSchema = TSchema, Shard extends Json = Json, Part extends Json | Uint8Array = Json | Uint8Array> {
  /** `train-model`; part of the API. */
  readonly name: string
  readonly summary: string
  /** An object with a title, `additionalProperties: false`. */
  readonly input: Input
  readonly example: Static<Input>
  /**
   * `anywhere`: any worker with the same database and blob store. `data-folder`: it reads or writes files below DATA_DIR (or paths of this
   * machine) that its result names, so only workers that share the folder take it.
   */
  readonly place: 'anywhere' | 'data-folder'
  /** Each worker has places for each, so that a download does not wait for a training. Default `compute`. */
  readonly lane?: JobLane
  /** The right that making such a job needs: `admin` where it reads paths of this machine. Default `write`. @throws what is wrong with it */
  scope?(input: Static<Input>): Scope | Promise<Scope>
  /** What must not be deleted while the job is not over: `model:emoji-clip`, `sae:...`. */
  uses?(input: Static<Input>): readonly string[]
  /** Before the job is made, while the caller waits: what can be refused at once (an unknown model). */
  check?(input: Static<Input>, context: Pick<JobContext, 'catalog' | 'config'>): Promise<void>
  /** At least one shard, at most 100,000. */
  plan(input: Static<Input>, context: JobContext): Promise<readonly Shard[]>
  run(shard: Shard, input: Static<Input>, context: JobContext): Promise<Part>
  /** Associative. */
  merge?(left: Part, right: Part): Part
  /** The job's result, small enough to be shown. */
  finish(parts: Parts<Part>, input: Static<Input>, context: JobContext): Promise<Json>
}

/** Declares a kind; the types of its methods follow from the schema. */
export function defineJobKind<Input extends TSchema, Shard extends Json, Part extends Json | Uint8Array>(
  kind: JobKind<Input, Shard, Part>,
): JobKind<Input, Shard, Part> {
  return kind
}

/** For kinds whose work is one piece: it is planned as a single shard, whose result is the job's. */
export function defineWholeJob<Input extends TSchema>(
  kind: Omit<JobKind<Input, null, Json>, 'plan' | 'run' | 'merge' | 'finish'> & {
    run(input: Static<Input>, context: JobContext): Promise<Json>
  },
): JobKind<Input, null, Json> {
  const { run, ...rest } = kind
  return {
    ...rest,
    plan: async () => [null],
    run: (_shard, input, context) => run(input, context),
    finish: (parts) => parts.merged(),
    merge: (left) => left,
  }
}
