/**
 * A graph while it is edited: who makes each value and of what type, kept up to date as nodes come and go, so that an edit costs what it
 * changes and not a walk over the graph.
 */

import { invariant, type Problem } from '../errors.js'
import { GraphBuilder } from './builder.js'
import type { Declarations, Graph, Node } from './graph.js'
import { graphInvalid, inferTypes, type Types, typeDeclarations, typeNodes } from './infer.js'
import type { Inferred } from './operator.js'

const noDeclarations: Declarations = { inputs: {}, parameters: {}, constants: {} }

/** Changes a copy: the graph that it is made from stays as it is. */
export class GraphEditor {
  readonly #graph: Graph
  readonly #inputs: Record<string, Declarations['inputs'][string]>
  readonly #parameters: Record<string, Declarations['parameters'][string]>
  readonly #constants: Record<string, Declarations['constants'][string]>
  readonly #nodes: Node[]
  readonly #types: Map<string, Inferred>
  readonly #producers = new Map<string, Node>()

  /** @param types  of the graph's values */
  constructor(graph: Graph, types: Types = inferTypes(graph)) {
    this.#graph = graph
    this.#inputs = { ...graph.inputs }
    this.#parameters = { ...graph.parameters }
    this.#constants = { ...graph.constants }
    this.#nodes = [...graph.nodes]
    this.#types = new Map(types)
    for (const node of graph.nodes) this.#register(node)
  }

  /** The graph as it is now. */
  graph(): Graph {
    const [inputs, parameters, constants] = [this.#inputs, this.#parameters, this.#constants]
    return { ...this.#graph, inputs, parameters, constants, nodes: this.#nodes }
  }

  get types(): Types {
    return this.#types
  }

  /** The node that makes a value; undefined for a declared one. */
  producer(value: string): Node | undefined {
    return this.#producers.get(value)
  }

  /** A node's place among the nodes. */
  indexOf(node: Node): number {
    return this.#nodes.indexOf(node)
  }

  /** True when another node or whoever fetches the graph's outputs reads it. */
  isRead(value: string): boolean {
    return this.#graph.outputs.includes(value) || this.#nodes.some(({ inputs }) => inputs.includes(value))
  }

  /** A builder of nodes that go to place `index`; good until the graph changes. */
  builderAt(index: number, prefix: string): GraphBuilder {
    const whereMade = (value: string) => {
      if (!this.#types.has(value)) return undefined
      const producer = this.#producers.get(value)
      return producer && this.#nodes.indexOf(producer) >= index ? 'later' : 'before'
    }
    const [inputs, parameters, constants] = [this.#inputs, this.#parameters, this.#constants]
    return new GraphBuilder(this.#graph.name, { around: { inputs, parameters, constants, whereMade }, prefix })
  }

  /** Puts nodes at place `index`, in front of what is there. @throws GRAPH_INVALID when one does not fit */
  insert(index: number, nodes: readonly Node[], declarations: Declarations = noDeclarations): void {
    const problems: Problem[] = []
    const report = (path: string, message: string) => problems.push({ path, message })
    const typing = { types: this.#types, untyped: new Set<string>(), report }
    typeDeclarations(declarations, typing)
    typeNodes(nodes, typing, index)
    if (problems.length > 0) throw graphInvalid(this.#graph, problems)
    Object.assign(this.#inputs, declarations.inputs)
    Object.assign(this.#parameters, declarations.parameters)
    Object.assign(this.#constants, declarations.constants)
    this.#nodes.splice(index, 0, ...nodes)
    for (const node of nodes) this.#register(node)
  }

  /** Takes a node out; who reads its outputs waits for others of these names. */
  remove(node: Node): void {
    this.#nodes.splice(this.#nodes.indexOf(node), 1)
    for (const output of node.outputs) {
      this.#producers.delete(output)
      this.#types.delete(output)
    }
  }

  /** Gives a value another name. Who reads it goes on reading the old name. */
  renameOutput(from: string, to: string): void {
    const producer = this.#producers.get(from)
    invariant(producer, `"${from}" is not made by a node`)
    const type = this.#types.get(from)!
    this.#types.delete(from)
    this.#types.set(to, type)
    this.#producers.delete(from)
    this.#replace(producer, { ...producer, outputs: producer.outputs.map((output) => (output === from ? to : output)) })
  }

  /** Whoever reads `from` at place `index` or later reads `to`, a value of the same type. */
  redirect(index: number, { from, to }: { from: string; to: string }): void {
    for (const node of this.#nodes.slice(index)) {
      if (node.inputs.includes(from)) this.#replace(node, { ...node, inputs: node.inputs.map((input) => (input === from ? to : input)) })
    }
  }

  #replace(node: Node, by: Node): void {
    this.#nodes[this.#nodes.indexOf(node)] = by
    this.#register(by)
  }

  #register(node: Node): void {
    for (const output of node.outputs) this.#producers.set(output, node)
  }
}
