/** A job from what was asked for: refused at once where that can be, and put into the queue. */

import { isDeepStrictEqual } from 'node:util'
import type { JobRecord } from '../../catalog/jobs/job.js'
import { storableJson, storageProblem } from '../../catalog/jobs/storable.js'
import { EngineError } from '../../engine/errors.js'
import { RequestError } from '../errors.js'
import { authorize, everyone } from '../invoke.js'
import type { Call, Context } from '../operation.js'
import type { Json } from './job-kind.js'
import { jobKinds } from './kinds.js'

/** A configuration, not data. */
const MAX_INPUT_BYTES = 2 ** 18

export interface JobRequest {
  /** Of `jobKinds`. */
  readonly kind: string
  /** As the kind's schema has it. */
  readonly input: Json
}

/** @throws FORBIDDEN, INPUT_INVALID, IDEMPOTENCY_KEY_INVALID; what the kind refuses at once */
export async function beginJob(
  { catalog, config }: Pick<Context, 'catalog' | 'config'>,
  { kind: name, input }: JobRequest,
  { caller = everyone, idempotencyKey }: Pick<Call, 'caller' | 'idempotencyKey'>,
): Promise<JobRecord> {
  const kind = jobKinds.find((each) => each.name === name)!
  const problem = storageProblem(input, 'input')
  if (problem) throw new EngineError('INPUT_INVALID', problem)
  if (JSON.stringify(input).length > MAX_INPUT_BYTES) {
    throw new EngineError('INPUT_INVALID', {
      path: 'input',
      problem: `is larger than a job's input can be (${MAX_INPUT_BYTES} bytes as JSON)`,
    })
  }
  authorize(caller, (await kind.scope?.(input)) ?? 'write')
  await kind.check?.(input, { catalog, config })
  const key = idempotencyKey === undefined ? {} : { idempotencyKey: `${caller.keyId ?? ''} ${idempotencyKey}` }
  const { job, isNew } = await catalog.jobs.create({
    kind: name,
    input,
    lane: kind.lane ?? 'compute',
    place: kind.place === 'anywhere' ? catalog.places.blobs : catalog.places.dataFolder,
    uses: kind.uses?.(input) ?? [],
    ...(caller.keyId !== undefined && { createdBy: caller.keyId }),
    ...key,
  })
  if (!isNew && (job.kind !== name || !isDeepStrictEqual(job.input, storableJson(input)))) {
    throw new RequestError('IDEMPOTENCY_KEY_INVALID', { problem: 'it was used before with other content' })
  }
  return job
}
