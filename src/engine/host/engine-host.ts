/**
 * The engine as the rest of the server has it: for each device a worker that owns it (a thread; a process for an accelerator), threads that prepare
 * pictures, one memory budget, and this object, whose methods cost the calling thread next to nothing.
 */

import { availableParallelism } from 'node:os'
import type { Precision } from '../backends/backend.js'
import { ActivationCaches } from './activation-caches.js'
import { orCancelled } from './cancellation.js'
import type { Channel } from './channel.js'
import { openAutomatic, type PassedOver } from './choose-backend.js'
import { Device } from './device.js'
import { type DeviceList, isAccelerator } from './device-names.js'
import { Devices } from './devices.js'
import { divideMemory } from './divide-memory.js'
import { saesOf } from './engine-worker-calls.js'
import type { EngineHost } from './host.js'
import type { HostEvent } from './host-events.js'
import { hostStatus } from './host-status.js'
import { ImagePool } from './image-pool.js'
import { PreparedPictures } from './prepared-pictures.js'
import { openProcess } from './process-channel.js'
import { defaultRestartPolicy, type RestartPolicy } from './supervisor.js'
import { openThread } from './thread-channel.js'

export interface EngineHostOptions {
  /** `auto`, `cpu`, `reference`, ...; see choose-backend.ts. One may be named several times. */
  readonly devices: DeviceList
  /** One budget over models, SAEs, programs, activation caches, prepared pictures and the runs in flight. */
  readonly memoryBytes: number
  /** How much of each accelerator's memory weights may take. 0, as by default: as its backend has it. */
  readonly deviceBytes?: number
  /** Default `float32`. */
  readonly precision?: Precision
  /** Runs that may wait for each device. Default 256. */
  readonly queueLimit?: number
  /** Rows that are computed together at most. Default: what suits the device (device-names.ts). */
  readonly maxBatch?: number
  /** Requests are merged as long as their results and working memory together stay below this. Default 512 MB. */
  readonly maxBatchBytes?: number
  /** Width x height above which a picture is refused before it is decoded. Default 50 million. */
  readonly maxImagePixels?: number
  /** Pictures that may wait to be prepared. Default 1024. */
  readonly imageQueueLimit?: number
  /** Default: half the machine's, at most 2. */
  readonly imageThreads?: number
  /** Threads that an operator is split over. Default: the machine's, shared out among the devices that compute on its processor. */
  readonly intraOpThreads?: number
  /** How long activations are kept for those who come back for them. Default 30 minutes. */
  readonly cacheMaxAgeMs?: number
  /** How long `close` waits for what has been accepted. Default 10 s. */
  readonly drainMs?: number
  readonly restart?: RestartPolicy
  readonly observe?: (event: HostEvent) => void
  /** How workers are started. Default: as the device asks for (decisions/0007). */
  readonly transport?: Transport
}

export interface Transport {
  /** @param place  of the device among all */
  openEngine(place: number, device: string): Channel
  openImages(): Channel
}

/** An accelerator's driver may break the process that it is in; what the processor computes need not be copied between two. */
const byDevice: Transport = {
  openEngine: (_, device) => (isAccelerator(device) ? openProcess('engine-worker', `refract ${device}`) : openThread('engine-worker')),
  openImages: () => openThread('image-worker'),
}

/** @throws DEVICE_UNAVAILABLE, or the reason why a worker does not start */
export function createEngineHost(options: EngineHostOptions): Promise<EngineHost> {
  if (!options.devices.includes('auto')) return startHost(options)
  return openAutomatic(options, (device, passedOver) => startHost({ ...options, devices: [device] }, passedOver))
}

