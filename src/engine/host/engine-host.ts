/**
 * The engine as the rest of the server has it: a worker thread that owns the device, threads that prepare pictures, one memory budget, and
 * this object, whose methods cost the calling thread next to nothing.
 */

import { availableParallelism } from 'node:os'
import { ActivationCaches } from './activation-caches.js'
import { orCancelled } from './cancellation.js'
import type { Channel } from './channel.js'
import type { EngineInfo, EngineWorker } from './engine-worker-calls.js'
import type { EngineHost, HostStatus } from './host.js'
import type { HostEvent } from './host-events.js'
import { ImagePool } from './image-pool.js'
import { MemoryBudget, type ResidentKind } from './memory-budget.js'
import { PreparedPictures } from './prepared-pictures.js'
import { RunDispatcher } from './run-dispatcher.js'
import { defaultRestartPolicy, type RestartPolicy, Supervisor } from './supervisor.js'
import { openThread } from './thread-channel.js'
import { WorkerMemory } from './worker-memory.js'

export interface EngineHostOptions {
  /** `auto`, `cpu`, `reference`, ...; see choose-backend.ts. */
  readonly device: string
  /** One budget over models, SAEs, programs, activation caches, prepared pictures and the run in flight. */
  readonly memoryBytes: number
  /** Runs that may wait. Default 256. */
  readonly queueLimit?: number
  /** Rows that are computed together at most. Default 16: on a CPU, larger batches give no more images a second. */
  readonly maxBatch?: number
  /** Requests are merged as long as their results and working memory together stay below this. Default 512 MB. */
  readonly maxBatchBytes?: number
  /** Width x height above which a picture is refused before it is decoded. Default 50 million. */
  readonly maxImagePixels?: number
  /** Pictures that may wait to be prepared. Default 1024. */
  readonly imageQueueLimit?: number
  /** Default: half the machine's, at most 2. */
  readonly imageThreads?: number
  /** Threads that an operator is split over. Default: the machine's. */
  readonly intraOpThreads?: number
  /** How long activations are kept for those who come back for them. Default 30 minutes. */
  readonly cacheMaxAgeMs?: number
  /** How long `close` waits for what has been accepted. Default 10 s. */
  readonly drainMs?: number
  readonly restart?: RestartPolicy
  readonly observe?: (event: HostEvent) => void
  /** How workers are started. Default: as threads. */
  readonly transport?: Transport
}

export interface Transport {
  openEngine(): Channel
  openImages(): Channel
}

const threads: Transport = { openEngine: () => openThread('engine-worker'), openImages: () => openThread('image-worker') }

/** What can be made again in milliseconds may not push out what takes seconds. */
const shares: Partial<Record<ResidentKind, number>> = { picture: 0.25, cache: 0.5 }

