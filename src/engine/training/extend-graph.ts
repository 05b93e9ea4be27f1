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

/**
 * The same graph with `prefix/` before the name of everything but its inputs and constants (which say what they hold), so that it can stand
 * beside others.
 */
export function prefixed(graph: Graph, prefix: string): Graph {
  const kept = (name: string) => name === '' || Object.hasOwn(graph.inputs, name) || Object.hasOwn(graph.constants, name)
  const renamed = (name: string) => (kept(name) ? name : `${prefix}/${name}`)
  return {
    ...graph,
    parameters: Object.fromEntries(Object.entries(graph.parameters).map(([name, type]) => [renamed(name), type])),
    nodes: graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map(renamed), outputs: node.outputs.map(renamed) })),
    outputs: graph.outputs.map(renamed),
    hookPoints: graph.hookPoints.map((hookPoint) => ({
      ...hookPoint,
      name: renamed(hookPoint.name),
      firings: hookPoint.firings.map(renamed),
    })),
  }
}

/** Graphs as one, each under its prefix. Inputs of one name are one input, and a symbol such as `batch` is one length in all of them. */
export function sideBySide(name: string, graphs: Readonly<Record<string, Graph>>): Graph {
  const parts = Object.entries(graphs).map(([prefix, graph]) => prefixed(graph, prefix))
  const inputs: Record<string, ValueType> = {}
  for (const part of parts) {
    for (const [input, type] of Object.entries(part.inputs)) {
      const known = inputs[input] ?? type
      const isSame = known.dtype === type.dtype && known.shape.join() === type.shape.join()
      invariant(isSame, `input "${input}" has one type in one graph and another in the next`)
      inputs[input] = type
    }
  }
  return {
    name,
    inputs,
    parameters: Object.assign({}, ...parts.map(({ parameters }) => parameters)),
    constants: Object.assign({}, ...parts.map(({ constants }) => constants)),
    nodes: parts.flatMap(({ nodes }) => nodes),
    outputs: parts.flatMap(({ outputs }) => outputs),
    hookPoints: parts.flatMap(({ hookPoints }) => hookPoints),
  }
}
