/**
 * Takes runs from the waiting line to the worker, one batch at a time: makes room and brings in what a run needs (model, program), merges
 * what can share the run, hands out the results. While the worker computes, the next batch gathers by itself; for those who come right after
 * it see company.ts.
 */

import { type AnalysisInput, type AnalysisName, type AnalysisOutput, analyses } from '../analyses/analyses.js'
import type { Analysis } from '../analyses/analysis.js'
import { EngineError } from '../errors.js'
import type { ModelDescription } from '../models/model.js'
import type { SaeDescription } from '../saes/load-sae.js'
import type { SaeConfig } from '../saes/sae.js'
import type { Tensor } from '../tensor.js'
import { analysisBytes } from './analysis-bytes.js'
import { onCancel, orCancelled } from './cancellation.js'
import { Company } from './company.js'
import { cosineBytes } from './decoder-reader.js'
import { type Deferred, deferred } from './deferred.js'
import {
  type AnalysisCall,
  type BatchResult,
  type EngineInfo,
  type EngineWorker,
  type Outcome,
  type Plan,
  type Structure,
  saesOf,
} from './engine-worker-calls.js'
import { exportChunks } from './export-chunks.js'
import type {
  AnalysisRequest,
  Codes,
  CodesRequest,
  CodesResult,
  DecoderCosinesRequest,
  ExportedGraph,
  ExportRequest,
  ModelSource,
  RunRequest,
  RunResult,
  RunTimings,
  SaeSource,
} from './host.js'
import type { HostEvent } from './host-events.js'
import type { MemoryBudget } from './memory-budget.js'
import { fromWire, type Remote } from './remote.js'
import { type EngineRequest, type RequestStructure, structureOf } from './structure-key.js'
import type { Supervisor } from './supervisor.js'
import { type Served, type Waiting, WaitingLine } from './waiting-line.js'
import { type WorkerMemory, weightIds } from './worker-memory.js'

export interface RunDispatcherOptions {
  readonly supervisor: Supervisor<EngineWorker, EngineInfo>
  readonly memory: WorkerMemory
  readonly budget: MemoryBudget
  readonly queueLimit: number
  /** Rows that run together at most, once the device is known. */
  readonly maxBatch: () => number
  /** Bytes that requests may come to together (their results and what computing them takes) for them to be merged. */
  readonly maxBatchBytes: number
  readonly observe: (event: HostEvent) => void
}

interface Job extends Waiting {
  /** What is run or read from, to be brought into memory. */
  readonly source: ModelSource | undefined
  readonly run?: { readonly request: EngineRequest; readonly structure: RequestStructure }
  /** In the place of a run. */
  readonly reading?: Reading
  readonly queuedAt: number
  /** Settles the job once; later calls do nothing. */
  fail(error: Error): void
  done(result: Ran | undefined): void
  isSettled(): boolean
}

/** What is computed by itself, without company: reading the weights of SAEs, an analysis. */
interface Reading {
  readonly saes: readonly SaeSource[]
  readonly what: string
  /** Working memory and answer; asked for when model and SAEs are in memory. */
  readonly bytes: (configs: readonly SaeConfig[]) => number
  readonly read: (worker: Remote<EngineWorker>) => Promise<void>
}

/** What a run gave to one request. */
interface Ran {
  readonly output?: Tensor<'float32'>
  readonly activations: Readonly<Record<string, Tensor<'float32'>>>
  readonly codes: readonly Codes[]
  readonly timings: RunTimings
}

/** A run's share of the time, in ms, and what of it the batch as a whole took. */
interface Stages {
  readonly startedAt: number
  readonly load: number
  readonly compile: number
}

export class RunDispatcher {
  readonly #options: RunDispatcherOptions
  readonly #line: WaitingLine<Job>
  readonly #company: Company
  #pump: Promise<void> | undefined
  #serving: readonly Job[] = []
  #isClosed = false
  /** Running means, for the estimate of when a full queue is worth another try. */
  #meanServiceMs = 100
  #meanBatch = 1
  #totals = { count: 0, requests: 0, rows: 0 }

  constructor(options: RunDispatcherOptions) {
    this.#options = options
    this.#line = new WaitingLine({ limit: options.queueLimit, pin: (id) => options.budget.pin(id) })
    this.#company = new Company(this.#line)
  }

  /** Since the start, for the metrics. */
  get totals(): { readonly count: number; readonly requests: number; readonly rows: number } {
    return this.#totals
  }

  get queueLength(): number {
    return this.#line.length
  }

  get queueLimit(): number {
    return this.#options.queueLimit
  }

