/** What a worker and the process that does a job's work say to each other. */

import type { JobFailure, NewLogLine, PartRecord, ShardLease } from '../../catalog/jobs/job.js'
import type { CatalogPlaces } from '../../catalog/open-catalog.js'
import type { Config } from '../../config.js'
import type { Json } from './job-kind.js'

export type ToJobProcess =
  /** First of all. Not as arguments or environment, which others on the machine can read: the database's address holds a password. */
  | { readonly type: 'begin'; readonly config: Config; readonly places: CatalogPlaces; readonly kindsModule: string }
  | { readonly type: 'work'; readonly lease: ShardLease }
  /** Give up the shard under way. */
  | { readonly type: 'stop'; readonly why: string }

export type FromJobProcess =
  | { readonly type: 'report'; readonly progress: number; readonly message?: string; readonly lines: readonly NewLogLine[] }
  | { readonly type: 'end'; readonly end: ShardEnd }

export type ShardEnd =
  | { readonly kind: 'planned'; readonly shards: readonly Json[] }
  | { readonly kind: 'part'; readonly part: PartRecord }
  | { readonly kind: 'result'; readonly result: Json }
  /** As it was asked to. */
  | { readonly kind: 'stopped' }
  /** `isPassing`: the same may succeed later. */
  | { readonly kind: 'failed'; readonly failure: JobFailure; readonly isPassing: boolean }
