/**
 * Weights in the memory of a device, brought there once and fed from there. Whole numbers and truth values, which are few, stay in host memory: not
 * every device computes with them.
 */

import type * as Ort from 'onnxruntime-node'
import { invariant } from '../../errors.js'
import type { Graph } from '../../graph/graph.js'
import { bytesPerElement, type DType, elementCount, type Tensor } from '../../tensor.js'
import { checkRead, checkWeights, checkWritten } from '../feeds.js'
import type { DeviceMoves } from './device-moves.js'
import type { FeedableWeights } from './feedable-weights.js'
import { fromOrt, toOrt } from './host-weights.js'

export class DeviceWeights implements FeedableWeights {
  readonly names: ReadonlySet<string>
  readonly #tensors: Map<string, Ort.Tensor>
  readonly #moves: DeviceMoves
  #isDisposed = false

  private constructor(tensors: Map<string, Ort.Tensor>, moves: DeviceMoves) {
    this.#tensors = tensors
    this.#moves = moves
    this.names = new Set(tensors.keys())
  }

  static async upload(ort: typeof Ort, moves: DeviceMoves, weights: Readonly<Record<string, Tensor>>): Promise<DeviceWeights> {
    const tensors = new Map<string, Ort.Tensor>()
    for (const [name, weight] of Object.entries(weights)) {
      const isMoved = weight.dtype === 'float32' && weight.data.length > 0
      tensors.set(name, isMoved ? await moves.toDevice(weight) : toOrt(ort, { ...weight, data: weight.data.slice() } as Tensor))
    }
    return new DeviceWeights(tensors, moves)
  }

  get bytes(): number {
    return [...this.#tensors.values()].reduce((sum, { type, dims }) => sum + elementCount(dims) * bytesPerElement[type as DType], 0)
  }

  feed(name: string): Ort.Tensor | undefined {
    invariant(!this.#isDisposed, 'weights are used after they were disposed of')
    return this.#tensors.get(name)
  }

  feeds(graph: Graph): Readonly<Record<string, Ort.Tensor>> {
    checkWeights(graph, {
      has: (name) => this.names.has(name),
      get: (name) => {
        const tensor = this.feed(name)
        return tensor && typeOf(tensor)
      },
    })
    return Object.fromEntries(Object.keys(graph.parameters).map((name) => [name, this.feed(name)!]))
  }

  async write(values: Readonly<Record<string, Ort.Tensor>>): Promise<void> {
    invariant(!this.#isDisposed, 'weights are written to after they were disposed of')
    for (const [name, value] of Object.entries(values)) checkWritten(name, typeOf(this.#tensors.get(name)!), typeOf(value))
    const arrived: [string, Ort.Tensor][] = []
    for (const [name, value] of Object.entries(values)) {
      const isMoved = value.location === 'cpu' && isOnDevice(this.#tensors.get(name)!)
      arrived.push([name, isMoved ? await this.#moves.toDevice(fromOrt(value)) : value])
    }
    for (const [name, value] of arrived) {
      release(this.#tensors.get(name)!)
      this.#tensors.set(name, value)
    }
  }

  hold(): () => void {
    return () => undefined
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
    const read: Record<string, Tensor> = {}
    for (const name of names) {
      const tensor = this.feed(name)!
      const held = isOnDevice(tensor) ? await this.#moves.toHost(tensor) : fromOrt(tensor)
      read[name] = { ...held, shape: [...held.shape], data: held.data.slice() } as Tensor
    }
    return read
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true
    for (const tensor of this.#tensors.values()) release(tensor)
    this.#tensors.clear()
  }
}

const isOnDevice = ({ location }: Ort.Tensor) => location !== 'cpu'

const typeOf = ({ type, dims }: Ort.Tensor) => ({ dtype: type as DType, shape: dims })

function release(tensor: Ort.Tensor): void {
  if (isOnDevice(tensor)) tensor.dispose()
}
