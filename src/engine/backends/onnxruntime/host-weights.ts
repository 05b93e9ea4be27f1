/**
 * Weights in the memory of this process, fed without a copy: an `ort.Tensor` only points at the array. They are made once and serve
 * every program. (Weights in shared memory are copied once.)
 */

import type * as Ort from 'onnxruntime-node'
import { invariant } from '../../errors.js'
import type { Graph } from '../../graph/graph.js'
import type { ArrayOf, DType, Tensor } from '../../tensor.js'
import { checkRead, checkWeights, checkWritten } from '../feeds.js'
import type { FeedableWeights } from './feedable-weights.js'

export class HostWeights implements FeedableWeights {
  readonly bytes: number
  readonly names: ReadonlySet<string>
  #tensors: Map<string, Tensor>
  #ortTensors: Map<string, Ort.Tensor>
  /** By graph, so that a run of a known program checks and collects nothing. */
  #feeds = new WeakMap<Graph, Readonly<Record<string, Ort.Tensor>>>()
  /** Those whose array a run made: nobody else has it. */
  readonly #own = new Set<string>()
  #nHolders = 0
  #isDisposed = false

  constructor(ort: typeof Ort, weights: Readonly<Record<string, Tensor>>) {
    this.#tensors = new Map(Object.entries(weights))
    this.#ortTensors = new Map(Object.entries(weights).map(([name, weight]) => [name, toOrt(ort, weight)]))
    this.names = new Set(this.#tensors.keys())
    this.bytes = [...this.#tensors.values()].reduce((sum, { data }) => sum + data.byteLength, 0)
  }

  feed(name: string): Ort.Tensor | undefined {
    invariant(!this.#isDisposed, 'weights are used after they were disposed of')
    return this.#ortTensors.get(name)
  }

  feeds(graph: Graph): Readonly<Record<string, Ort.Tensor>> {
    invariant(!this.#isDisposed, 'weights are used after they were disposed of')
    const known = this.#feeds.get(graph)
    if (known) return known
    checkWeights(graph, this.#tensors)
    const feeds = Object.fromEntries(Object.keys(graph.parameters).map((name) => [name, this.#ortTensors.get(name)!]))
    this.#feeds.set(graph, feeds)
    return feeds
  }

  /**
   * The arrays that the run made take the place of those there were; nothing is copied here. (Those of a session are fresh memory each time:
   * the binding copies every output, one that was preallocated as well, so that buffers of our own would save nothing.)
   */
  write(values: Readonly<Record<string, Ort.Tensor>>): void {
    invariant(!this.#isDisposed, 'weights are written to after they were disposed of')
    const written = Object.entries(values).map(([name, value]) => [name, value, fromOrt(value)] as const)
    for (const [name, , value] of written) checkWritten(name, this.#tensors.get(name)!, value)
    for (const [name, value, tensor] of written) {
      this.#tensors.set(name, tensor)
      this.#ortTensors.set(name, value)
      this.#own.add(name)
    }
    this.#feeds = new WeakMap()
  }

  hold(): () => void {
    this.#nHolders++
    return () => {
      this.#nHolders--
    }
  }

  isMade(name: string): boolean {
    return this.#own.has(name)
  }

  isWritable(name: string): boolean {
    return this.#own.has(name) && this.#nHolders === 1
  }

  async read(names: readonly string[]): Promise<Record<string, Tensor>> {
    checkRead(names, this.names)
    return Object.fromEntries(
      names.map((name) => {
        const tensor = this.#tensors.get(name)!
        return [name, { ...tensor, shape: [...tensor.shape], data: tensor.data.slice() } as Tensor]
      }),
    )
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true
    this.#tensors = new Map()
    this.#ortTensors = new Map()
    this.#feeds = new WeakMap()
  }
}

/**
 * The same array with ONNX Runtime's description around it; dtype names are the same. Native code cannot be handed shared memory, so what
 * lies there is copied.
 */
export function toOrt(ort: typeof Ort, { dtype, shape, data }: Tensor): Ort.Tensor {
  return new ort.Tensor(dtype, data.buffer instanceof SharedArrayBuffer ? data.slice() : data, shape)
}

/** The same array as ours. What a run returns is fresh memory, so nothing is copied. */
export function fromOrt({ type, dims, data }: Ort.Tensor): Tensor {
  return { dtype: type as DType, shape: dims, data: data as ArrayOf[DType] }
}
