/**
 * One device: the worker that owns it, what is in its memory, and the line of those who wait for it.
 */

import type { DeviceMemoryUse } from '../backends/backend.js'
import type { Channel } from './channel.js'
import { mostRows } from './device-names.js'
import type { EngineInfo, EngineOptions, EngineWorker } from './engine-worker-calls.js'
import type { DeviceStatus, LoadedWeights } from './host.js'
import type { HostEvent } from './host-events.js'
import type { MemoryBudget, ResidentKind } from './memory-budget.js'
import type { Place } from './placement.js'
import { RunDispatcher } from './run-dispatcher.js'
import { type RestartPolicy, Supervisor } from './supervisor.js'
import { WorkerMemory } from './worker-memory.js'

export interface DeviceOptions extends EngineOptions {
  readonly budget: MemoryBudget
  readonly queueLimit: number
  /** Default: what suits the device. */
  readonly maxBatch?: number | undefined
  readonly maxBatchBytes: number
  readonly restart: RestartPolicy
  readonly open: () => Channel
  readonly observe: (event: HostEvent) => void
}

/** What a device's budget is filled with; a single device shares its own with pictures and caches. */
const ownKinds: readonly ResidentKind[] = ['model', 'sae', 'program', 'run']

export class Device {
  readonly budget: MemoryBudget
  readonly memory: WorkerMemory
  readonly dispatcher: RunDispatcher
  readonly #name: string
  readonly #supervisor: Supervisor<EngineWorker, EngineInfo>
  #deviceMemory: DeviceMemoryUse | undefined

  constructor({ budget, queueLimit, maxBatch, maxBatchBytes, restart, open, observe, ...engine }: DeviceOptions) {
    this.budget = budget
    this.#name = engine.device
    this.memory = new WorkerMemory({ budget, observe })
    this.#supervisor = new Supervisor<EngineWorker, EngineInfo>({
      open,
      start: (remote) => remote.call('start', [engine]),
      policy: restart,
      onState: (memory) => {
        this.#deviceMemory = memory as DeviceMemoryUse | undefined
      },
      onDeath: (reason) => {
        this.memory.forget()
        this.#deviceMemory = undefined
        observe({ kind: 'worker-died', device: this.name, reason })
      },
    })
    this.dispatcher = new RunDispatcher({
      supervisor: this.#supervisor,
      memory: this.memory,
      budget,
      observe,
      queueLimit,
      maxBatch: () => maxBatch ?? mostRows(this.name),
      maxBatchBytes,
    })
  }

  /** Where it computes; what it was asked for until it has told. */
  get name(): string {
    return this.#supervisor.info?.device ?? this.#name
  }

  /** @throws DEVICE_UNAVAILABLE, or the reason why the worker does not start */
  async started(): Promise<void> {
    await this.#supervisor.remote()
  }

  /**
   * As it is for a request that wants these weights.
   * @param wanted    ids in the memory budget
   * @param bytesOf   of all weights that were ever wanted
   */
  placeFor(wanted: readonly string[], bytesOf: ReadonlyMap<string, number>): Place {
    const { budget, dispatcher } = this
    const coming = [...dispatcher.needs].filter((id) => !budget.has(id))
    const bytes = (ids: readonly string[]) => ids.reduce((sum, id) => sum + (bytesOf.get(id) ?? 0), 0)
    return {
      state: this.#supervisor.state,
      heldBytes: bytes(wanted.filter((id) => budget.has(id) || coming.includes(id))),
      freeBytes: budget.budgetBytes - budget.usedBytes - bytes(coming),
      roomBytes: budget.availableBytes(wanted),
      nRequests: dispatcher.nRequests,
      isBusy: dispatcher.isBusy,
    }
  }

  status(): DeviceStatus {
    const { budget, memory, dispatcher } = this
    const { state, info, restarts } = this.#supervisor
    return {
      device: info?.device ?? this.#name,
      backend: info?.backend ?? '',
      state,
      queueLength: dispatcher.queueLength,
      queueLimit: dispatcher.queueLimit,
      restarts,
      ...(this.#deviceMemory && { deviceMemory: this.#deviceMemory }),
      memory: { budgetBytes: budget.budgetBytes, usedBytes: ownKinds.reduce((sum, kind) => sum + budget.bytesOf(kind), 0) },
      models: this.#loaded('model'),
      saes: this.#loaded('sae'),
      programs: {
        count: budget.residents('program').length,
        bytes: budget.bytesOf('program'),
        compiled: memory.compiled,
        hits: memory.programHits,
      },
      runs: dispatcher.totals,
    }
  }

  /** Once what it was asked for is done, or `deadline` comes. */
  async close(deadline: Promise<void>): Promise<void> {
    await this.dispatcher.close(deadline)
    await this.#supervisor.close()
  }

  #loaded(kind: 'model' | 'sae'): LoadedWeights[] {
    return this.budget.residents(kind).map(({ id, bytes }) => ({ key: id.slice(kind.length + 1), bytes, inUse: this.budget.isPinned(id) }))
  }
}
