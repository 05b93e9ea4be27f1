/**
 * Jobs as clients see them.
 */

import { type Static, Type } from 'typebox'
import { jobStates } from '../../catalog/jobs/job.js'

/** Any JSON: what it is depends on the kind. */
export const Json = (description: string) => Type.Unsafe<unknown>({ 'x-scalar': 'Json', description })

export const JobId = Type.String({ minLength: 1, maxLength: 200, description: 'The id of a job.' })

export const JobStateSchema = Type.Enum([...jobStates], {
  title: 'JobState',
  description:
    '`queued`: no worker has it yet. `cancelling`: its workers are asked to stop. `cancelled`, `failed`, `succeeded`: it is over.',
})

const Time = (description: string) => Type.Union([Type.String({ format: 'date-time' }), Type.Null()], { description })

const JobErrorShape = Type.Object(
  {
    code: Type.String({ description: 'As in docs/errors.md; `JOB_CRASHED` when process after process died of it.' }),
    message: Type.String(),
    errors: Type.Array(Type.Object({ path: Type.String(), message: Type.String() }, { title: 'JobProblem', additionalProperties: false })),
  },
  { title: 'JobError', additionalProperties: false },
)

export const JobShape = Type.Object(
  {
    id: Type.String({ 'x-scalar': 'ID' }),
    kind: Type.String(),
    state: JobStateSchema,
    progress: Type.Number({ description: '0 to 1; 1 only when it has succeeded.' }),
    message: Type.String({ description: 'What it is doing.' }),
    input: Json('As it was given.'),
    result: Type.Union([Json('What came of it.'), Type.Null()], { description: 'Null until it has succeeded.' }),
    error: Type.Union([JobErrorShape, Type.Null()], { description: 'Why it failed.' }),
    nShards: Type.Union([Type.Integer(), Type.Null()], { description: 'The pieces it is done in; null until it is planned.' }),
    nDone: Type.Integer({ description: 'How many of them are done.' }),
    nLogLines: Type.Integer(),
    createdBy: Type.Union([Type.String(), Type.Null()], { description: 'The id of the API key; null where none is needed.' }),
    createdAt: Type.String({ format: 'date-time' }),
    startedAt: Time('When a worker first took it.'),
    finishedAt: Time('When it was over.'),
  },
  { title: 'Job', additionalProperties: false },
)

export type JobAnswer = Static<typeof JobShape>

export const LogLineShape = Type.Object(
  {
    number: Type.Integer({ description: 'From 1, without gaps.' }),
    at: Type.String({ format: 'date-time' }),
    level: Type.Enum(['info', 'warning'], { title: 'LogLevel' }),
    text: Type.String(),
  },
  { title: 'JobLogLine', additionalProperties: false },
)

/** One of the two. */
export const JobEventShape = Type.Object(
  {
    job: Type.Union([JobShape, Type.Null()], { description: 'The job as it is now.' }),
    line: Type.Union([LogLineShape, Type.Null()], { description: 'A new line of its log.' }),
  },
  { title: 'JobEvent', additionalProperties: false, description: 'Either of the two; the other is null.' },
)

export type JobEventAnswer = Static<typeof JobEventShape>
