/** The results of a job's shards, read as they are needed. */

import type { JobLeases, PartRecord } from '../../catalog/jobs/job.js'
import type { JobParts, PartStore } from '../../catalog/jobs/part-store.js'
import { EngineError } from '../../engine/errors.js'
import type { Json, Parts } from './job-kind.js'

const AT_ONCE = 100

export interface PartsOptions {
  readonly jobId: string
  readonly count: number
  readonly leases: Pick<JobLeases, 'parts'>
  readonly store: Pick<PartStore, 'ofJob'>
  readonly merge?: ((left: never, right: never) => Json | Uint8Array) | undefined
}

export function partsOf({ jobId, count, leases, store, merge }: PartsOptions): Parts<Json | Uint8Array> {
  let opened: Promise<JobParts> | undefined
  const open = () => {
    opened ??= store.ofJob(jobId)
    return opened
  }
  const read = async (record: PartRecord): Promise<Json | Uint8Array> => {
    if ('json' in record) return record.json
    const bytes = await (await open()).get(record.blob)
    if (bytes !== undefined) return bytes
    throw new EngineError('FILE_INVALID', {
      file: `sha256:${record.blob}`,
      problem: 'it is the result of a shard and is not there any more. Start the job again.',
    })
  }
  async function* inOrder(): AsyncGenerator<Json | Uint8Array> {
    for (let from = 0; from < count; from += AT_ONCE) {
      const records = await leases.parts(jobId, { from, limit: AT_ONCE })
      for (const record of records) yield await read(record)
    }
  }
  return {
    count,
    inOrder,
    async merged() {
      let whole: Json | Uint8Array | undefined
      for await (const part of inOrder()) {
        if (whole === undefined) whole = part
        else if (merge === undefined) throw new Error('Invariant violated: a kind whose shards are merged has `merge`')
        else whole = merge(whole as never, part as never)
      }
      if (whole === undefined) throw new Error('Invariant violated: a job has at least one shard')
      return whole
    },
  }
}
