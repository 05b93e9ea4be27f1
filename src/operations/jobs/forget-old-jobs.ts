/** Jobs that have been over for as long as the configuration says are forgotten, with the files that they left; and so are blobs that nothing names. */

import fs from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Catalog } from '../../catalog/catalog.js'
import { isDatabaseAway } from '../../catalog/jobs/connection.js'
import type { ForgottenJob } from '../../catalog/jobs/job.js'
import type { Config } from '../../config.js'
import { artifactsOf } from './artifacts.js'

const DAY_MS = 24 * 60 * 60 * 1000
const LOOK_EVERY_MS = 60 * 60 * 1000
const AT_ONCE = 100

interface Forgetting {
  readonly catalog: Pick<Catalog, 'blobs' | 'jobLeases' | 'jobParts' | 'leftBlobs'>
  readonly config: Pick<Config, 'dataDir' | 'keepJobsDays'>
  /** Whose files are at hand. */
  readonly places: readonly string[]
  readonly signal: AbortSignal
  readonly complain: (error: unknown) => void
}

/** At once and every hour, until the signal. */
export async function forgetOldJobs(options: Forgetting): Promise<void> {
  const { catalog, config, signal, complain } = options
  while (!signal.aborted) {
    try {
      while (config.keepJobsDays > 0 && !signal.aborted && (await forgetSome(options)) === AT_ONCE);
      await catalog.leftBlobs.remove()
    } catch (error) {
      if (!isDatabaseAway(error)) complain(error)
    }
    await sleep(LOOK_EVERY_MS, undefined, { signal, ref: false }).catch(() => {})
  }
}

/** The jobs go first: a file without a job is only lost room, a job without its files is a broken promise. */
async function forgetSome({ catalog, config, places }: Forgetting): Promise<number> {
  const { blobs, jobLeases, jobParts } = catalog
  const forgotten = await jobLeases.forgetOld({ places, olderThanMs: config.keepJobsDays * DAY_MS, limit: AT_ONCE })
  for (const job of forgotten) {
    await jobParts.remove(job.jobId, job.blobs)
    await removeFolder(job, config.dataDir)
  }
  const left = forgotten.flatMap(({ result }) => artifactsOf(result).map(({ sha256 }) => sha256))
  for (const sha256 of await jobLeases.unnamedBlobs([...new Set(left)])) await blobs.remove(sha256)
  return forgotten.length
}

/** Where a job could have been gone on with. What one that succeeded left there (a run of training) is somebody's. */
async function removeFolder({ jobId, state }: ForgottenJob, dataDir: string): Promise<void> {
  const folder = path.join(dataDir, 'jobs', jobId)
  if (state === 'succeeded') await fs.rmdir(folder).catch(() => {})
  else await fs.rm(folder, { recursive: true, force: true })
}
