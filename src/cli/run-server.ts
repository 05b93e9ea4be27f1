/** What `refract serve` does: starts everything in order, and stops it in the opposite order. */

import net, { type AddressInfo } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { modelSource } from '../catalog/catalog.js'
import { registerDatasetsInPlace } from '../catalog/import/register-datasets-in-place.js'
import { registerInPlace } from '../catalog/import/register-in-place.js'
import { registerSaesInPlace } from '../catalog/import/register-saes-in-place.js'
import type { Config } from '../config.js'
import { createEngineHost } from '../engine/host/engine-host.js'
import { version } from '../operations/capabilities.js'
import { startJobWorker } from '../operations/jobs/job-worker.js'
import { jobKinds, kindsModule } from '../operations/jobs/kinds.js'
import { buildApp } from '../server/app.js'
import { refusalToListen } from '../server/auth.js'
import { banner } from './banner.js'
import { type CommandContext, UsageError } from './command.js'
import { openDatabase } from './database.js'

/** Requests that are being answered get this long to finish. */
const DRAIN_MS = 10_000
const DEMO = path.resolve(import.meta.dirname, '../../demo')
const DEMO_LICENSE = 'cc-by-sa-4.0'
/** Ready before anyone asks. */
const DEMO_MODEL = 'emoji-clip'

/** Imports at once, beside the jobs that compute. */
const TRANSFERS = 2

interface Part {
  readonly name: string
  close(): Promise<unknown>
}

export async function runServer({ config, out, err, signal }: CommandContext): Promise<void> {
  const begun = performance.now()
  const say = (message: string) => void err.write(`Refract: ${message}\n`)
  const parts: Part[] = []
  const fatal = new AbortController()
  const unwatch = watchForBugs(fatal)
  try {
    await checkPort(config)
    const database = await openDatabase(config, say)
    parts.unshift({ name: 'database', close: database.close })
    const { catalog } = database
    if (database.migrated.length > 0) say(`database schema brought up to date (${database.migrated.join(', ')})`)
    signal.throwIfAborted()

    const refusal = await refusalToListen(config.host, catalog)
    if (refusal !== undefined) throw new UsageError(refusal)

    const host = await createEngineHost({
      devices: config.devices,
      memoryBytes: config.memoryMb * 2 ** 20,
      deviceBytes: config.deviceBytes,
      precision: config.precision,
      queueLimit: config.queueLimit,
      maxImagePixels: config.maxImagePixels,
      drainMs: DRAIN_MS,
      observe: (event) => event.kind === 'worker-died' && say(`the engine stopped (${event.reason}); it is being restarted`),
    })
    parts.unshift({ name: 'engine', close: host.close })
    signal.throwIfAborted()

    try {
      const { inspect, inspectSae } = host
      const models = await registerInPlace(path.join(DEMO, 'models'), 'demo/models', { catalog, inspect, signal })
      if (models.length > 0) say(`registered ${models.map(({ id }) => id).join(', ')}`)
      const pictures = { catalog, dataDir: config.dataDir, limits: { maxPixels: config.maxImagePixels }, signal }
      // before the SAEs, whose numbers were measured on them
      const datasets = await registerDatasetsInPlace(path.join(DEMO, 'datasets'), pictures)
      if (datasets.length > 0) say(`registered ${datasets.map(({ id, nItems }) => `${id} (${nItems} pictures)`).join(', ')}`)
      const saes = await registerSaesInPlace(path.join(DEMO, 'saes'), 'demo/saes', { catalog, inspectSae, license: DEMO_LICENSE, signal })
      if (saes.length > 0) say(`registered ${saes.length} SAEs`)
      const first = await catalog.models.get(DEMO_MODEL)
      if (first) await host.load(modelSource(first), signal)
    } catch (error) {
      signal.throwIfAborted()
      // A demonstration that cannot be read keeps nobody's own models from being served.
      say(`what is in demo cannot be registered: ${(error as Error).message}`)
    }

    if (config.jobs > 0) {
      const slots = { compute: config.jobs, transfer: TRANSFERS }
      const worker = startJobWorker({ catalog, config, places: database.places, kinds: jobKinds, kindsModule, slots, say })
      parts.unshift({ name: 'worker', close: worker.close })
    }

    const logger = pino({ level: config.logLevel }, pino.destination(2))
    const app = await buildApp({ host, catalog, config, logger })
    parts.unshift({ name: 'server', close: () => drained(app.close(), () => app.server.closeAllConnections()) })
    await app.listen({ port: config.port, host: config.host }).catch((error: NodeJS.ErrnoException) => {
      throw listenError(error, config)
    })
    signal.throwIfAborted()

    const { backend, device } = host.status()
    const models = await catalog.models.list({ limit: 5 })
    out.write(
      banner({
        version,
        address: app.server.address() as AddressInfo,
        backend,
        device,
        database: database.description,
        config,
        models: { ids: models.items.map(({ id }) => id), totalCount: models.totalCount },
        nActiveKeys: await catalog.apiKeys.countActive(),
        startedMs: performance.now() - begun,
      }),
    )
    await aborted(AbortSignal.any([signal, fatal.signal]))
    say('stopping ...')
    if (fatal.signal.aborted) throw fatal.signal.reason
  } finally {
    await closeAll(parts, say)
    unwatch()
  }
  say('stopped')
}

/** An error that nobody caught is a bug. What is being answered is finished, and then the process ends: its state is not to be trusted. */
function watchForBugs(fatal: AbortController): () => void {
  const onError = (error: unknown) => fatal.abort(error)
  process.on('uncaughtException', onError).on('unhandledRejection', onError)
  return () => void process.off('uncaughtException', onError).off('unhandledRejection', onError)
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

/** One after the other, and the rest also when one fails. */
async function closeAll(parts: readonly Part[], say: (message: string) => void): Promise<void> {
  for (const { name, close } of parts) {
    try {
      await close()
    } catch (error) {
      say(`the ${name} did not stop cleanly: ${(error as Error).message}`)
    }
  }
}

/** Waits for `closing`; when it takes too long, `insist`s and waits on. */
async function drained(closing: Promise<unknown>, insist: () => void): Promise<void> {
  const late = new AbortController()
  void sleep(DRAIN_MS, undefined, { signal: late.signal, ref: false }).then(insist, () => {})
  await closing
  late.abort()
}

/** Before anything is started: a taken port is the most common mistake. */
async function checkPort(config: Config): Promise<void> {
  const probe = net.createServer()
  await new Promise<void>((resolve, reject) => {
    probe.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, config)))
    probe.listen(config.port, config.host, () => probe.close(() => resolve()))
  })
}

function listenError(error: NodeJS.ErrnoException, { port, host }: Config): unknown {
  switch (error.code) {
    case 'EADDRINUSE':
      return new UsageError(
        `Port ${port} is taken on ${host}: another program listens there, perhaps another Refract. Stop it, or choose another port: PORT=${port + 1} npm start`,
      )
    case 'EACCES':
      return new UsageError(`Port ${port} may not be used by this user. Choose one above 1023: PORT=8080 npm start`)
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new UsageError(`HOST=${host} is not an address of this machine. Use 127.0.0.1, or 0.0.0.0 for all of them.`)
    default:
      return error
  }
}
