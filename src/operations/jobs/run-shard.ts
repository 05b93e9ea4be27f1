/** One shard's work, from what was taken to what came of it. */

import type { JobFailure, ShardLease } from '../../catalog/jobs/job.js'
import { EngineError } from '../../engine/errors.js'
import { isRefusal } from '../errors.js'
import { validator } from '../validate.js'
import type { JobContext, JobKind, Json } from './job-kind.js'
import type { ShardEnd } from './messages.js'
import { partsOf } from './parts.js'

const MAX_SHARDS = 100_000
/** Failures that lie neither in the job nor in our code, and pass. */
const PASSING: readonly string[] = [
  ...['DATABASE_UNAVAILABLE', 'BLOBS_UNAVAILABLE', 'HUB_UNAVAILABLE', 'DOWNLOAD_INVALID'],
  ...['DEVICE_OUT_OF_MEMORY', 'DEVICE_LOST'],
]

/** Throws nothing. */
export async function runShard(kind: JobKind, lease: ShardLease, context: JobContext): Promise<ShardEnd> {
  try {
    return await work(kind, lease, context)
  } catch (error) {
    if (context.signal.aborted) return { kind: 'stopped' }
    return { kind: 'failed', ...failureOf(error) }
  }
}

async function work(kind: JobKind, { jobId, stage, input: given, shard }: ShardLease, context: JobContext): Promise<ShardEnd> {
  // made by another version, perhaps
  const input = validator(kind.input)(given)
  switch (stage) {
    case 'plan': {
      const shards = await kind.plan(input, context)
      if (shards.length === 0 || shards.length > MAX_SHARDS) {
        throw new EngineError('INPUT_INVALID', {
          path: 'input',
          problem: `makes ${shards.length} shards; from 1 to ${MAX_SHARDS} are possible`,
        })
      }
      return { kind: 'planned', shards }
    }
    case 'run': {
      const part = await kind.run(shard, input, context)
      if (!(part instanceof Uint8Array)) return { kind: 'part', part: { json: part } }
      return { kind: 'part', part: { blob: await (await context.catalog.jobParts.ofJob(jobId)).put(part) } }
    }
    case 'finish': {
      const count = (await context.catalog.jobs.get(jobId))?.nShards ?? 0
      const { catalog } = context
      const merge = kind.merge?.bind(kind)
      const result: Json = await kind.finish(
        partsOf({ jobId, count, leases: catalog.jobLeases, store: catalog.jobParts, merge }),
        input,
        context,
      )
      return { kind: 'result', result }
    }
    default:
      return stage satisfies never
  }
}

/** What went wrong, for the job's row. What nobody foresaw goes to the log of the worker. */
export function failureOf(error: unknown): { failure: JobFailure; isPassing: boolean } {
  if (isRefusal(error)) {
    const { code, message, problems } = error
    return { failure: { code, message, problems }, isPassing: PASSING.includes(code) }
  }
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  const message = "An unexpected error ended it. The worker's log has the details."
  return { failure: { code: 'INTERNAL', message, problems: [] }, isPassing: false }
}
