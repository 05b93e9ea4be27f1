/**
 * Cuts a graph in two: what the session runs, and nodes at its end that this process computes from what the session made (host-kernels.ts).
 */

import type { Graph, Node } from '../../graph/graph.js'
import { prune } from '../../graph/prune.js'
import { hostKernels } from './host-kernels.js'

export interface Division {
  /** Its outputs are those of the whole that it makes, and what the other nodes read of it. Undefined: nothing is left for a session. */
  readonly inSession: Graph | undefined
  readonly hostNodes: readonly Node[]
}

/** Takes out the nodes that have a kernel here and whose outputs no node reads. */
export function divide(graph: Graph): Division {
  const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs))
  const isHost = ({ op, outputs }: Node) => hostKernels[op] !== undefined && !outputs.some((output) => read.has(output))
  const hostNodes = graph.nodes.filter(isHost)
  if (hostNodes.length === 0) return { inSession: graph, hostNodes }
  const nodes = graph.nodes.filter((node) => !isHost(node))
  const made = new Set(nodes.flatMap((node) => node.outputs))
  const elsewhere = new Set(hostNodes.flatMap((node) => node.outputs))
  const handedOver = hostNodes.flatMap(({ inputs }) => inputs.filter((input) => made.has(input)))
  const outputs = [...new Set([...graph.outputs.filter((output) => !elsewhere.has(output)), ...handedOver])]
  return { inSession: outputs.length === 0 ? undefined : prune({ ...graph, nodes, outputs }), hostNodes }
}
