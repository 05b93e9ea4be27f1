/**
 * Builds a graph one operator at a time. A value is the string that names it; every method that makes one returns its name.
 */

import { invariant } from '../errors.js'
import { type DType, elementCount, type Tensor } from '../tensor.js'
import type { Attribute, Axis, Dim, Graph, HookPoint, Node, ValueType } from './graph.js'
import type { OpName } from './operators.js'

export class GraphBuilder {
  readonly #name: string
  readonly #inputs: Record<string, ValueType> = {}
  readonly #parameters: Record<string, ValueType> = {}
  readonly #constants: Record<string, Tensor> = {}
  readonly #nodes: Node[] = []
  readonly #hookPoints: HookPoint[] = []
  readonly #consumed = new Set<string>()
  readonly #named = new Set<string>()
  #nextValue = 0

  constructor(name: string) {
    this.#name = name
  }

  input(name: string, dtype: DType, shape: readonly Dim[]): string {
    this.#claim(name)
    this.#inputs[name] = { dtype, shape }
    return name
  }

  parameter(name: string, shape: readonly number[], dtype: DType = 'float32'): string {
    if (name in this.#parameters) return name
    this.#claim(name)
    this.#parameters[name] = { dtype, shape }
    return name
  }

  /** A small literal. Equal literals share one value. */
  constant(literal: Tensor): string {
    invariant(elementCount(literal.shape) <= 4096, `constant of shape [${literal.shape}] is too large for a literal; make it an input`)
    const name = `const:${literal.dtype}[${literal.shape}]${Array.from(literal.data as Float32Array).join(',')}`
    if (!(name in this.#constants)) {
      this.#claim(name)
      this.#constants[name] = literal
    }
    return name
  }

  /** One operator with one output. */
  op(op: OpName, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}): string {
    return this.opMany(op, inputs, { nOutputs: 1, attributes })[0]!
  }

  /** One operator with several outputs. */
  opMany(
    op: OpName,
    inputs: readonly string[],
    { nOutputs, attributes = {} }: { nOutputs: number; attributes?: Readonly<Record<string, Attribute>> },
  ): string[] {
    const outputs = Array.from({ length: nOutputs }, () => `v${this.#nextValue++}:${op}`)
    for (const output of outputs) this.#claim(output)
    for (const input of inputs) {
      invariant(input === '' || this.#named.has(input), `${op} reads "${input}", which nothing defines`)
      this.#consumed.add(input)
    }
    this.#nodes.push({ op, inputs, outputs, attributes })
    return outputs
  }

  /**
   * Makes `value` the hook point `name`, and returns the value to go on with. A value that already is another hook point, or that
   * something already reads, gets an Identity in between, so that an edit here reaches exactly what comes after.
   */
  hook(name: string, axes: readonly Axis[], value: string): string {
    this.fire(name, value)
    this.#hookPoints.push({ name, axes, firings: [name] })
    return name
  }

  /** A hook point that fires several times, in this order; returns the values to go on with. A read returns the last. */
  hookEach(name: string, axes: readonly Axis[], values: readonly string[]): string[] {
    const firings = values.map((value, index) => this.fire(index === values.length - 1 ? name : `${name}#${index}`, value))
    this.#hookPoints.push({ name, axes, firings })
    return firings
  }

  build(outputs: readonly string[]): Graph {
    return {
      name: this.#name,
      inputs: this.#inputs,
      parameters: this.#parameters,
      constants: this.#constants,
      nodes: this.#nodes,
      outputs,
      hookPoints: this.#hookPoints,
    }
  }

  private fire(name: string, value: string): string {
    this.#claim(name)
    const last = this.#nodes.findLastIndex((node) => node.outputs.includes(value))
    const isFree = last >= 0 && !this.#consumed.has(value) && /^v\d+:/.test(value)
    if (isFree) {
      const node = this.#nodes[last]!
      this.#nodes[last] = { ...node, outputs: node.outputs.map((output) => (output === value ? name : output)) }
      this.#named.delete(value)
    } else {
      this.#consumed.add(value)
      this.#nodes.push({ op: 'Identity', inputs: [value], outputs: [name], attributes: {} })
    }
    return name
  }

  #claim(name: string): void {
    invariant(!this.#named.has(name), `value "${name}" is defined twice in graph "${this.#name}"`)
    this.#named.add(name)
  }
}
