/**
 * Threads that decode, resample and draw pictures, so that the thread that serves HTTP never does. One picture a thread at a time, which bounds
 * the memory that decoding takes. Threads start with the first picture; one that dies is replaced for the next.
 */

import { EngineError } from '../errors.js'
import type { ImageInfo, ImageLimits } from '../image/decode.js'
import type { Drawing } from '../image/draw.js'
import type { PatchValues } from '../image/patch-values.js'
import type { Preprocessing } from '../image/preprocessing.js'
import type { Tensor } from '../tensor.js'
import { onCancel } from './cancellation.js'
import type { Channel } from './channel.js'
import { deferred } from './deferred.js'
import { buffersOf, Remote } from './remote.js'

/** What an image worker answers. */
export interface ImageWorker {
  /** [channel, height, width], in shared memory: cached on this side and read by the engine's worker without a copy. */
  prepare(bytes: Uint8Array, how: Preprocessing, limits: ImageLimits): Promise<Tensor<'float32'>>
  inspect(bytes: Uint8Array, limits: ImageLimits): Promise<ImageInfo>
  /** The file. */
  draw(drawing: Drawing, limits: ImageLimits): Promise<Uint8Array>
}

export interface ImagePoolOptions {
  readonly threads: number
  /** How many pictures may wait. */
  readonly queueLimit: number
  readonly limits: ImageLimits
  readonly open: () => Channel
}

interface Job {
  /** Does the work there and settles the job. */
  run(remote: Remote<ImageWorker>): Promise<void>
  reject(error: Error): void
}

/** Every method throws IMAGE_INVALID, IMAGE_TOO_LARGE, QUEUE_FULL, CANCELLED, WORKER_DIED. */
export class ImagePool {
  readonly #options: ImagePoolOptions
  readonly #waiting: Job[] = []
  readonly #running = new Set<Job>()
  readonly #idle: Remote<ImageWorker>[] = []
  readonly #remotes = new Set<Remote<ImageWorker>>()
  #meanMs = 20
  #closed = false

  constructor(options: ImagePoolOptions) {
    this.#options = options
  }

  prepare(bytes: Uint8Array, how: Preprocessing, signal?: AbortSignal): Promise<Tensor<'float32'>> {
    return this.#submit((remote) => {
      const own = ownBytes(bytes)
      return remote.call('prepare', [own, how, this.#options.limits], { transfer: [own.buffer] })
    }, signal)
  }

  inspect(bytes: Uint8Array, signal?: AbortSignal): Promise<ImageInfo> {
    return this.#submit((remote) => {
      const own = ownBytes(bytes)
      return remote.call('inspect', [own, this.#options.limits], { transfer: [own.buffer] })
    }, signal)
  }

  /** @throws what `draw` throws, too */
  draw(drawing: Drawing, signal?: AbortSignal): Promise<Uint8Array> {
    return this.#submit((remote) => {
      const own = withOwnFiles(drawing)
      return remote.call('draw', [own, this.#options.limits], { transfer: [...buffersOf(own)] })
    }, signal)
  }

  /** Pictures that wait for a thread. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** Ends the threads; what waits or is being prepared is rejected. */
  async close(): Promise<void> {
    this.#closed = true
    for (const job of [...this.#waiting.splice(0), ...this.#running]) job.reject(closing())
    await Promise.all([...this.#remotes].map((remote) => remote.finish()))
  }

  #submit<Result>(call: (remote: Remote<ImageWorker>) => Promise<Result>, signal: AbortSignal | undefined): Promise<Result> {
    if (this.#closed) return Promise.reject(closing())
    const { promise, resolve, reject } = deferred<Result>()
    const job: Job = { run: (remote) => call(remote).then(resolve, reject), reject }
    const stop = onCancel(signal, (error) => {
      const position = this.#waiting.indexOf(job)
      if (position >= 0) this.#waiting.splice(position, 1)
      reject(error)
    })
    if (signal?.aborted) return promise
    if (this.#waiting.length >= this.#options.queueLimit) reject(this.#full())
    else this.#waiting.push(job)
    this.#dispatch()
    return promise.finally(stop)
  }

  #dispatch(): void {
    while (this.#waiting.length > 0) {
      const remote = this.#idle.pop() ?? (this.#remotes.size < this.#options.threads ? this.#open() : undefined)
      if (remote === undefined) return
      void this.#work(remote, this.#waiting.shift()!)
    }
  }

  async #work(remote: Remote<ImageWorker>, job: Job): Promise<void> {
    const start = performance.now()
    this.#running.add(job)
    await job.run(remote)
    this.#running.delete(job)
    this.#meanMs += 0.1 * (performance.now() - start - this.#meanMs)
    if (this.#remotes.has(remote)) this.#idle.push(remote)
    if (!this.#closed) this.#dispatch()
  }

  #open(): Remote<ImageWorker> {
    const onEnd = () => {
      this.#remotes.delete(remote)
      const position = this.#idle.indexOf(remote)
      if (position >= 0) this.#idle.splice(position, 1)
    }
    const remote: Remote<ImageWorker> = new Remote(this.#options.open(), { onEnd })
    this.#remotes.add(remote)
    return remote
  }

  #full(): EngineError<'QUEUE_FULL'> {
    const { queueLimit, threads } = this.#options
    const retryAfterSeconds = Math.max(1, Math.ceil((this.#waiting.length * this.#meanMs) / threads / 1000))
    return new EngineError('QUEUE_FULL', { limit: queueLimit, retryAfterSeconds })
  }
}

const closing = () => new EngineError('CANCELLED', { why: 'the engine is shutting down' })

/** A view may sit on a much larger buffer, all of which a message would copy: its own bytes are copied once and handed over. */
function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes)
}

/** The values of patches are few: they are copied, so that the caller keeps them. */
function withOwnFiles(drawing: Drawing): Drawing {
  if (drawing.kind === 'thumbnail') return { ...drawing, file: ownBytes(drawing.file) }
  if (drawing.kind === 'heatmap') {
    const { file, patches } = drawing
    return { ...drawing, ...(file && { file: ownBytes(file) }), patches: withOwnValues(patches) }
  }
  if (drawing.kind === 'panels') {
    const panels = drawing.panels.map(({ patches, ...panel }) => ({ ...panel, patches: withOwnValues(patches) }))
    return { ...drawing, panels, ...(drawing.file && { file: ownBytes(drawing.file) }) }
  }
  if (drawing.kind === 'marks') {
    const legend = drawing.legend.map(({ picture, ...entry }) => ({ ...entry, ...(picture && { picture: ownBytes(picture) }) }))
    return { ...drawing, legend, file: ownBytes(drawing.file) }
  }
  const tiles = drawing.tiles.map(({ file, patches, ...tile }) => ({
    ...tile,
    file: ownBytes(file),
    ...(patches && { patches: withOwnValues(patches) }),
  }))
  return { ...drawing, tiles }
}

const withOwnValues = (patches: PatchValues): PatchValues => ({ ...patches, values: Float32Array.from(patches.values) })
