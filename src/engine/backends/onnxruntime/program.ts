/** A compiled graph: one ONNX Runtime session, fed with weights by name. */

import type * as Ort from 'onnxruntime-node'
import { invariant } from '../../errors.js'
import type { Graph } from '../../graph/graph.js'
import type { Tensor } from '../../tensor.js'
import type { Program, WriteBack } from '../backend.js'
import { checkFetch, checkInputs, checkWriteBack } from '../feeds.js'
import { backendFailure } from './failures.js'
import type { FeedableWeights } from './feedable-weights.js'
import { fromOrt, toOrt } from './host-weights.js'

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

  async run({ inputs, weights, fetch, writeBack = {} }: Parameters<Program['run']>[0]): Promise<Record<string, Tensor>> {
    const { ort, graph, session, isResident } = this.#compiled
    invariant(!this.#isDisposed, `program "${graph.name}" is run after it was disposed of`)
    invariant(isResident(weights), 'weights are run where they were not uploaded to')
    checkFetch(graph, this.#outputs, fetch)
    checkWriteBack(graph, writeBack, { outputs: this.#outputs, weights: weights.names })
    checkInputs(graph, inputs)
    const feeds: Record<string, Ort.Tensor> = { ...weights.feeds(graph) }
    for (const name of Object.keys(inputs)) feeds[name] = toOrt(ort, inputs[name]!)
    const wanted = new Set([...fetch, ...Object.values(writeBack)])
    if (wanted.size === 0) return {}
    const fetched = await session.run(feeds, [...wanted]).catch((error: unknown) => {
      throw backendFailure(error, `running "${graph.name}"`)
    })
    if (Object.keys(writeBack).length > 0) weights.write(this.#written(fetched, { fetch, writeBack }))
    return Object.fromEntries(fetch.map((name) => [name, fromOrt(fetched[name]!)]))
  }

  /** What each weight becomes, in an array of its own: copied where the caller or another weight gets the output, too. */
  #written(
    fetched: Readonly<Record<string, Ort.Tensor>>,
    { fetch, writeBack }: { fetch: readonly string[]; writeBack: WriteBack },
  ): Record<string, Ort.Tensor> {
    const taken = new Set(fetch)
    return Object.fromEntries(
      Object.entries(writeBack).map(([name, output]) => {
        const made = fetched[output]!
        if (!taken.has(output)) {
          taken.add(output)
          return [name, made]
        }
        const tensor = fromOrt(made)
        return [name, toOrt(this.#compiled.ort, { ...tensor, data: tensor.data.slice() } as Tensor)]
      }),
    )
  }

  async dispose(): Promise<void> {
    if (this.#isDisposed) return
    this.#isDisposed = true
    await this.#compiled.session.release()
  }
}