  /** Requests that wait or are being served. */
  get nRequests(): number {
    return this.#line.length + this.#serving.length
  }

  /** Whether those who wait fill the next run: who comes now waits for more than that one. */
  get isBusy(): boolean {
    const maxRows = this.#options.maxBatch()
    return this.#line.items.reduce((sum, { mergeKey, nRows }) => sum + (mergeKey === undefined ? 1 : nRows / maxRows), 0) >= 1
  }

  /** What those who wait or are being served need, by its ids in the memory budget. */
  get needs(): ReadonlySet<string> {
    return new Set([...this.#line.items, ...this.#serving].flatMap(({ needs }) => needs))
  }

  async run(request: RunRequest, signal?: AbortSignal): Promise<RunResult> {
    const { output, activations, timings } = await this.#dispatch(request, signal)
    return { output: output!, activations, timings }
  }

  async codes(request: CodesRequest, signal?: AbortSignal): Promise<CodesResult> {
    const { codes, timings } = await this.#dispatch({ ...request, read: [], output: false }, signal)
    return { codes, timings }
  }

  #dispatch(request: EngineRequest, signal: AbortSignal | undefined): Promise<Ran> {
    const structure = structureOf(request)
    const ran = deferred<Ran | undefined>()
    const needs = this.#options.memory.needs(request.model.key, structure)
    this.#enqueue({ source: request.model, run: { request, structure }, needs, nRows: structure.nRows }, ran, signal)
    return ran.promise as Promise<Ran>
  }

  load(source: ModelSource, signal?: AbortSignal): Promise<void> {
    const loaded = deferred<Ran | undefined>()
    this.#enqueue({ source, needs: this.#options.memory.needs(source.key), nRows: 0 }, loaded, signal)
    return loaded.promise.then(() => undefined)
  }

  decoderRows({ sae, latents }: { readonly sae: SaeSource; readonly latents: readonly number[] }, signal?: AbortSignal) {
    const bytes = ([config]: readonly SaeConfig[]) => 8 * latents.length * config!.dOut
    const read = (worker: Remote<EngineWorker>) => worker.call('decoderRows', [sae.key, latents])
    return this.#byItself({ saes: [sae], what: `Reading "${sae.key}"`, bytes, read }, signal)
  }

  decoderCosines({ model, sae, embeddings }: DecoderCosinesRequest, signal?: AbortSignal) {
    const [n, width] = embeddings.shape as [number, number]
    const bytes = ([config]: readonly SaeConfig[]) => cosineBytes(config!, { width, n })
    const read = (worker: Remote<EngineWorker>) => worker.call('decoderCosines', [{ model: model.key, sae: sae.key }, embeddings])
    return this.#byItself({ model, saes: [sae], what: `Reading "${sae.key}"`, bytes, read }, signal)
  }

  analyse<Name extends AnalysisName>(
    name: Name,
    { model, saes = [], input }: AnalysisRequest<Name>,
    signal?: AbortSignal,
  ): Promise<AnalysisOutput<Name>> {
    const cost = (analyses[name] as Analysis<AnalysisInput<Name>, unknown>).cost(input)
    const bytes = (configs: readonly SaeConfig[]) => analysisBytes(cost, { row: this.#options.memory.rowSize(model.key), configs })
    const read = (worker: Remote<EngineWorker>) =>
      worker.call('analyse', [{ name, model: model.key, saes: saes.map(({ key }) => key), input } as AnalysisCall], { signal }) as Promise<
        AnalysisOutput<Name>
      >
    return this.#byItself({ model, saes, what: `The analysis "${name}"`, bytes, read }, signal)
  }

  async exportGraph(request: ExportRequest, signal?: AbortSignal): Promise<ExportedGraph> {
    const { model, tower, read: hookPoints, edits, editSaes = [], output, saes, nRows, ...how } = request
    const sources = saesOf({ saes, editSaes })
    const about = { model, saes: sources, what: `The graph of "${model.key}"` }
    const structure = { key: '', model: model.key, tower, read: hookPoints, edits, editSaes, output, saes, nRows }
    const makeFile = (worker: Remote<EngineWorker>) => worker.call('exportGraph', [{ structure, ...how }])
    const file = await this.#byItself({ ...about, bytes: () => exportedGraphBytes, read: makeFile }, signal)
    const weights = (names: readonly string[], bytes: number) => {
      const call = { model: model.key, tower, saes: sources.map(({ key }) => key), names }
      return this.#byItself({ ...about, bytes: () => bytes, read: (worker) => worker.call('readWeights', [call]) }, signal)
    }
    return { byteLength: file.byteLength, chunks: exportChunks(file, weights, signal) }
  }

  /** Takes its turn in the line as a run does. */
  async #byItself<T>(
    { model, read, ...about }: Omit<Reading, 'read'> & { model?: ModelSource; read(worker: Remote<EngineWorker>): Promise<T> },
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const done = deferred<Ran | undefined>()
    let answer: T | undefined
    const reading: Reading = {
      ...about,
      read: async (worker) => {
        answer = await read(worker)
      },
    }
    this.#enqueue({ source: model, reading, needs: weightIds({ model, saes: about.saes }), nRows: 0 }, done, signal)
    await done.promise
    return answer as T
  }

  async inspect(source: ModelSource, signal?: AbortSignal): Promise<ModelDescription> {
    const worker = await orCancelled(this.#options.supervisor.remote(), signal)
    return orCancelled(worker.call('inspect', [source]), signal)
  }

  async inspectSae(source: SaeSource, signal?: AbortSignal): Promise<SaeDescription> {
    const worker = await orCancelled(this.#options.supervisor.remote(), signal)
    return orCancelled(worker.call('inspectSae', [source]), signal)
  }

  /** Takes no more requests, and waits until those there are have been served or `deadline` comes; then calls off the rest. */
  async close(deadline: Promise<void>): Promise<void> {
    this.#isClosed = true
    await Promise.race([this.#pump, deadline])
    for (const job of [...this.#line.clear(), ...this.#serving]) job.fail(closing())
  }

  #enqueue(
    about: Pick<Job, 'source' | 'run' | 'reading' | 'needs' | 'nRows'>,
    result: Deferred<Ran | undefined>,
    signal: AbortSignal | undefined,
  ): void {
    if (this.#isClosed) {
      result.reject(closing())
      return
    }
    let isSettled = false
    const settle = (how: () => void) => {
      if (isSettled) return
      isSettled = true
      stopListening()
      how()
    }
    const job: Job = {
      ...about,
      mergeKey: about.run?.structure.mergeKey,
      queuedAt: performance.now(),
      fail: (error) => settle(() => result.reject(error)),
      done: (value) => settle(() => result.resolve(value)),
      isSettled: () => isSettled,
    }
    let stopListening: () => void = () => undefined
    stopListening = onCancel(signal, (error) => {
      this.#line.remove(job)
      job.fail(error)
    })
    if (isSettled) return
    try {
      this.#line.push(job, () => this.#retryAfterSeconds())
    } catch (error) {
      job.fail(error as Error)
      return
    }
    this.#company.arrived()
    this.#pump ??= this.#serveAll()
  }

  async #serveAll(): Promise<void> {
    for (;;) {
      const gathered = this.#company.gathered()
      if (gathered) await gathered
      const next = this.#line.next()
      if (next === undefined) break
      await this.#serve(next)
    }
    this.#pump = undefined // in the same step that found the line empty: whoever comes next starts the pump again
  }

  /** Serves one and those that join it. They are answered last, when nothing is pinned for them any more. */
  async #serve({ item: job, unpin }: Served<Job>): Promise<void> {
    const unpins = [unpin]
    this.#serving = [job]
    let answer: () => void
    try {
      answer = await this.#work(job, unpins)
    } catch (error) {
      const failed = this.#serving
      answer = () => {
        for (const each of failed) each.fail(error as Error)
      }
      if (this.#canWaitForMemory(error)) answer = () => this.#line.defer(job)
    }
    this.#serving = []
    for (const each of unpins) each()
    answer()
  }

  async #work(job: Job, unpins: (() => void)[]): Promise<() => void> {
    const { supervisor, memory } = this.#options
    const worker = await supervisor.remote()
    memory.attach(worker)
    if (job.isSettled()) return () => undefined
    const startedAt = performance.now()
    let load = job.source ? await memory.ensureModel(worker, job.source) : 0
    if (job.reading) await this.#serveReading(worker, job.reading)
    if (job.run === undefined) return () => job.done(undefined)
    for (const sae of saesOf(job.run.structure)) load += await memory.ensureSae(worker, sae)
    const { plan, compileMs } = await memory.ensureProgram(worker, job.run.structure, unpins)
    return this.#runBatch(worker, job, plan, { startedAt, load, compile: compileMs })
  }

  async #serveReading(worker: Remote<EngineWorker>, { saes, what, bytes, read }: Reading): Promise<void> {
    const { memory } = this.#options
    for (const sae of saes) await memory.ensureSae(worker, sae)
    const configs = saes.map(({ key }) => memory.saeConfig(key))
    await this.#withMemory({ bytes: bytes(configs), what }, () => read(worker))
  }

  /** What is computed is in the budget while it lasts. */
  async #withMemory<T>({ bytes, what }: { bytes: number; what: string }, compute: () => Promise<T>): Promise<T> {
    const { budget } = this.#options
    const unpin = budget.pin(runId)
    try {
      budget.reserve({ id: runId, kind: 'run', bytes, what, evict: () => undefined })
      return await compute()
    } finally {
      budget.release(runId)
      unpin()
    }
  }

  async #runBatch(worker: Remote<EngineWorker>, head: Job, plan: Plan, stages: Stages): Promise<() => void> {
    const { budget, maxBatch, maxBatchBytes, observe } = this.#options
    // While a row is computed, its result is there twice: where the backend makes it, and where it goes.
    const computing = plan.outputBytesPerRow + plan.workingBytesPerRow
    const fitting = (bytes: number) => Math.max(1, Math.min(maxBatch(), Math.floor(bytes / (plan.outputBytesPerRow + computing))))
    const maxRows = fitting(maxBatchBytes)
    const mates = plan.couplesRows ? [] : this.#line.mates(head, Math.min(maxRows, fitting(budget.availableBytes())))
    const jobs = [head, ...mates].filter((job) => !job.isSettled())
    if (jobs.length === 0) return () => undefined
    this.#serving = jobs
    const nRows = jobs.reduce((sum, job) => sum + job.nRows, 0)
    const atOnce = plan.needsWholeRequest ? nRows : Math.min(nRows, maxRows)
    const bytes = nRows * plan.outputBytesPerRow + atOnce * computing
    return this.#withMemory({ bytes, what: `A run of ${nRows} inputs` }, async () => {
      const sentAt = performance.now()
      const members = jobs.map(({ run }) => ({ inputs: run!.request.inputs, edits: run!.request.edits }))
      const structure = head.run!.structure
      const result = await worker.call('run', [
        { model: structure.model, structure: structure.key, maxRows, members, saes: structure.saes },
      ])
      this.#count({ nRequests: jobs.length, nRows, ms: performance.now() - sentAt })
      observe({ kind: 'run', nRequests: jobs.length, nRows, ms: result.runMs })
      return () => {
        for (const [index, job] of jobs.entries()) handOut(job, structure, result.outcomes[index]!, timings(job, stages, result))
        const mergeKey = plan.couplesRows ? undefined : head.mergeKey
        this.#company.parted({ mergeKey, nRequests: jobs.length, ms: result.runMs, maxRows })
      }
    })
  }

