/** `refract jobs`: what is under way, from the terminal. */

import path from 'node:path'
import { type JobRecord, type JobState, jobStates } from '../catalog/jobs/job.js'
import { nearest } from '../engine/nearest.js'
import { describeJob } from '../operations/job.js'
import { beginJob } from '../operations/jobs/begin-job.js'
import type { Json } from '../operations/jobs/job-kind.js'
import { jobKinds } from '../operations/jobs/kinds.js'
import { validator } from '../operations/validate.js'
import { type Command, type CommandContext, CommandFailed, UsageError } from './command.js'
import { openDatabase } from './database.js'
import { table } from './table.js'
import { readTrainingConfig } from './training-config.js'

const json = { json: { type: 'boolean', meaning: 'print JSON' } } as const
const LISTED = 50

type Jobs = Awaited<ReturnType<typeof openDatabase>>['catalog']['jobs']

/** A command that needs the jobs, and closes what it opened. */
function jobCommand(command: Omit<Command, 'run'>, run: (jobs: Jobs, context: CommandContext) => Promise<void>): Command {
  return {
    ...command,
    async run(context) {
      const database = await openDatabase(context.config, (message) => context.err.write(`${message}\n`))
      try {
        await run(database.catalog.jobs, context)
      } finally {
        await database.close()
      }
    },
  }
}

const list = jobCommand(
  {
    name: 'jobs list',
    positionals: [],
    summary: 'List the jobs, newest first.',
    options: { state: { type: 'string', value: '<state>', meaning: `only those that are ${jobStates.join(', ')}` }, ...json },
  },
  async (jobs, { values, out }) => {
    const { state } = values
    if (state !== undefined && !jobStates.includes(state as JobState)) {
      throw new UsageError(`--state "${String(state)}" is not one of ${jobStates.join(', ')}.`)
    }
    const { items, totalCount } = await jobs.list({ limit: LISTED, ...(state !== undefined && { state: state as JobState }) })
    if (values.json) return void out.write(`${JSON.stringify(items.map(describeJob), null, 2)}\n`)
    if (items.length === 0) return void out.write('There are no jobs.\n')
    const rows = items.map((job) => [job.id, job.kind, job.state, percent(job), job.createdAt.toISOString().slice(0, 19), whatOf(job)])
    out.write(table(['id', 'kind', 'state', 'done', 'created', ''], rows))
    if (totalCount > items.length) out.write(`and ${totalCount - items.length} older ones\n`)
  },
)

const show = jobCommand(
  { name: 'jobs show', positionals: ['<job>'], summary: 'Show a job and its log.', options: json },
  async (jobs, { values, positionals: [id = ''], out }) => {
    const job = await find(jobs, id)
    const lines = await jobs.log(job.id, { after: 0, limit: 10_000 })
    if (values.json) return void out.write(`${JSON.stringify({ ...describeJob(job), log: lines }, null, 2)}\n`)
    out.write(`${job.id}  ${job.kind}  ${job.state}  ${percent(job)}\n${whatOf(job)}\n`)
    for (const line of lines) out.write(`${line.at.toISOString().slice(0, 19)}  ${line.text}\n`)
    if (job.result !== undefined) out.write(`${JSON.stringify(job.result, null, 2)}\n`)
  },
)

const watch = jobCommand(
  { name: 'jobs watch', positionals: ['<job>'], summary: 'Follow a job to its end.', options: {} },
  async (jobs, context) => {
    const { id } = await find(jobs, context.positionals[0] ?? '')
    await follow(jobs, id, context)
  },
)

/** To its end. @throws CommandFailed when it does not succeed, saying why */
async function follow(jobs: Jobs, id: string, { out, err, signal }: Pick<CommandContext, 'out' | 'err' | 'signal'>): Promise<void> {
  let last: JobRecord | undefined
  for await (const event of jobs.watch(id, { signal })) {
    if ('line' in event) out.write(`${event.line.text}\n`)
    else {
      const { state, message } = event.job
      if (last === undefined || last.state !== state || last.message !== message) err.write(`${state}  ${percent(event.job)}  ${message}\n`)
      last = event.job
    }
  }
  if (last?.state === 'succeeded') out.write(`${JSON.stringify(last.result, null, 2)}\n`)
  else if (last?.state === 'failed') throw new CommandFailed(whatOf(last))
  else if (last?.state === 'cancelled') throw new CommandFailed(`${id} was cancelled.`)
}

const cancel = jobCommand(
  { name: 'jobs cancel', positionals: ['<job>'], summary: 'Stop a job.', options: {} },
  async (jobs, { positionals: [id = ''], out }) => {
    await find(jobs, id)
    out.write(`${id} is ${(await jobs.cancel(id))!.state}.\n`)
  },
)

const resume = jobCommand(
  { name: 'jobs resume', positionals: ['<job>'], summary: 'Go on with a job that failed or was cancelled.', options: {} },
  async (jobs, { positionals: [id = ''], out }) => {
    const { state } = await find(jobs, id)
    if (state !== 'failed' && state !== 'cancelled')
      throw new UsageError(`${id} is ${state}; only a job that failed or was cancelled is resumed.`)
    out.write(`${id} is ${(await jobs.resume(id))!.state}.\n`)
  },
)

const runJob: Command = {
  name: 'jobs run',
  positionals: ['<kind>'],
  summary: 'Begin a job.',
  details: [
    'The configuration is YAML: the input of the job, as in docs/jobs.md. Whoever works on jobs does it: a server, or refract worker.',
    `Kinds: ${jobKinds.map(({ name }) => name).join(', ')}.`,
  ].join('\n'),
  options: {
    config: { type: 'string', short: 'c', value: '<file.yaml>', meaning: 'the input of the job' },
    watch: { type: 'boolean', meaning: 'follow it to its end' },
  },
  async run(context) {
    const { config, values, positionals, out, err } = context
    const [name = ''] = positionals
    const kind = jobKinds.find((each) => each.name === name)
    if (!kind) {
      const [near] = nearest(
        name,
        jobKinds.map((each) => each.name),
      )
      throw new UsageError(`There is no kind of job "${name}".${near ? ` Did you mean "${near}"?` : ''}`)
    }
    if (typeof values.config !== 'string') throw new UsageError('jobs run needs --config <file.yaml>.')
    const input = validator(kind.input)(await readTrainingConfig(path.resolve(values.config), {}))
    const database = await openDatabase(config, (message) => err.write(`${message}\n`))
    try {
      const { catalog } = database
      const job = await beginJob({ catalog, config }, { kind: name, input: input as Json }, {})
      if (values.watch) await follow(catalog.jobs, job.id, context)
      else out.write(`${job.id}\n`)
    } finally {
      await database.close()
    }
  },
}

export const jobCommands: readonly Command[] = [runJob, list, show, watch, cancel, resume]

async function find(jobs: Jobs, id: string): Promise<JobRecord> {
  const job = await jobs.get(id)
  if (!job) throw new UsageError(`There is no job "${id}". refract jobs list shows them.`)
  return job
}

const percent = ({ progress }: JobRecord) => `${Math.floor(100 * progress)} %`

/** Why it failed, or what it is doing. */
const whatOf = ({ error, message }: JobRecord) => (error ? `${error.code}: ${error.message}` : message)