async function startHost(options: EngineHostOptions, passedOver: readonly PassedOver[] = []): Promise<EngineHost> {
  const { devices: names, transport = byDevice, observe = () => undefined } = options
  const parallelism = availableParallelism()
  const nOnProcessor = names.filter((name) => !isAccelerator(name)).length
  const memory = divideMemory(options.memoryBytes, names.length)
  const devices = new Devices(
    names.map(
      (device, place) =>
        new Device({
          device,
          intraOpThreads: options.intraOpThreads ?? Math.max(1, Math.floor(parallelism / Math.max(1, nOnProcessor))),
          deviceBytes: options.deviceBytes ?? 0,
          precision: options.precision ?? 'float32',
          budget: memory.devices[place]!,
          queueLimit: options.queueLimit ?? 256,
          maxBatch: options.maxBatch,
          maxBatchBytes: options.maxBatchBytes ?? 512 * 2 ** 20,
          restart: options.restart ?? defaultRestartPolicy,
          open: () => transport.openEngine(place, device),
          observe,
        }),
    ),
  )
  const images = new ImagePool({
    threads: options.imageThreads ?? Math.min(2, Math.ceil(parallelism / 2)),
    queueLimit: options.imageQueueLimit ?? 1024,
    limits: { maxPixels: options.maxImagePixels ?? 50_000_000 },
    open: transport.openImages,
  })
  const pictures = new PreparedPictures({
    budget: memory.shared,
    prepare: (bytes, how, signal) => images.prepare(bytes, how, signal),
  })
  const caches = new ActivationCaches({ budget: memory.shared, maxAgeMs: options.cacheMaxAgeMs ?? 30 * 60_000 })
  const budgets = [...new Set([memory.shared, ...memory.devices])]
  let closing: Promise<void> | undefined

  async function close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, options.drainMs ?? 10_000)
    })
    await devices.close(deadline)
    clearTimeout(timer)
    await images.close()
  }

  try {
    await devices.started()
  } catch (error) {
    await devices.close(Promise.resolve())
    throw error
  }
  return {
    inspect: (source, signal) => devices.inspect(source, signal),
    load: (model, signal) => devices.on({ model, saes: [] }, ({ dispatcher }) => dispatcher.load(model, signal), signal),
    unload: (key) => devices.unload(key),
    run: (request, signal) => {
      const { model, editSaes = [] } = request
      return devices.on({ model, saes: editSaes }, ({ dispatcher }) => dispatcher.run(request, signal), signal)
    },
    codes: (request, signal) => {
      const { model, saes, editSaes = [] } = request
      return devices.on({ model, saes: saesOf({ saes, editSaes }) }, ({ dispatcher }) => dispatcher.codes(request, signal), signal)
    },
    analyse: (name, request, signal) => {
      const { model, saes = [] } = request
      return devices.on({ model, saes }, ({ dispatcher }) => dispatcher.analyse(name, request, signal), signal)
    },
    exportGraph: (request, signal) => {
      const { model, saes, editSaes = [] } = request
      return devices.on({ model, saes: saesOf({ saes, editSaes }) }, ({ dispatcher }) => dispatcher.exportGraph(request, signal), signal)
    },
    decoderRows: (request, signal) => {
      return devices.on({ saes: [request.sae] }, ({ dispatcher }) => dispatcher.decoderRows(request, signal), signal)
    },
    decoderCosines: (request, signal) => {
      const { model, sae } = request
      return devices.on({ model, saes: [sae] }, ({ dispatcher }) => dispatcher.decoderCosines(request, signal), signal)
    },
    inspectSae: (source, signal) => devices.inspectSae(source, signal),
    unloadSae: (key) => devices.unloadSae(key),
    preprocess: (image, how, signal) => pictures.get(image, how, signal),
    inspectImage: (bytes, signal) => orCancelled(images.inspect(bytes, signal), signal),
    draw: (drawing, signal) => images.draw(drawing, signal),
    keep: (activations, about) => caches.keep(activations, about),
    cached: (id) => caches.get(id),
    status: () =>
      hostStatus({
        devices: devices.status(),
        passedOver,
        budgets,
        pictures: {
          count: memory.shared.residents('picture').length,
          hits: pictures.hits,
          misses: pictures.misses,
          waiting: images.waiting,
        },
        caches: { count: memory.shared.residents('cache').length },
      }),
    close: () => {
      closing ??= close()
      return closing
    },
  }
}
