/**
 * What is in the worker's memory, as seen from the calling side: models, SAEs and compiled programs, each entered in the memory budget before it
 * is brought in. The ledger is on this side so that it stays right when the worker dies.
 */

import type { ModelDescription } from '../models/model.js'
import type { SaeDescription } from '../saes/load-sae.js'
import type { SaeConfig } from '../saes/sae.js'
import type { RowSize } from './analysis-bytes.js'
import { type EngineWorker, type Plan, type Structure, saesOf } from './engine-worker-calls.js'
import type { ModelSource, SaeSource } from './host.js'
import type { HostEvent } from './host-events.js'
import type { MemoryBudget } from './memory-budget.js'
import type { Remote } from './remote.js'

export interface WorkerMemoryOptions {
  readonly budget: MemoryBudget
  readonly observe: (event: HostEvent) => void
}

/** Weights to bring in. */
interface Weights {
  readonly id: string
  readonly kind: 'model' | 'sae'
  readonly what: string
  /** The bytes that the files' headers say. */
  readonly inspect: () => Promise<number>
  readonly load: () => Promise<{ readonly bytes: number }>
  readonly evict: () => void
  readonly loaded: (bytes: number, ms: number) => void
}

/** A model and SAEs. */
export interface WeightSources {
  readonly model?: ModelSource | undefined
  readonly saes: readonly SaeSource[]
}

/** Ids in the memory budget. */
export const weightIds = ({ model, saes }: WeightSources): readonly string[] => [
  ...(model ? [modelId(model.key)] : []),
  ...saes.map(({ key }) => saeId(key)),
]

export interface ReadyProgram {
  readonly plan: Plan
  /** Milliseconds it took to bring in; 0 when the structure was known. */
  readonly compileMs: number
}

export class WorkerMemory {
  readonly #budget: MemoryBudget
  readonly #observe: WorkerMemoryOptions['observe']
  /** What is known of structures, by model and then by structure; each one's program is in memory. */
  readonly #plans = new Map<string, Map<string, Plan>>()
  /** By id in the budget, of whatever was once loaded. */
  readonly #weightBytes = new Map<string, number>()
  /** By key, of whatever was once loaded. */
  readonly #saeConfigs = new Map<string, SaeConfig>()
  readonly #rows = new Map<string, RowSize>()
  #worker: Remote<EngineWorker> | undefined
  /** Counted for the metrics. */
  programHits = 0
  compiled = 0

  constructor({ budget, observe }: WorkerMemoryOptions) {
    this.#budget = budget
    this.#observe = observe
  }

  /** The worker that the next calls are about. */
  attach(worker: Remote<EngineWorker>): void {
    this.#worker = worker
  }

