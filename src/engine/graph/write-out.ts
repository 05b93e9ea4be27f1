/**
 * Putting a quantity in the way of the computation.
 *
 * A fused operator computes quantities that its result does not pass through by name: LayerNormalization hands out 1 / scale beside its
 * result, and the hook point `ln1.hook_scale` is the reciprocal of that. Reading it is free. Before it is edited, the operator is written
 * out by its body, so that the result is computed from 1 / scale, and 1 / scale is computed from the hook point: the edit then reaches
 * the result, as it does where every step has a name (ViT-Prisma, TransformerLens).
 */

import { EngineError, invariant } from '../errors.js'
import { GraphBuilder } from './builder.js'
import type { Graph, Node } from './graph.js'
import { callOf, inferTypes } from './infer.js'
import { operators } from './operators.js'

/** A graph of the same meaning in which `value` is read by what depends on it. @throws EDIT_INVALID when nothing depends on it */
export function putInPath(graph: Graph, value: string): Graph {
  const chain = sideChain(graph, value)
  if (chain) return detour(writeOut(graph, chain.fused), chain.undone)
  const isRead = graph.outputs.includes(value) || graph.nodes.some((node) => node.inputs.includes(value))
  if (!isRead)
    throw new EngineError('EDIT_INVALID', { path: value, problem: 'nothing in this model depends on it, so an edit would have no effect' })
  return graph
}

/**
 * The fused node that computes `value` as a by-product, when there is one, and the invertible nodes that lead from the by-product to
 * `value`, in order.
 */
function sideChain(graph: Graph, value: string): { fused: Node; undone: readonly Node[] } | undefined {
  const undone: Node[] = []
  let at = value
  for (;;) {
    const producer = graph.nodes.find((node) => node.outputs.includes(at))
    if (!producer) return undefined
    const row = operators[producer.op]
    if (row.body && producer.outputs.indexOf(at) > 0) return { fused: producer, undone }
    if (!row.inverse) return undefined
    undone.unshift(producer)
    at = producer.inputs[0]!
  }
}

/** Replaces a node by the body of its operator. */
function writeOut(graph: Graph, fused: Node): Graph {
  const index = graph.nodes.indexOf(fused)
  const { body } = operators[fused.op]
  invariant(body, `${fused.op} has no body`)
  const removed = { ...graph, nodes: graph.nodes.toSpliced(index, 1) }
  const builder = GraphBuilder.inside(removed, { index, prefix: `${fused.outputs[0]}/` })
  const made = body(builder, {
    ...callOf(fused, inferTypes({ ...graph, nodes: graph.nodes.slice(0, index), outputs: [] })),
    names: fused.inputs,
  })
  const names = new Map(fused.outputs.map((output, at) => [made[at]!, output]))
  const rename = (value: string) => names.get(value) ?? value
  const nodes = builder.nodes().map((node) => ({ ...node, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename) }))
  return { ...removed, ...builder.declarations(), nodes: removed.nodes.toSpliced(index, 0, ...nodes) }
}

/**
 * With `undone` leading from x to y = f(x): whoever else reads x reads f^-1(y) instead, so that everything after x depends on y.
 */
function detour(graph: Graph, undone: readonly Node[]): Graph {
  if (undone.length === 0) return graph
  const source = undone[0]!.inputs[0]!
  const end = undone.at(-1)!
  // The chain moves up to where its source is made, because what reads the source now comes after the chain.
  const others = graph.nodes.filter((node) => !undone.includes(node))
  const index = others.findIndex((node) => node.outputs.includes(source)) + 1
  const builder = GraphBuilder.inside(
    { ...graph, nodes: [...others.slice(0, index), ...undone, ...others.slice(index)] },
    { index: index + undone.length, prefix: `${source}/` },
  )
  const restored = undone.toReversed().reduce((value, node) => builder.op(operators[node.op].inverse!, [value]), end.outputs[0]!)
  const rewired = others
    .slice(index)
    .map((node) => ({ ...node, inputs: node.inputs.map((input) => (input === source ? restored : input)) }))
  return { ...graph, ...builder.declarations(), nodes: [...others.slice(0, index), ...undone, ...builder.nodes(), ...rewired] }
}
