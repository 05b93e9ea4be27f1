/** Adds to the end of a graph, and puts graphs side by side. */

import { invariant } from '../errors.js'
import type { GraphBuilder } from '../graph/builder.js'
import type { Graph, ValueType } from '../graph/graph.js'
import { GraphEditor } from '../graph/graph-editor.js'

/**
 * Appends nodes that may read any value of the graph.
 *
 * @param prefix  of the names of what is added
 * @param add     returns the values that become outputs after those there are
 */
export function extend(graph: Graph, prefix: string, add: (b: GraphBuilder) => readonly string[]): Graph {
  const editor = new GraphEditor(graph)
  const builder = editor.builderAt(graph.nodes.length, prefix)
  const outputs = add(builder)
  editor.insert(graph.nodes.length, builder.nodes(), builder.declarations())
  return { ...editor.graph(), outputs: [...new Set([...graph.outputs, ...outputs])] }
}

/** How `prefixed` names what it does not put under the prefix. */
export interface Shared {
  /** Before the names of the parameters: another graph's prefix, to read that graph's. Default: the prefix itself. */
  readonly parameters?: string
  /** Inputs that get another name or length, by their own name; the others stay as they are. */
  readonly inputs?: Readonly<Record<string, { readonly name: string; readonly type: ValueType }>>
}

/**
 * The same graph with `prefix/` before the name of everything but its inputs and constants (which say what they hold), so that it can stand
 * beside others.
 */
export function prefixed(graph: Graph, prefix: string, { parameters = prefix, inputs = {} }: Shared = {}): Graph {
  const renamed = (name: string) => {
    if (name === '' || Object.hasOwn(graph.constants, name)) return name
    if (Object.hasOwn(graph.inputs, name)) return inputs[name]?.name ?? name
    return `${Object.hasOwn(graph.parameters, name) ? parameters : prefix}/${name}`
  }
  return {
    ...renameValues(graph, renamed),
    inputs: Object.fromEntries(Object.entries(graph.inputs).map(([name, type]) => [renamed(name), inputs[name]?.type ?? type])),
  }
}

function renameValues(graph: Graph, renamed: (name: string) => string): Graph {
  const declared = <T>(values: Readonly<Record<string, T>>) =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [renamed(name), value]))
  return {
    ...graph,
    inputs: declared(graph.inputs),
    parameters: declared(graph.parameters),
    nodes: graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map(renamed), outputs: node.outputs.map(renamed) })),
    outputs: graph.outputs.map(renamed),
    hookPoints: graph.hookPoints.map((hookPoint) => ({
      ...hookPoint,
      name: renamed(hookPoint.name),
      firings: hookPoint.firings.map(renamed),
    })),
  }
}

/**
 * Graphs as one. Inputs of one name are one input, parameters of one name one parameter, and a symbol such as `batch` is one length in all of
 * them; nothing else may have one name.
 */
export function sideBySide(name: string, graphs: readonly Graph[]): Graph {
  const joined = (kind: 'inputs' | 'parameters') => {
    const all: Record<string, ValueType> = {}
    for (const [value, type] of graphs.flatMap((graph) => Object.entries(graph[kind]))) {
      const known = all[value] ?? type
      const isSame = known.dtype === type.dtype && known.shape.join() === type.shape.join()
      invariant(isSame, `"${value}" has one type in one graph and another in the next`)
      all[value] = type
    }
    return all
  }
  return {
    name,
    inputs: joined('inputs'),
    parameters: joined('parameters'),
    constants: Object.assign({}, ...graphs.map(({ constants }) => constants)),
    nodes: graphs.flatMap(({ nodes }) => nodes),
    outputs: graphs.flatMap(({ outputs }) => outputs),
    hookPoints: graphs.flatMap(({ hookPoints }) => hookPoints),
  }
}

/**
 * A graph that is fed by another one: what it declares under the keys of `values` are outputs of `front`. Front's own inputs and parameters may
 * have the names that become free.
 */
export function fedBy(graph: Graph, front: Graph, values: Readonly<Record<string, string>>): Graph {
  const isOwn = ([name]: readonly [string, unknown]) => !Object.hasOwn(values, name)
  const rest: Graph = {
    ...renameValues(graph, (name) => values[name] ?? name),
    inputs: Object.fromEntries(Object.entries(graph.inputs).filter(isOwn)),
    parameters: Object.fromEntries(Object.entries(graph.parameters).filter(isOwn)),
  }
  return { ...sideBySide(graph.name, [{ ...front, outputs: [] }, rest]), outputs: rest.outputs }
}
