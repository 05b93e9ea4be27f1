/** A compiled graph: one ONNX Runtime session, fed with weights by name. */

import type * as Ort from 'onnxruntime-node'
import { invariant } from '../../errors.js'
import type { Graph } from '../../graph/graph.js'
import type { ArrayOf, DType, Tensor } from '../../tensor.js'
import type { Program } from '../backend.js'
import { checkFetch, checkInputs } from '../feeds.js'
import { backendFailure } from './failures.js'
import type { FeedableWeights } from './feedable-weights.js'
import { toOrt } from './host-weights.js'

export interface CompiledSession {
  readonly ort: typeof Ort
  readonly graph: Graph
  readonly session: Ort.InferenceSession
  readonly bytes: number
  /** True for weights that the same device holds. */
  readonly isResident: (weights: unknown) => weights is FeedableWeights
}

export class OnnxRuntimeProgram implements Program {
  readonly bytes: number
  readonly #compiled: CompiledSession
  readonly #outputs: ReadonlySet<string>
  #isDisposed = false

  constructor(compiled: CompiledSession) {
    this.bytes = compiled.bytes
    this.#compiled = compiled
    this.#outputs = new Set(compiled.graph.outputs)
  }

  async run({ inputs, weights, fetch }: Parameters<Program['run']>[0]): Promise<Record<string, Tensor>> {
    const { ort, graph, session, isResident } = this.#compiled
    invariant(!this.#isDisposed, `program "${graph.name}" is run after it was disposed of`)
    invariant(isResident(weights), 'weights are run where they were not uploaded to')
    checkFetch(graph, this.#outputs, fetch)
    checkInputs(graph, inputs)
    const feeds: Record<string, Ort.Tensor> = { ...weights.feeds(graph) }
    for (const name of Object.keys(inputs)) feeds[name] = toOrt(ort, inputs[name]!)
    if (fetch.length === 0) return {}
    const fetched = await session.run(feeds, [...new Set(fetch)]).catch((error: unknown) => {
      throw backendFailure(error, `running "${graph.name}"`)
    })
    return Object.fromEntries(fetch.map((name) => [name, fromOrt(fetched[name]!)]))
  }

  async dispose(): Promise<void> {
    if (this.#isDisposed) return
    this.#isDisposed = true
    await this.#compiled.session.release()
  }
}

/** What a run returns is fresh memory, so nothing is copied. */
function fromOrt({ type, dims, data }: Ort.Tensor): Tensor {
  return { dtype: type as DType, shape: dims, data: data as ArrayOf[DType] }
}
