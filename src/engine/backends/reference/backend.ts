/**
 * The reference backend: plain TypeScript, slow and obvious. It defines what the operators mean, and in float64 it says whether a
 * difference between two backends is rounding or a mistake.
 */

import { invariant } from '../../errors.js'
import type { Graph } from '../../graph/graph.js'
import { attributesOf } from '../../graph/infer.js'
import { validate } from '../../graph/validate.js'
import type { DType, Tensor } from '../../tensor.js'
import { type Backend, combinedNames, type Program, type ResidentWeights, type WeightPart } from '../backend.js'
import { checkFetch, checkInputs, checkRead, checkWeights, checkWriteBack, checkWritten } from '../feeds.js'
import { kernels } from './kernels.js'

export interface ReferenceOptions {
  /**
   * `float32`: results of operators are rounded to float32. `float64`: the same graphs run with float64 wherever they say float32;
   * feeds may be either, and results are float64. Default `float32`.
   */
  readonly precision?: 'float32' | 'float64'
}

export function createReferenceBackend({ precision = 'float32' }: ReferenceOptions = {}): Backend {
  const accepts = (declared: DType, given: DType) =>
    declared === given || (precision === 'float64' && declared === 'float32' && given === 'float64')
  const atPrecision = (tensors: Readonly<Record<string, Tensor>>) =>
    new Map(Object.entries(tensors).map(([name, tensor]) => [name, precision === 'float64' ? widen(tensor) : tensor]))

  return {
    name: 'reference',
    device: 'cpu',
    precision,
    async compile(graph) {
      validate(graph)
      const outputs = new Set(graph.outputs)
      const constants = atPrecision(graph.constants)
      return {
        bytes: [...constants.values()].reduce((sum, { data }) => sum + data.byteLength, 0),
        async run({ inputs, weights, fetch, writeBack = {} }) {
          invariant(weights instanceof ReferenceWeights, 'weights are run where they were not uploaded to')
          checkFetch(graph, outputs, fetch)
          checkWriteBack(graph, writeBack, { outputs, weights: weights.names })
          checkInputs(graph, inputs, accepts)
          checkWeights(graph, weights.tensors, accepts)
          const values = evaluate(graph, new Map([...constants, ...weights.tensors, ...atPrecision(inputs)]), precision)
          const written = Object.entries(writeBack).map(([name, output]) => [name, values.get(output)!] as const)
          for (const [name, value] of written) checkWritten(name, weights.tensors.get(name)!, value)
          for (const [name, value] of written) weights.write(name, copy(value))
          // A value may share its data with a feed or another value; what the caller gets is its own.
          return Object.fromEntries(fetch.map((name) => [name, copy(values.get(name)!)]))
        },
        async dispose() {},
      } satisfies Program
    },
    async upload(weights) {
      return new UploadedWeights(atPrecision(weights))
    },
    combine(parts) {
      return new CombinedWeights(parts)
    },
  }
}

abstract class ReferenceWeights implements ResidentWeights {
  abstract readonly names: ReadonlySet<string>
  /** As they are now. */
  abstract readonly tensors: ReadonlyMap<string, Tensor>
  abstract write(name: string, value: Tensor): void
  abstract dispose(): Promise<void>

  get bytes(): number {
    return [...this.tensors.values()].reduce((sum, { data }) => sum + data.byteLength, 0)
  }

  async read(names: readonly string[]): Promise<Record<string, Tensor>> {
    checkRead(names, this.names)
    return Object.fromEntries(names.map((name) => [name, copy(this.tensors.get(name)!)]))
  }
}

class UploadedWeights extends ReferenceWeights {
  readonly names: ReadonlySet<string>
  readonly tensors: Map<string, Tensor>

  constructor(tensors: Map<string, Tensor>) {
    super()
    this.tensors = tensors
    this.names = new Set(tensors.keys())
  }

  write(name: string, value: Tensor): void {
    this.tensors.set(name, value)
  }

  async dispose(): Promise<void> {
    this.tensors.clear()
  }
}

class CombinedWeights extends ReferenceWeights {
  readonly names: ReadonlySet<string>
  readonly #found: ReturnType<typeof combinedNames>

  constructor(parts: readonly WeightPart[]) {
    super()
    for (const part of parts) own(part)
    this.#found = combinedNames(parts)
    this.names = new Set(this.#found.keys())
  }

  get tensors(): ReadonlyMap<string, Tensor> {
    return new Map([...this.#found].map(([combined, { part, name }]) => [combined, own(part).tensors.get(name)!]))
  }

  write(combined: string, value: Tensor): void {
    const { part, name } = this.#found.get(combined)!
    own(part).write(name, value)
  }

  /** The parts stay. */
  async dispose(): Promise<void> {}
}

function own({ weights }: WeightPart): ReferenceWeights {
  invariant(weights instanceof ReferenceWeights, 'weights are combined where they were not uploaded to')
  return weights
}

/** Adds the value of every node to `values`. */
function evaluate(graph: Graph, values: Map<string, Tensor>, float: 'float32' | 'float64'): Map<string, Tensor> {
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((input) => (input === '' ? undefined : values.get(input)!))
    const results = kernels[node.op]({ inputs, nOutputs: node.outputs.length, attributes: attributesOf(node), float })
    for (const [index, output] of node.outputs.entries()) values.set(output, results[index]!)
  }
  return values
}

function widen(tensor: Tensor): Tensor {
  return tensor.dtype === 'float32'
    ? { dtype: 'float64', shape: tensor.shape, data: Float64Array.from(tensor.data as Float32Array) }
    : tensor
}

function copy(tensor: Tensor): Tensor {
  return { ...tensor, shape: [...tensor.shape], data: tensor.data.slice() } as Tensor
}
