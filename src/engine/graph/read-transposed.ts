/**
 * Stacks of products whose right operand was transposed for them read it as it lies. Attention turns its keys so, and ONNX Runtime takes as long for
 * that as for the product with them; a model's own graph keeps to operators that every runtime of ONNX has.
 */

import { permOf } from './gradients/building.js'
import type { Graph, Node } from './graph.js'
import { inferTypes } from './infer.js'

/** The same values by the same names. Transpositions that nothing reads any more stay, for `prune`. */
export function readTransposed(graph: Graph): Graph {
  const types = inferTypes(graph)
  const producers = new Map(graph.nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)))
  /** By transposed value, the one whose last two axes are not exchanged. */
  const straight = new Map<string, string>()
  const nodes = graph.nodes.flatMap((node): Node[] => {
    const [left, right] = node.inputs as readonly [string, string]
    const turned = node.op === 'MatMul' ? producers.get(right) : undefined
    if (turned?.op !== 'Transpose') return [node]
    const rank = types.get(right)!.shape.length
    const perm = permOf(turned.attributes.perm, rank)
    if (rank < 3 || types.get(left)!.shape.length !== rank || perm.at(-2) !== rank - 1) return [node]
    const known = straight.get(right)
    const rest = [...perm.slice(0, -2), perm.at(-1)!, rank - 1]
    const isAsItLies = rest.every((axis, at) => axis === at)
    const rows = known ?? (isAsItLies ? turned.inputs[0]! : `${right}/rows`)
    straight.set(right, rows)
    const transposition: Node = { ...turned, outputs: [rows], attributes: { perm: rest } }
    const product: Node = { ...node, op: 'FusedMatMul', inputs: [left, rows], attributes: { transB: 1 } }
    return known !== undefined || isAsItLies ? [product] : [transposition, product]
  })
  return straight.size === 0 ? graph : { ...graph, nodes }
}
