/**
 * Builds a graph one operator at a time, or what an edit adds to one. A value is the string that names it; every method that makes one
 * returns its name.
 */

import { createHash } from 'node:crypto'
import { invariant } from '../errors.js'
import { type DType, elementCount, type Tensor } from '../tensor.js'
import type { Attribute, Axis, Declarations, Dim, Graph, HookPoint, Node, ValueType } from './graph.js'
import type { OpName } from './op-name.js'

/** A graph that a builder's nodes go into, as they see it. */
export interface Surroundings extends Declarations {
  /** Where a value is made, seen from where the nodes go; undefined: there is none of that name. */
  whereMade(value: string): 'before' | 'later' | undefined
}

const nothing: Surroundings = { inputs: {}, parameters: {}, constants: {}, whereMade: () => undefined }

export class GraphBuilder {
  readonly #name: string
  readonly #inputs: Record<string, ValueType> = {}
  readonly #parameters: Record<string, ValueType> = {}
  readonly #constants: Record<string, Tensor> = {}
  readonly #nodes: Node[] = []
  readonly #hookPoints: HookPoint[] = []
  readonly #consumed = new Set<string>()
  readonly #named = new Set<string>()
  readonly #around: Surroundings
  readonly #prefix: string
  #nextValue = 0

  /**
   * @param around  what these nodes may read besides what they make. Declarations and nodes are then only the new ones.
   * @param prefix  of the names of the values it makes
   */
  constructor(name: string, { around = nothing, prefix = '' }: { around?: Surroundings; prefix?: string } = {}) {
    this.#name = name
    this.#around = around
    this.#prefix = prefix
  }

  /** Declaring an input again with the same type returns the one there is. */
  input(name: string, dtype: DType, shape: readonly Dim[]): string {
    return this.#declare('inputs', name, { dtype, shape })
  }

  /** A weight. Declaring it again with the same type returns the one there is. */
  parameter(name: string, shape: readonly number[], dtype: DType = 'float32'): string {
    return this.#declare('parameters', name, { dtype, shape })
  }

  /** A small literal. Equal literals share one value. */
  constant(literal: Tensor): string {
    invariant(elementCount(literal.shape) <= 4096, `constant of shape [${literal.shape}] is too large for a literal; make it an input`)
    const name = constantName(literal)
    if (!Object.hasOwn(this.#constants, name) && !Object.hasOwn(this.#around.constants, name)) {
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
    const outputs = Array.from({ length: nOutputs }, () => `${this.#prefix}v${this.#nextValue++}:${op}`)
    for (const output of outputs) this.#claim(output)
    for (const input of inputs) {
      const made = input === '' || this.#named.has(input) ? 'before' : this.#around.whereMade(input)
      invariant(made !== undefined, `${op} reads "${input}", which nothing defines`)
      invariant(made !== 'later', `${op} reads "${input}", which is made only later in the graph`)
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
    this.#fire(name, value)
    this.#hookPoints.push({ name, axes, firings: [name] })
    return name
  }

  /** A hook point that fires several times, in this order; returns the values to go on with. A read returns the last. */
  hookEach(name: string, axes: readonly Axis[], values: readonly string[]): string[] {
    const firings = values.map((value, index) => this.#fire(index === values.length - 1 ? name : `${name}#${index}`, value))
    this.#hookPoints.push({ name, axes, firings })
    return firings
  }

  /** Gives `value` the name `name`, without making it a hook point; returns the name. */
  named(name: string, value: string): string {
    return this.#fire(name, value)
  }

  build(outputs: readonly string[]): Graph {
    return { name: this.#name, ...this.declarations(), nodes: this.#nodes, outputs, hookPoints: this.#hookPoints }
  }

  /** What has been declared so far. */
  declarations(): Declarations {
    return { inputs: this.#inputs, parameters: this.#parameters, constants: this.#constants }
  }

  nodes(): readonly Node[] {
    return this.#nodes
  }

  #fire(name: string, value: string): string {
    this.#claim(name)
    const isFree = !this.#consumed.has(value) && isAnonymous(value)
    const last = isFree ? this.#nodes.findLastIndex((node) => node.outputs.includes(value)) : -1
    if (last >= 0) {
      const node = this.#nodes[last]!
      this.#nodes[last] = { ...node, outputs: node.outputs.map((output) => (output === value ? name : output)) }
      this.#named.delete(value)
    } else {
      this.#consumed.add(value)
      this.#nodes.push({ op: 'Identity', inputs: [value], outputs: [name], attributes: {} })
    }
    return name
  }

  #declare(kind: 'inputs' | 'parameters', name: string, type: ValueType): string {
    const among = kind === 'inputs' ? this.#inputs : this.#parameters
    const known = [among, this.#around[kind]].find((types) => Object.hasOwn(types, name))?.[name]
    if (known) {
      const isSame = known.dtype === type.dtype && known.shape.join() === type.shape.join()
      invariant(isSame, `"${name}" is declared as ${known.dtype}[${known.shape}] and as ${type.dtype}[${type.shape}]`)
      return name
    }
    this.#claim(name)
    among[name] = type
    return name
  }

  #claim(name: string): void {
    invariant(name !== '' && name !== '__proto__', `"${name}" cannot name a value`)
    const isTaken = this.#named.has(name) || this.#around.whereMade(name) !== undefined
    invariant(!isTaken, `value "${name}" is defined twice in graph "${this.#name}"`)
    this.#named.add(name)
  }
}

/** True for a value that was named by a builder and that nobody else knows by that name. */
function isAnonymous(value: string): boolean {
  return /(^|\/)v\d+:\w+$/.test(value)
}

/** A literal's name says what it holds, so that equal literals meet; a long one by digest. */
function constantName({ dtype, shape, data }: Tensor): string {
  const elements = Array.from(data as Float32Array, (element) => (Object.is(element, -0) ? '-0' : String(element))).join(',')
  const held = elements.length <= 64 ? elements : createHash('sha256').update(elements).digest('hex').slice(0, 16)
  return `const:${dtype}[${shape}]${held}`
}