  /** The worker died, and all that it held with it. */
  forget(): void {
    for (const kind of ['model', 'sae', 'program'] as const) {
      for (const { id } of this.#budget.residents(kind)) this.#budget.release(id)
    }
    this.#plans.clear()
    this.#worker = undefined
  }

  /** Ids in the memory budget of what a run needs, as far as they are known; to be pinned while it waits. */
  needs(model: string, structure?: Structure): readonly string[] {
    const plan = structure && this.#plans.get(model)?.get(structure.key)
    const saes = structure ? saesOf(structure).map(({ key }) => saeId(key)) : []
    return [modelId(model), ...saes, ...(plan === undefined ? [] : [programId(plan.program)])]
  }

  /**
   * Brings a model in; returns the ms that took, 0 when it was there. The caller has pinned it.
   *
   * @throws MEMORY_EXCEEDED before anything is loaded when the files' headers say that it does not fit; every error of model files
   */
  async ensureModel(worker: Remote<EngineWorker>, source: ModelSource): Promise<number> {
    const { key } = source
    return this.#ensureWeights({
      id: modelId(key),
      kind: 'model',
      what: `Model "${key}"`,
      inspect: async () => modelBytes(await worker.call('inspect', [source])),
      load: async () => {
        const { bytes, row } = await worker.call('load', [source])
        this.#rows.set(key, row)
        return { bytes }
      },
      evict: () => this.#dropModel(key),
      loaded: (bytes, ms) => this.#observe({ kind: 'load', model: key, bytes, ms }),
    })
  }

  /** The same for an SAE. @throws MEMORY_EXCEEDED; every error of SAE files */
  async ensureSae(worker: Remote<EngineWorker>, source: SaeSource): Promise<number> {
    const { key } = source
    return this.#ensureWeights({
      id: saeId(key),
      kind: 'sae',
      what: `SAE "${key}"`,
      inspect: async () => {
        const description = await worker.call('inspectSae', [source])
        this.#saeConfigs.set(key, description.config)
        return saeBytes(description)
      },
      load: () => worker.call('loadSae', [source]),
      evict: () => this.#tell('unloadSae', key),
      loaded: (bytes, ms) => this.#observe({ kind: 'load-sae', sae: key, bytes, ms }),
    })
  }

  /** Of an SAE that was brought in. */
  saeConfig(key: string): SaeConfig {
    return this.#saeConfigs.get(key)!
  }

  /** What a run takes for each input, of a model that was brought in. */
  rowSize(model: string): RowSize {
    return this.#rows.get(model)!
  }

  async #ensureWeights({ id, kind, what, inspect, load, evict, loaded }: Weights): Promise<number> {
    if (this.#budget.touch(id)) return 0
    const start = performance.now()
    const expected = this.#weightBytes.get(id) ?? (await inspect())
    this.#budget.reserve({ id, kind, bytes: expected, what, evict })
    try {
      const { bytes } = await load()
      this.#weightBytes.set(id, bytes)
      this.#budget.resize(id, bytes)
      const ms = performance.now() - start
      loaded(bytes, ms)
      return ms
    } catch (error) {
      this.#budget.release(id)
      throw error
    }
  }

  /**
   * Brings a structure's program in and pins it; the pin is added to `unpins` and is the caller's to let go of.
   *
   * @throws MEMORY_EXCEEDED, and every error of reading and editing
   */
  async ensureProgram(worker: Remote<EngineWorker>, structure: Structure, unpins: (() => void)[]): Promise<ReadyProgram> {
    const start = performance.now()
    const known = this.#plans.get(structure.model)?.get(structure.key)
    const plan = known ?? (await worker.call('plan', [structure]))
    const id = programId(plan.program)
    unpins.push(this.#budget.pin(id))
    if (this.#budget.touch(id)) {
      this.programHits++
      this.#remember(structure, plan)
      return { plan, compileMs: known === undefined ? performance.now() - start : 0 }
    }
    try {
      const evict = () => this.#dropProgram(plan.program)
      this.#budget.reserve({ id, kind: 'program', bytes: plan.estimatedBytes, what: 'A compiled program', evict })
      const { bytes } = await worker.call('compile', [plan.program])
      this.#budget.resize(id, bytes)
    } catch (error) {
      this.#budget.release(id)
      this.#dropProgram(plan.program)
      throw error
    }
    this.compiled++
    this.#remember(structure, plan)
    const compileMs = performance.now() - start
    this.#observe({ kind: 'compile', program: plan.program, ms: compileMs })
    return { plan, compileMs }
  }

  async unload(model: string): Promise<void> {
    if (await this.#releaseIdle(modelId(model))) this.#dropModel(model)
  }

  async unloadSae(sae: string): Promise<void> {
    if (await this.#releaseIdle(saeId(sae))) this.#tell('unloadSae', sae)
  }

  async #releaseIdle(id: string): Promise<boolean> {
    while (this.#budget.isPinned(id)) await this.#budget.idle(id)
    return this.#budget.release(id)
  }

  #remember(structure: Structure, plan: Plan): void {
    const ofModel = this.#plans.get(structure.model) ?? new Map<string, Plan>()
    ofModel.set(structure.key, plan)
    this.#plans.set(structure.model, ofModel)
  }

  #dropModel(model: string): void {
    this.#plans.delete(model)
    this.#tell('unload', model)
  }

  #dropProgram(program: string): void {
    for (const ofModel of this.#plans.values()) {
      for (const [key, plan] of ofModel) if (plan.program === program) ofModel.delete(key)
    }
    this.#tell('drop', program)
  }

  /** The worker takes calls in order, so what is dropped is gone before what it made room for comes. If it dies, that is as good. */
  #tell(method: 'unload' | 'unloadSae' | 'drop', name: string): void {
    this.#worker?.call(method, [name]).catch(() => undefined)
  }
}

export const modelId = (key: string) => `model:${key}`
export const saeId = (key: string) => `sae:${key}`
const programId = (program: string) => `program:${program}`

/** What a model takes in memory, as its files' headers say it; weights are computed with as float32. */
export const modelBytes = ({ vision, text }: ModelDescription) => 4 * (vision.nParameters + (text?.nParameters ?? 0))

/** The same of an SAE. */
export const saeBytes = ({ nParameters }: SaeDescription) => 4 * nParameters
