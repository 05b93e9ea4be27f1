/** `refract worker`: does the jobs of a server, here. */

import { startJobWorker } from '../operations/jobs/job-worker.js'
import { jobKinds, kindsModule } from '../operations/jobs/kinds.js'
import { type Command, UsageError } from './command.js'
import { openDatabase } from './database.js'

export const workerCommand: Command = {
  name: 'worker',
  positionals: [],
  summary: 'Work on jobs, beside a server or on another machine.',
  details: [
    'Workers find their jobs in the database (DATABASE_URL). Those that read or write files of DATA_DIR (imports, training) are done by workers',
    'that share it; all others also by workers that share only the blob store (REFRACT_BLOB_STORE). Ctrl-C gives back what is under way.',
  ].join('\n'),
  options: {
    compute: { type: 'string', value: '<n>', meaning: 'shards that compute, at once; default: 1' },
    transfers: { type: 'string', value: '<n>', meaning: 'imports at once; default: 2' },
  },
  async run({ config, values, err, signal }) {
    const slots = { compute: count('compute', values.compute, 1), transfer: count('transfers', values.transfers, 2) }
    if (slots.compute + slots.transfer === 0) throw new UsageError('A worker needs --compute or --transfers above 0.')
    const say = (message: string) => void err.write(`Refract: ${message}\n`)
    const database = await openDatabase(config, say)
    try {
      const { catalog, places, description } = database
      const worker = startJobWorker({ catalog, config, places, kinds: jobKinds, kindsModule, slots, say })
      try {
        say(`working on the jobs of ${description}`)
        await new Promise<void>((resolve) => {
          if (signal.aborted) resolve()
          else signal.addEventListener('abort', () => resolve(), { once: true })
        })
        say('stopping ...')
      } finally {
        await worker.close()
      }
    } finally {
      await database.close()
    }
    say('stopped')
  },
}

function count(name: string, given: string | boolean | undefined, fallback: number): number {
  if (given === undefined) return fallback
  if (typeof given === 'string' && /^\d{1,2}$/.test(given)) return Number(given)
  throw new UsageError(`--${name} "${String(given)}" is not a whole number from 0 to 99.`)
}
