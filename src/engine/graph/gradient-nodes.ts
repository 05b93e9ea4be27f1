/**
 * The nodes that differentiation adds to a graph, while they are made: none twice, none that the graph has already, and in the end none
 * that no gradient depends on.
 */

import type { Tensor } from '../tensor.js'
import { GraphBuilder } from './builder.js'
import { filled, unrepeated } from './gradients/building.js'
import type { Attribute, Graph, Node } from './graph.js'
import { attributesOf, type Types } from './infer.js'
import type { OpName } from './op-name.js'
import type { GradientBuilder } from './operator.js'

type Attributes = Readonly<Record<string, Attribute>>

export class GradientNodes {
  readonly builder: GradientBuilder
  readonly #graph: Graph
  readonly #types: Types
  readonly #plain: GraphBuilder
  /** Nodes by what they compute. */
  readonly #known = new Map<string, Node>()
  readonly #producers = new Map<string, Node>()

  constructor(graph: Graph, { types, prefix }: { types: Types; prefix: string }) {
    this.#graph = graph
    this.#types = types
    const { inputs, parameters, constants } = graph
    const whereMade = (value: string) => (types.has(value) ? 'before' : undefined)
    this.#plain = new GraphBuilder(graph.name, {
      around: { inputs, parameters, constants, whereMade },
      prefix: freePrefix(types, prefix),
    })
    for (const node of graph.nodes) this.#remember(node)
    this.builder = {
      constant: (literal) => this.#plain.constant(literal),
      op: (op, inputs, attributes) => this.#node(op, inputs, 1, attributes)[0]!,
      opMany: (op, inputs, { nOutputs, attributes }) => [...this.#node(op, inputs, nOutputs, attributes)],
      literal: (value) => this.#constant(value),
      producer: (value) => this.#producers.get(value),
      existing: (op, inputs, attributes = {}) => this.#known.get(keyOf({ op, inputs, attributes, outputs: [] }))?.outputs[0],
    }
  }

  /** A number everywhere, in the dtype and shape of a value of the graph. */
  filled(like: string, value: number): string {
    const { dtype, shape } = this.#types.get(like)!
    return filled(this.builder, { name: like, dtype, shape }, value)
  }

  /** Of values of one shape. What is only repeated is added as it is, beside one that is whole. */
  sum(parts: readonly string[]): string {
    const isWhole = (part: string) => this.#producers.get(part)?.op !== 'Expand'
    const [whole, repeated] = [parts.filter(isWhole), parts.filter((part) => !isWhole(part))]
    const added = whole.length === 0 ? repeated : [...whole, ...repeated.map((part) => unrepeated(this.builder, part))]
    return added.reduce((left, right) => this.builder.op('Add', [left, right]))
  }

  /** The graph with these nodes behind its own and with these outputs, value by name, behind its own. */
  graph(outputs: ReadonlyMap<string, string>): Graph {
    const names = new Map<string, string>()
    const copies: Node[] = []
    for (const [name, value] of outputs) {
      // A value that only gradients know takes the output's name; another, or one of two names, is handed on.
      const isFree = !names.has(value) && this.#plain.nodes().some((node) => node.outputs.includes(value))
      if (isFree) names.set(value, name)
      else copies.push({ op: 'Identity', inputs: [value], outputs: [name], attributes: {} })
    }
    const renamed = (value: string) => names.get(value) ?? value
    const all = [...this.#plain.nodes(), ...copies].map((node) => ({
      ...node,
      inputs: node.inputs.map(renamed),
      outputs: node.outputs.map(renamed),
    }))
    const wanted = [...outputs.keys()]
    const nodes = onlyNeeded(all, wanted)
    const read = new Set(nodes.flatMap(({ inputs }) => inputs))
    const constants = Object.entries(this.#plain.declarations().constants).filter(([name]) => read.has(name))
    return {
      ...this.#graph,
      constants: { ...this.#graph.constants, ...Object.fromEntries(constants) },
      nodes: [...this.#graph.nodes, ...nodes],
      outputs: [...this.#graph.outputs, ...wanted],
    }
  }

  #node(op: OpName, inputs: readonly string[], nOutputs: number, attributes: Attributes = {}): readonly string[] {
    const key = keyOf({ op, inputs, attributes, outputs: [] })
    const known = this.#known.get(key)
    if (known && known.outputs.length >= nOutputs) return known.outputs.slice(0, nOutputs)
    this.#plain.opMany(op, inputs, { nOutputs, attributes })
    const made = this.#plain.nodes().at(-1)!
    this.#remember(made)
    return made.outputs
  }

  #remember(node: Node): void {
    const key = keyOf(node)
    if (!this.#known.has(key)) this.#known.set(key, node)
    for (const output of node.outputs) this.#producers.set(output, node)
  }

  #constant(name: string): Tensor | undefined {
    const { constants } = this.#plain.declarations()
    return [constants, this.#graph.constants].find((literals) => Object.hasOwn(literals, name))?.[name]
  }
}

/** What a node computes; an attribute that is the default counts as absent. */
function keyOf(node: Node): string {
  const attributes = Object.entries(attributesOf(node)).sort(([left], [right]) => (left < right ? -1 : 1))
  return JSON.stringify([node.op, node.inputs, attributes])
}

function onlyNeeded(nodes: readonly Node[], outputs: readonly string[]): Node[] {
  const needed = new Set(outputs)
  return nodes
    .toReversed()
    .filter((node) => {
      const isNeeded = node.outputs.some((output) => needed.has(output))
      if (isNeeded) for (const input of node.inputs) needed.add(input)
      return isNeeded
    })
    .reverse()
}

/** `grad/`, or where the graph has been differentiated before `grad/1/`, `grad/2/`, ... */
function freePrefix(types: Types, prefix: string): string {
  const isTaken = (candidate: string) => [...types.keys()].some((value) => value.startsWith(`${candidate}v`))
  for (let times = 0; ; times++) {
    const candidate = times === 0 ? prefix : `${prefix}${times}/`
    if (!isTaken(candidate)) return candidate
  }
}
