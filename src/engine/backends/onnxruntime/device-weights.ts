/**
 * Weights of which a device's memory holds what runs use. Each is brought there when a run first needs it, and leaves for others when the budget
 * asks for room (device-memory.ts); it stays in host memory all the while. Only what a run writes there is nowhere else, and is read back before it
 * leaves.
 */

import type * as Ort from 'onnxruntime-node'
import { invariant } from '../../errors.js'
import type { Graph } from '../../graph/graph.js'
import type { Tensor } from '../../tensor.js'
import { checkRead, checkWeights, checkWritten } from '../feeds.js'
import type { DeviceMemory } from './device-memory.js'
import type { DeviceMoves } from './device-moves.js'
import type { FeedableWeights } from './feedable-weights.js'
import { PagedWeight } from './paged-weight.js'

export interface DeviceWeightsOptions {
  readonly ort: typeof Ort
  readonly moves: Pick<DeviceMoves, 'toDevice' | 'toHost'>
  readonly memory: DeviceMemory
}

export class DeviceWeights implements FeedableWeights {
  readonly bytes: number
  readonly names: ReadonlySet<string>
  readonly #weights: ReadonlyMap<string, PagedWeight>
  readonly #memory: DeviceMemory
  #isDisposed = false

  constructor(weights: Readonly<Record<string, Tensor>>, { memory, ...about }: DeviceWeightsOptions) {
    this.#weights = new Map(Object.entries(weights).map(([name, weight]) => [name, new PagedWeight(weight, about)]))
    this.#memory = memory
    this.names = new Set(this.#weights.keys())
    this.bytes = [...this.#weights.values()].reduce((sum, { bytes }) => sum + bytes, 0)
  }

  feed(name: string): Ort.Tensor | undefined {
    invariant(!this.#isDisposed, 'weights are used after they were disposed of')
    return this.#weights.get(name)?.tensor
  }

  feeds(graph: Graph): Readonly<Record<string, Ort.Tensor>> {
    checkWeights(graph, { has: (name) => this.names.has(name), get: (name) => this.#weights.get(name)?.type })
    return Object.fromEntries(Object.keys(graph.parameters).map((name) => [name, this.feed(name)!]))
  }

  /** Those that find no room beside what other runs use are fed from host memory. */
  async hold(names: readonly string[]): Promise<() => void> {
    const releases: (() => void)[] = []
    const release = () => {
      for (const each of releases.splice(0)) each()
    }
    const brought: PagedWeight[] = []
    for (const name of names) {
      const weight = this.#weights.get(name)
      const letGo = weight?.isPaged ? this.#memory.hold(weight) : undefined
      if (letGo === undefined) continue
      releases.push(letGo)
      brought.push(weight!)
    }
    try {
      await this.#memory.makeRoom()
      for (const weight of brought) await weight.bring()
      return release
    } catch (error) {
      release()
      throw error
    }
  }

  async write(values: Readonly<Record<string, Ort.Tensor>>): Promise<void> {
    invariant(!this.#isDisposed, 'weights are written to after they were disposed of')
    const written = Object.entries(values).map(([name, value]) => [name, this.#weights.get(name)!, value] as const)
    for (const [name, weight, value] of written) {
      checkWritten(name, weight.type, { dtype: value.type as Tensor['dtype'], shape: value.dims })
    }
    // None of them leaves while the others are waited for.
    const onDevice = written.filter(([, weight, value]) => weight.isOnDevice || value.location !== 'cpu')
    const releases = onDevice.map(([, weight]) => this.#memory.enter(weight))
    await Promise.all(written.map(([, weight]) => weight.settled()))
    for (const [, weight, value] of written) weight.replace(value)
    for (const release of releases) release()
    await this.#memory.makeRoom()
  }

  /** No session holds a device's weights. */
  isMade(): boolean {
    return true
  }

  /** This process cannot. */
  isWritable(): boolean {
    return false
  }

  async read(names: readonly string[]): Promise<Record<string, Tensor>> {
    checkRead(names, this.names)
    invariant(!this.#isDisposed, 'weights are read after they were disposed of')
    const read: Record<string, Tensor> = {}
    for (const name of names) read[name] = await this.#weights.get(name)!.read()
    return read
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true
    for (const weight of this.#weights.values()) {
      this.#memory.remove(weight)
      await weight.dispose()
    }
  }
}
