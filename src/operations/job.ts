/**
 * A job and its log, as they are and as they change.
 */

import { Type } from 'typebox'
import type { JobRecord, LogLine } from '../catalog/jobs/job.js'
import { RequestError } from './errors.js'
import { fixedLimits } from './limits.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { type JobAnswer, type JobEventAnswer, JobId, JobShape, LogLineShape } from './schemas/job.js'

export const job = defineOperation({
  name: 'job',
  kind: 'query',
  scope: 'read',
  summary: 'A job: how far it is, and what came of it',
  input: Type.Object({ id: JobId }, { title: 'JobQuery', additionalProperties: false }),
  output: JobShape,

  async run({ catalog }, { id }) {
    return describeJob(await findJob(catalog, id))
  },
})

export const jobLog = defineOperation({
  name: 'jobLog',
  kind: 'query',
  scope: 'read',
  summary: "Lines of a job's log, oldest first",
  input: Type.Object(
    {
      id: JobId,
      after: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1, description: 'Lines after the one with this number.' })),
      limit: Type.Optional(Type.Integer({ minimum: 1, maximum: fixedLimits.logLines, description: 'At most so many; 100 unless given.' })),
    },
    { title: 'JobLogInput', additionalProperties: false },
  ),
  output: Type.Object(
    { lines: Type.Array(LogLineShape), nLines: Type.Integer({ description: 'Lines that were ever written; the newest 10,000 are kept.' }) },
    { title: 'JobLog', additionalProperties: false },
  ),

  async run({ catalog }, { id, after = 0, limit = 100 }) {
    const { nLogLines } = await findJob(catalog, id)
    const lines = await catalog.jobs.log(id, { after, limit })
    return { lines: lines.map(describeLine), nLines: nLogLines }
  },
})

/** The job now and whenever it changes, and each new line of its log, until it is over. @throws JOB_UNKNOWN */
export async function* jobEvents(
  { catalog }: Pick<Context, 'catalog'>,
  { id, after = 0 }: { readonly id: string; readonly after?: number },
  { signal }: Pick<Call, 'signal'>,
): AsyncGenerator<JobEventAnswer> {
  await findJob(catalog, id)
  for await (const event of catalog.jobs.watch(id, { after, signal })) {
    yield 'job' in event ? { job: describeJob(event.job), line: null } : { job: null, line: describeLine(event.line) }
  }
}

/** @throws JOB_UNKNOWN */
export async function findJob(catalog: Context['catalog'], id: string): Promise<JobRecord> {
  const record = await catalog.jobs.get(id)
  if (!record) throw new RequestError('JOB_UNKNOWN', { job: id })
  return record
}

export function describeJob(record: JobRecord): JobAnswer {
  const { id, kind, state, progress, message, input, result = null, error, nShards, nDone, nLogLines, createdBy } = record
  const { createdAt, startedAt, finishedAt } = record
  return {
    id,
    kind,
    state,
    progress,
    message,
    input,
    result,
    error: error && { code: error.code, message: error.message, errors: error.problems.map((problem) => ({ ...problem })) },
    nShards,
    nDone,
    nLogLines,
    createdBy,
    createdAt: createdAt.toISOString(),
    startedAt: startedAt?.toISOString() ?? null,
    finishedAt: finishedAt?.toISOString() ?? null,
  }
}

const describeLine = ({ number, at, level, text }: LogLine) => ({ number, at: at.toISOString(), level, text })
