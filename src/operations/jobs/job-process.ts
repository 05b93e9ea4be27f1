/**
 * The process in which a job's work is done: apart from the one that serves and from the one that renews leases, so that it may compute
 * without pause, and takes nobody with it when it dies. It ends with its worker.
 */

import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { Catalog } from '../../catalog/catalog.js'
import type { ShardLease } from '../../catalog/jobs/job.js'
import { openCatalog } from '../../catalog/open-catalog.js'
import { withLock } from '../../catalog/process-lock.js'
import type { Config } from '../../config.js'
import type { Backend } from '../../engine/backends/backend.js'
import { storageError } from '../../engine/io/storage-errors.js'
import { openBackend } from '../open-backend.js'
import type { JobContext, JobKind } from './job-kind.js'
import type { FromJobProcess, ShardEnd, ToJobProcess } from './messages.js'
import { Reports } from './reports.js'
import { failureOf, runShard } from './run-shard.js'

/** Requests come first: what serves has the processor before what trains. */
const NICENESS = 10

const send = (message: FromJobProcess) => {
  // a worker that is gone needs no answer
  if (process.connected) process.send?.(message)
}

interface Workshop {
  readonly config: Config
  readonly catalog: Catalog
  readonly kinds: readonly JobKind[]
  readonly backend: () => Promise<Backend>
  readonly kept: Map<string, Promise<unknown>>
}

let workshop: Promise<Workshop> | undefined
let stop = new AbortController()

// The worker says when to stop. Ctrl-C reaches its whole group, and would end a training before its checkpoint.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
process.on('disconnect', () => process.exit(1))
try {
  os.setPriority(NICENESS)
} catch {
  // not everywhere
}

process.on('message', (message: ToJobProcess) => {
  switch (message.type) {
    case 'begin':
      workshop = open(message)
      // the first shard says what is wrong
      workshop.catch(() => {})
      return
    case 'work':
      stop = new AbortController()
      void work(message.lease, stop.signal).then((end) => send({ type: 'end', end }))
      return
    case 'stop':
      stop.abort(new Error(message.why))
      return
    default:
      message satisfies never
  }
})

async function open({ config, places, kindsModule }: ToJobProcess & { type: 'begin' }): Promise<Workshop> {
  const { jobKinds } = (await import(kindsModule)) as { jobKinds: readonly JobKind[] }
  const catalog = await openCatalog(places)
  let backend: Promise<Backend> | undefined
  return {
    config,
    catalog,
    kinds: jobKinds,
    backend: () => (backend ??= openBackend(config)),
    kept: new Map(),
  }
}

async function work(lease: ShardLease, signal: AbortSignal): Promise<ShardEnd> {
  const reports = new Reports((report) => send({ type: 'report', ...report }))
  try {
    const { config, catalog, kinds, backend, kept } = await workshop!
    const kind = kinds.find(({ name }) => name === lease.kind)!
    const folder = path.join(config.dataDir, 'jobs', lease.jobId)
    const context: JobContext = {
      job: { id: lease.jobId, kind: lease.kind },
      catalog,
      blobs: catalog.blobs,
      config,
      folder,
      signal,
      backend,
      progress: (done, message) => reports.progress(done, message),
      log: (text, level = 'info') => reports.line({ text, level }),
      keep<T>(name: string, make: () => Promise<T>) {
        const known = kept.get(name) as Promise<T> | undefined
        if (known) return known
        const made = make()
        kept.set(name, made)
        made.catch(() => kept.delete(name))
        return made
      },
    }
    if (kind.place === 'anywhere') return await runShard(kind, lease, context)
    await fs.mkdir(folder, { recursive: true }).catch((error: unknown) => {
      throw storageError(error, 'DATA_DIR')
    })
    // The process of a worker that was killed may need a moment to notice, and until then writes to the same files.
    const lock = path.join(folder, `${lease.stage}-${lease.index}.lock`)
    return await withLock(lock, { signal }, () => runShard(kind, lease, context))
  } catch (error) {
    if (signal.aborted) return { kind: 'stopped' }
    return { kind: 'failed', ...failureOf(error) }
  } finally {
    reports.flush()
  }
}
