/** A compiled graph: one ONNX Runtime session, fed with weights by name, and the nodes that this process computes after it. */

import type * as Ort from 'onnxruntime-node'
import { invariant } from '../../errors.js'
import type { Graph, Node } from '../../graph/graph.js'
import type { Tensor } from '../../tensor.js'
import type { Program, WriteBack } from '../backend.js'
import { checkFetch, checkInputs, checkWriteBack } from '../feeds.js'
import type { DeviceMemory } from './device-memory.js'
import type { FeedableWeights } from './feedable-weights.js'
import { startHostRun } from './host-run.js'
import { fromOrt, toOrt } from './host-weights.js'
import type { SessionSource } from './sessions.js'

export interface CompiledSession {
  readonly ort: typeof Ort
  readonly graph: Graph
  /** What the session runs: of the graph, all but the `hostNodes`. Undefined: nothing. */
  readonly part?: { readonly sessions: SessionSource; readonly graph: Graph }
  readonly hostNodes: readonly Node[]
  readonly bytes: number
  readonly memory: DeviceMemory
  /** Whether what becomes a weight stays in the device's memory. */
  readonly keepsOnDevice: boolean
  /** True for weights that the same device holds. */
  readonly isResident: (weights: unknown) => weights is FeedableWeights
}

interface Feeds {
  readonly inputs: Readonly<Record<string, Tensor>>
  readonly weights: FeedableWeights
  /** The weights' tensors. */
  readonly fed: Readonly<Record<string, Ort.Tensor>>
}

export class OnnxRuntimeProgram implements Program {
  readonly bytes: number
  readonly #compiled: CompiledSession
  readonly #outputs: ReadonlySet<string>
  readonly #parameters: readonly string[]
  #isDisposed = false

  constructor(compiled: CompiledSession) {
    this.bytes = compiled.bytes
    this.#compiled = compiled
    this.#outputs = new Set(compiled.graph.outputs)
    this.#parameters = Object.keys(compiled.graph.parameters)
  }

  async run({ inputs, weights, fetch, writeBack = {} }: Parameters<Program['run']>[0]): Promise<Record<string, Tensor>> {
    const { ort, graph, hostNodes, keepsOnDevice, isResident } = this.#compiled
    invariant(!this.#isDisposed, `program "${graph.name}" is run after it was disposed of`)
    invariant(isResident(weights), 'weights are run where they were not uploaded to')
    checkFetch(graph, this.#outputs, fetch)
    checkWriteBack(graph, writeBack, { outputs: this.#outputs, weights: weights.names })
    checkInputs(graph, inputs)
    const wanted = new Set([...fetch, ...Object.values(writeBack)])
    const nodes = hostNodes.filter(({ outputs }) => outputs.some((output) => wanted.has(output)))
    const takers = onlyTakers({ fetch, writeBack })
    const release = await weights.hold(wanted.size === 0 ? [] : this.#parameters)
    try {
      const fed = weights.feeds(graph)
      if (wanted.size === 0) return {}
      const stays = keepsOnDevice ? graph.outputs.filter((output) => takers.has(output)) : []
      const values = new Set([...wanted, ...nodes.flatMap((node) => node.inputs)])
      const made = await this.#runSession({ inputs, fed, weights }, { values, stays })
      const host = startHostRun(nodes, {
        valueNamed: (name) => {
          if (Object.hasOwn(graph.inputs, name)) return inputs[name]!
          if (Object.hasOwn(graph.constants, name)) return graph.constants[name]!
          return fromOrt(Object.hasOwn(fed, name) ? fed[name]! : made[name]!)
        },
        isReplaced: (output, input) => Object.hasOwn(fed, input) && takers.get(output) === input,
        isWritable: (input) => weights.isWritable(input),
      })
      for (const [name, value] of Object.entries(host.made)) made[name] = toOrt(ort, value)
      const replaced = Object.entries(writeBack).filter(([, output]) => !host.inPlace.has(output))
      // Nobody may start a run between the two, which would read some weights from before and some from after.
      const writing =
        replaced.length > 0 ? weights.write(this.#written(made, { fetch, writeBack: Object.fromEntries(replaced) })) : undefined
      host.finish()
      await writing
      return Object.fromEntries(fetch.map((name) => [name, fromOrt(made[name]!)]))
    } finally {
      release()
    }
  }

  /** Those of the values that the session makes; `stays` in the device's memory. */
  async #runSession(
    { inputs, fed, weights }: Feeds,
    { values, stays }: { readonly values: ReadonlySet<string>; readonly stays: readonly string[] },
  ): Promise<Record<string, Ort.Tensor>> {
    const { ort, graph, part, memory } = this.#compiled
    // Where results lie, the binding counts along the outputs that are asked for, not along those that there are: all, then.
    const asked = part?.graph.outputs.filter((output) => stays.length > 0 || values.has(output)) ?? []
    if (part === undefined || asked.length === 0) return {}
    const feeds: Record<string, Ort.Tensor> = {}
    for (const name of Object.keys(inputs)) feeds[name] = toOrt(ort, inputs[name]!)
    const ready = await part.sessions.get({ weights, stays })
    try {
      for (const name of ready.fed) feeds[name] = fed[name]!
      return { ...(await memory.attempt(`running "${graph.name}"`, () => ready.session.run(feeds, asked))) }
    } finally {
      ready.done()
    }
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
    await this.#compiled.part?.sessions.release()
  }
}

/** The outputs that go to one weight and to nobody else, each with that weight. */
function onlyTakers({ fetch, writeBack }: { fetch: readonly string[]; writeBack: WriteBack }): ReadonlyMap<string, string> {
  const takers = new Map<string, string>()
  const shared = new Set(fetch)
  for (const [weight, output] of Object.entries(writeBack)) {
    if (takers.has(output)) shared.add(output)
    takers.set(output, weight)
  }
  for (const output of shared) takers.delete(output)
  return takers
}