/** @throws DEVICE_UNAVAILABLE, or the reason why the worker does not start */
export async function createEngineHost(options: EngineHostOptions): Promise<EngineHost> {
  const { device, memoryBytes, transport = threads, observe = () => undefined } = options
  const parallelism = availableParallelism()
  const intraOpThreads = options.intraOpThreads ?? parallelism
  const budget = new MemoryBudget({ budgetBytes: memoryBytes, shares })
  const memory = new WorkerMemory({ budget, observe })
  const supervisor = new Supervisor<EngineWorker, EngineInfo>({
    open: transport.openEngine,
    start: (remote) => remote.call('start', [{ device, intraOpThreads }]),
    policy: options.restart ?? defaultRestartPolicy,
    onDeath: (reason) => {
      memory.forget()
      observe({ kind: 'worker-died', reason })
    },
  })
  const dispatcher = new RunDispatcher({
    supervisor,
    memory,
    budget,
    observe,
    queueLimit: options.queueLimit ?? 256,
    maxBatch: options.maxBatch ?? 16,
    maxBatchBytes: options.maxBatchBytes ?? 512 * 2 ** 20,
  })
  const images = new ImagePool({
    threads: options.imageThreads ?? Math.min(2, Math.ceil(parallelism / 2)),
    queueLimit: options.imageQueueLimit ?? 1024,
    limits: { maxPixels: options.maxImagePixels ?? 50_000_000 },
    open: transport.openImages,
  })
  const pictures = new PreparedPictures({ budget, prepare: (bytes, how, signal) => images.prepare(bytes, how, signal) })
  const caches = new ActivationCaches({ budget, maxAgeMs: options.cacheMaxAgeMs ?? 30 * 60_000 })
  let closing: Promise<void> | undefined

  async function close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, options.drainMs ?? 10_000)
    })
    await dispatcher.close(deadline)
    clearTimeout(timer)
    await Promise.all([supervisor.close(), images.close()])
  }

  try {
    await supervisor.remote()
  } catch (error) {
    await supervisor.close()
    throw error
  }
  return {
    inspect: (source, signal) => dispatcher.inspect(source, signal),
    load: (source, signal) => dispatcher.load(source, signal),
    unload: (key) => memory.unload(key),
    run: (request, signal) => dispatcher.run(request, signal),
    codes: (request, signal) => dispatcher.codes(request, signal),
    analyse: (name, request, signal) => dispatcher.analyse(name, request, signal),
    exportGraph: (request, signal) => dispatcher.exportGraph(request, signal),
    decoderRows: (request, signal) => dispatcher.decoderRows(request, signal),
    decoderCosines: (request, signal) => dispatcher.decoderCosines(request, signal),
    inspectSae: (source, signal) => dispatcher.inspectSae(source, signal),
    unloadSae: (key) => memory.unloadSae(key),
    preprocess: (image, how, signal) => pictures.get(image, how, signal),
    inspectImage: (bytes, signal) => orCancelled(images.inspect(bytes, signal), signal),
    draw: (drawing, signal) => images.draw(drawing, signal),
    keep: (activations, about) => caches.keep(activations, about),
    cached: (id) => caches.get(id),
    status: () => status({ supervisor, dispatcher, memory, budget, images, pictures }),
    close: () => {
      closing ??= close()
      return closing
    },
  }
}

interface Parts {
  readonly supervisor: Supervisor<EngineWorker, EngineInfo>
  readonly dispatcher: RunDispatcher
  readonly memory: WorkerMemory
  readonly budget: MemoryBudget
  readonly images: ImagePool
  readonly pictures: PreparedPictures
}

function status({ supervisor, dispatcher, memory, budget, images, pictures }: Parts): HostStatus {
  const weights = (kind: 'model' | 'sae') =>
    budget.residents(kind).map(({ id, bytes }) => ({ key: id.slice(kind.length + 1), bytes, inUse: budget.isPinned(id) }))
  const bytesOf = (kind: ResidentKind) => budget.bytesOf(kind)
  return {
    state: supervisor.state,
    backend: supervisor.info?.backend ?? '',
    device: supervisor.info?.device ?? '',
    passedOver: supervisor.info?.passedOver ?? [],
    queueLength: dispatcher.queueLength,
    queueLimit: dispatcher.queueLimit,
    restarts: supervisor.restarts,
    memory: {
      budgetBytes: budget.budgetBytes,
      usedBytes: budget.usedBytes,
      byKind: {
        model: bytesOf('model'),
        sae: bytesOf('sae'),
        program: bytesOf('program'),
        run: bytesOf('run'),
        cache: bytesOf('cache'),
        picture: bytesOf('picture'),
      },
    },
    models: weights('model'),
    saes: weights('sae'),
    programs: {
      count: budget.residents('program').length,
      bytes: bytesOf('program'),
      compiled: memory.compiled,
      hits: memory.programHits,
    },
    runs: dispatcher.totals,
    pictures: { count: budget.residents('picture').length, hits: pictures.hits, misses: pictures.misses, waiting: images.waiting },
    caches: { count: budget.residents('cache').length },
  }
}
