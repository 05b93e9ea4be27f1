/**
 * A graph that begins in the middle. What is computed once, up to some values, serves every run that differs only in what comes after them: such a
 * run is fed those values.
 */

import { EngineError } from '../errors.js'
import type { Graph, Node, ValueType } from './graph.js'
import { inferTypes, type Types } from './infer.js'
import { prune } from './prune.js'

/** The input that takes a value of the graph. */
export const resumeInput = (value: string) => `resume/${value}`

/**
 * The graph from these values on. Each is fed as `resumeInput(value)`, of its own type, and keeps its name and its place among the hook
 * points, so that it can be read and edited still. Inputs that nothing depends on any more are gone.
 *
 * @param types  of the graph's values, when they are known already
 * @throws       VALUE_UNKNOWN
 */
export function resumeFrom(graph: Graph, values: readonly string[], types: Types = inferTypes(graph)): Graph {
  const known = graph.nodes.flatMap(({ outputs }) => outputs)
  for (const value of values) if (!known.includes(value)) throw new EngineError('VALUE_UNKNOWN', { value, graph: graph.name, known })
  const fed = new Set(values)
  const entries: Node[] = values.map((value) => ({ op: 'Identity', inputs: [resumeInput(value)], outputs: [value], attributes: {} }))
  const nodes = graph.nodes.map((node) =>
    node.outputs.some((output) => fed.has(output))
      ? { ...node, outputs: node.outputs.map((output) => (fed.has(output) ? `${output}/computed` : output)) }
      : node,
  )
  const pruned = prune({ ...graph, nodes: [...entries, ...nodes] })
  const read = new Set([...pruned.nodes.flatMap(({ inputs }) => inputs), ...pruned.outputs])
  const kept = Object.entries(graph.inputs).filter(([name]) => read.has(name))
  const added = values.map((value): [string, ValueType] => [resumeInput(value), typeOf(types, value)])
  return { ...pruned, inputs: Object.fromEntries([...kept, ...added]) }
}

function typeOf(types: Types, value: string): ValueType {
  const { dtype, shape } = types.get(value)!
  return { dtype, shape }
}
