/**
 * The jobs, and what one can ask of them: to begin, to stop, to go on.
 */

import { Type } from 'typebox'
import { isOver } from '../catalog/jobs/job.js'
import { RequestError } from './errors.js'
import { authorize, everyone } from './invoke.js'
import { describeJob, findJob } from './job.js'
import { beginJob } from './jobs/begin-job.js'
import type { Json as JsonValue } from './jobs/job-kind.js'
import { jobKinds } from './jobs/kinds.js'
import { defineOperation } from './operation.js'
import { JobId, JobShape, JobStateSchema } from './schemas/job.js'
import { Cursor, DEFAULT_PAGE_SIZE, Limit, pageOf } from './schemas/page.js'

const JobKindName = Type.Enum(
  jobKinds.map(({ name }) => name),
  { title: 'JobKind' },
)

export const jobs = defineOperation({
  name: 'jobs',
  kind: 'query',
  scope: 'read',
  summary: 'The jobs, newest first',
  input: Type.Object(
    {
      state: Type.Optional(JobStateSchema),
      kind: Type.Optional(JobKindName),
      limit: Type.Optional(Limit),
      cursor: Type.Optional(Cursor),
    },
    { title: 'JobsInput', additionalProperties: false },
  ),
  output: pageOf('JobPage', JobShape),
  example: { limit: 10 },

  async run({ catalog }, { limit = DEFAULT_PAGE_SIZE, ...request }) {
    const { items, nextCursor, cursors, totalCount } = await catalog.jobs.list({ limit, ...request })
    return { items: items.map(describeJob), nextCursor, cursors: [...cursors], totalCount }
  },
})

/** Alternatives by `kind`. */
const NewJob = Type.Unsafe<{ readonly kind: string; readonly input: JsonValue }>(
  Type.Union(
    jobKinds.map(({ name, summary, input }) =>
      Type.Object(
        { kind: Type.Literal(name), input: Type.Unsafe<JsonValue>({ ...input, 'x-scalar': 'Json' }) },
        { title: `New${(input as { title?: string }).title}`, additionalProperties: false, description: summary },
      ),
    ),
    { title: 'NewJob', description: 'What `input` holds depends on `kind`: see docs/jobs.md.' },
  ),
)

export const createJob = defineOperation({
  name: 'createJob',
  kind: 'mutation',
  scope: 'write',
  summary: 'Begin long work',
  input: NewJob,
  output: JobShape,
  example: { kind: jobKinds[0]!.name, input: jobKinds[0]!.example as JsonValue },

  async run(context, job, call) {
    return describeJob(await beginJob(context, job, call))
  },
})

const IdInput = (title: string) => Type.Object({ id: JobId }, { title, additionalProperties: false })

export const cancelJob = defineOperation({
  name: 'cancelJob',
  kind: 'mutation',
  scope: 'write',
  summary: 'Stop a job; one that is over stays as it is',
  input: IdInput('CancelJobInput'),
  output: JobShape,

  async run({ catalog }, { id }) {
    await findJob(catalog, id)
    return describeJob((await catalog.jobs.cancel(id)) ?? (await findJob(catalog, id)))
  },
})

export const resumeJob = defineOperation({
  name: 'resumeJob',
  kind: 'mutation',
  scope: 'write',
  summary: 'Go on with a job that failed or was cancelled, keeping what is done',
  input: IdInput('ResumeJobInput'),
  output: JobShape,

  async run({ catalog }, { id }, { caller = everyone }) {
    const before = await findJob(catalog, id)
    if (!isOver(before.state) || before.state === 'succeeded') {
      const instead = before.state === 'succeeded' ? 'Make a new one to do it again.' : 'Cancel it first, or wait.'
      throw new RequestError('JOB_CONFLICT', {
        job: id,
        problem: `it is ${before.state}, and only a job that failed or was cancelled is resumed`,
        instead,
      })
    }
    const kind = jobKinds.find(({ name }) => name === before.kind)
    authorize(caller, (await kind?.scope?.(before.input as never)) ?? 'write')
    return describeJob((await catalog.jobs.resume(id)) ?? before)
  },
})