  /** Whether what does not fit now may fit once others in the line, who have pinned what they need, have been served. */
  #canWaitForMemory(error: unknown): boolean {
    if (!(error instanceof EngineError && error.code === 'MEMORY_EXCEEDED')) return false
    const { neededBytes, budgetBytes } = (error as EngineError<'MEMORY_EXCEEDED'>).details
    return neededBytes <= budgetBytes && this.#serving.length === 1 && this.#line.holdsPins
  }

  #count({ nRequests, nRows, ms }: { nRequests: number; nRows: number; ms: number }): void {
    const { count, requests, rows } = this.#totals
    this.#totals = { count: count + 1, requests: requests + nRequests, rows: rows + nRows }
    this.#meanServiceMs += 0.2 * (ms - this.#meanServiceMs)
    this.#meanBatch += 0.2 * (nRequests - this.#meanBatch)
  }

  #retryAfterSeconds(): number {
    return Math.max(1, Math.ceil(((this.#line.length / this.#meanBatch) * this.#meanServiceMs) / 1000))
  }
}

const runId = 'run'
/** Of a file without its weights, generously. */
const exportedGraphBytes = 16 * 2 ** 20
const closing = () => new EngineError('CANCELLED', { why: 'the engine is shutting down' })

function timings(job: Job, { startedAt, load, compile }: Stages, { runMs }: BatchResult): RunResult['timings'] {
  const queue = Math.max(0, startedAt - job.queuedAt)
  return { queue, load, compile, run: runMs }
}

function handOut(job: Job, structure: Structure, outcome: Outcome, timings: RunResult['timings']): void {
  if ('error' in outcome) {
    job.fail(fromWire(outcome.error))
    return
  }
  const { activations: read, ...rest } = outcome
  const byName = new Map(structure.read.map((name, index) => [name, read[index]!]))
  const activations: Record<string, Tensor<'float32'>> = {}
  for (const name of job.run!.request.read) activations[name] = byName.get(name)!
  job.done({ ...rest, activations, timings })
}
