/** Removes what no output depends on. */

import type { Graph } from './graph.js'

/**
 * The graph without nodes, constants and parameters that no output depends on. Inputs stay, so that a run is fed the same whatever it
 * reads; hook points whose values went are no longer listed.
 */
export function prune(graph: Graph): Graph {
  const needed = new Set(graph.outputs)
  const nodes = graph.nodes
    .toReversed()
    .filter((node) => {
      const isNeeded = node.outputs.some((output) => needed.has(output))
      if (isNeeded) for (const input of node.inputs) needed.add(input)
      return isNeeded
    })
    .reverse()
  const used = <T>(values: Readonly<Record<string, T>>) => Object.fromEntries(Object.entries(values).filter(([name]) => needed.has(name)))
  const made = new Set(nodes.flatMap((node) => node.outputs))
  return {
    ...graph,
    parameters: used(graph.parameters),
    constants: used(graph.constants),
    nodes,
    hookPoints: graph.hookPoints.filter(({ firings }) => firings.every((firing) => made.has(firing))),
  }
}
