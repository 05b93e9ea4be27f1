/**
 * TensorFlow.js as a backend: a graph is interpreted, operator by operator. It computes what the reference backend does by other code, so it is what
 * doubts are settled with, and it reaches libtensorflow where `@tensorflow/tfjs-node` or `tfjs-node-gpu` is installed.
 */

import { EngineError, invariant } from '../../errors.js'
import type { Graph } from '../../graph/graph.js'
import { attributesOf } from '../../graph/infer.js'
import { validate } from '../../graph/validate.js'
import type { Tensor } from '../../tensor.js'
import type { Backend, Program } from '../backend.js'
import { checkFetch, checkInputs, checkWeights, checkWriteBack, checkWritten } from '../feeds.js'
import { kernels as ofWholeNumbers } from '../reference/kernels.js'
import { dtypeOf, host, isHost, type Value } from './kernel.js'
import { kernels } from './kernels.js'
import { loadTf, type Tf } from './library.js'
import { CombinedWeights, owned, release, TfWeights, UploadedWeights, uploaded } from './weights.js'

export interface TfjsOptions {
  /** Which of its packages: `node-gpu`, `node`, `wasm`, `cpu`; `auto` (default) for the fastest that is installed. */
  readonly flavour?: string
}

/** @throws DEVICE_UNAVAILABLE saying what is missing */
export async function createTfjsBackend({ flavour: asked = 'auto' }: TfjsOptions = {}): Promise<Backend> {
  const { tf, flavour } = await loadTf(asked)
  return {
    name: 'tfjs',
    device: `tfjs:${flavour}`,
    precision: 'float32',
    async compile(graph) {
      refuseUnsupported(graph)
      return new TfProgram(tf, graph)
    },
    async upload(weights) {
      return new UploadedWeights(tf, weights)
    },
    combine: (parts) => new CombinedWeights(parts),
  }
}

/** @throws OPERATOR_UNSUPPORTED for float64, which TensorFlow.js does not have */
function refuseUnsupported(graph: Graph): void {
  const types = validate(graph)
  for (const { op, inputs, outputs } of graph.nodes) {
    if (![...inputs, ...outputs].some((value) => types.get(value)?.dtype === 'float64')) continue
    throw new EngineError('OPERATOR_UNSUPPORTED', { op, backend: 'tfjs', why: 'TensorFlow.js has no float64', instead: 'Use float32.' })
  }
}

class TfProgram implements Program {
  readonly bytes: number
  readonly #tf: Tf
  readonly #graph: Graph
  readonly #outputs: ReadonlySet<string>
  readonly #constants: UploadedWeights
  /** By node, the values that nobody reads after it. */
  readonly #done: readonly (readonly string[])[]

  constructor(tf: Tf, graph: Graph) {
    this.#tf = tf
    this.#graph = graph
    this.#outputs = new Set(graph.outputs)
    this.#constants = new UploadedWeights(tf, graph.constants)
    this.bytes = this.#constants.bytes
    this.#done = lastReads(graph)
  }

  async run({ inputs, weights, fetch, writeBack = {} }: Parameters<Program['run']>[0]): Promise<Record<string, Tensor>> {
    const [tf, graph] = [this.#tf, this.#graph]
    invariant(weights instanceof TfWeights, 'weights are run where they were not uploaded to')
    checkFetch(graph, this.#outputs, fetch)
    checkWriteBack(graph, writeBack, { outputs: this.#outputs, weights: weights.names })
    checkInputs(graph, inputs)
    checkWeights(graph, {
      has: (name) => weights.has(name),
      get: (name) => {
        const value = weights.get(name)
        return value && { dtype: dtypeOf(value), shape: value.shape }
      },
    })
    const made = new Map(Object.entries(inputs).map(([name, tensor]) => [name, uploaded(tf, tensor)]))
    const current = (name: string) => made.get(name) ?? weights.get(name) ?? this.#constants.get(name)!
    try {
      for (const [index, node] of graph.nodes.entries()) {
        const given = node.inputs.map((name) => (name === '' ? undefined : current(name)))
        const results = this.#compute(node, given)
        for (const [at, output] of node.outputs.entries()) made.set(output, results[at]!)
        for (const name of this.#done[index]!) {
          release(made.get(name)!)
          made.delete(name)
        }
      }
      const fetched = Object.fromEntries(fetch.map((name) => [name, owned(host(current(name)))]))
      const written = Object.entries(writeBack).map(([name, output]) => [name, current(output)] as const)
      for (const [name, value] of written) checkWritten(name, typeOf(weights.get(name)!), typeOf(value))
      for (const [name, value] of written) weights.write(name, isHost(value) ? owned(value) : tf.keep(tf.clone(value)))
      return fetched
    } finally {
      for (const value of made.values()) release(value)
    }
  }

  #compute(node: Graph['nodes'][number], inputs: readonly (Value | undefined)[]): readonly Value[] {
    const tf = this.#tf
    const call = { inputs, nOutputs: node.outputs.length, attributes: attributesOf(node) }
    if (inputs.every((input) => input === undefined || isHost(input)) && inputs.some((input) => input !== undefined)) {
      const given = inputs as readonly (Tensor | undefined)[]
      return ofWholeNumbers[node.op]({ ...call, inputs: given, float: 'float32' }).map((value) => uploaded(tf, value))
    }
    tf.engine().startScope()
    const made = kernels[node.op]({ tf, ...call })
    const kept = made.map((value) => (isHost(value) ? value : tf.keep(inputs.includes(value) ? tf.clone(value) : value)))
    tf.engine().endScope()
    return kept
  }

  async dispose(): Promise<void> {
    await this.#constants.dispose()
  }
}

const typeOf = (value: Value) => ({ dtype: dtypeOf(value), shape: value.shape })

function lastReads(graph: Graph): string[][] {
  const last = new Map<string, number>()
  for (const [index, node] of graph.nodes.entries()) {
    for (const name of [...node.outputs, ...node.inputs]) last.set(name, index)
  }
  const isKept = (name: string) =>
    graph.outputs.includes(name) || Object.hasOwn(graph.parameters, name) || Object.hasOwn(graph.constants, name) || name === ''
  const done: string[][] = graph.nodes.map(() => [])
  for (const [name, index] of last) if (!isKept(name)) done[index]!.push(name)
  return done
}
