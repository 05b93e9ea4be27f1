/**
 * What float16 does to a graph, by other means than float16: every value that is written as float16 is rounded to 11 bits by arithmetic in float32
 * (Veltkamp's splitting; Dekker 1971). It runs on every backend, and rounds each value, where a runtime that lacks float16 rounds some.
 */

import type { Graph, Node } from '../../../src/engine/graph/graph.js'
import { halve } from '../../../src/engine/graph/half.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import { scalar } from '../../../src/engine/tensor.js'

const SPLITTER = 2 ** 13 + 1

export function roundHalves(given: Graph): Graph {
  const { graph, types } = halve(given, { types: inferTypes(given), holds: () => false })
  const isHalf = (value: string) => types.get(value)?.dtype === 'float16'
  const rounded = (raw: string, value: string): Node[] => [
    { op: 'Mul', inputs: [raw, 'splitter'], outputs: [`${value}/large`], attributes: {} },
    { op: 'Sub', inputs: [`${value}/large`, raw], outputs: [`${value}/rest`], attributes: {} },
    { op: 'Sub', inputs: [`${value}/large`, `${value}/rest`], outputs: [value], attributes: {} },
  ]
  const raw = (value: string) => `${value}/raw`
  const nodes = graph.nodes.flatMap((node): Node[] => {
    const isCast = node.op === 'Cast' && (node.attributes.to === 'float16' || isHalf(node.inputs[0]!))
    const plain: Node = isCast ? { ...node, op: 'Identity', attributes: {} } : node
    const halves = node.outputs.filter(isHalf)
    const outputs = node.outputs.map((output) => (halves.includes(output) ? raw(output) : output))
    return [{ ...plain, outputs }, ...halves.flatMap((half) => rounded(raw(half), half))]
  })
  const literals = Object.entries(graph.constants).map(([name, literal]) => {
    return [name, isHalf(name) ? { ...literal, data: (literal.data as Float32Array).map(roundNumber) } : literal] as const
  })
  return { ...graph, constants: { ...Object.fromEntries(literals), splitter: scalar(SPLITTER) }, nodes }
}

export function roundNumber(value: number): number {
  const large = Math.fround(value * SPLITTER)
  return Number.isFinite(large) ? Math.fround(large - Math.fround(large - value)) : value
}
