/**
 * The identity of a graph's structure: what a compiled program depends on. Two graphs of the same hash compile to the same program, fed
 * and fetched by the same names.
 */

import { createHash } from 'node:crypto'
import type { Graph } from './graph.js'
import { printType } from './print.js'

/**
 * sha256 in hex, over everything but the graph's name, its hook points and the names of its inner values: inputs, parameters and outputs
 * count by name (a run names them), constants by what they hold, other values by where they are made. Axes named differently, nodes
 * in another order, an attribute written out that is the default: another structure.
 */
export function structureHash(graph: Graph): string {
  const lines: string[] = []
  const labels = new Map<string, string>([['', '_']])
  for (const kind of ['inputs', 'parameters'] as const) {
    for (const name of Object.keys(graph[kind]).sort()) {
      labels.set(name, JSON.stringify(name))
      lines.push(`${kind} ${JSON.stringify(name)} ${printType(graph[kind][name]!)}`)
    }
  }
  for (const [name, { dtype, shape, data }] of Object.entries(graph.constants)) {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    const held = bytes.length <= 32 ? bytes.toString('hex') : createHash('sha256').update(bytes).digest('hex')
    labels.set(name, `${dtype}[${shape.join()}]${held}`)
  }
  for (const [index, { op, inputs, outputs, attributes }] of graph.nodes.entries()) {
    for (const [at, output] of outputs.entries()) labels.set(output, `%${index}.${at}`)
    const set = Object.keys(attributes)
      .sort()
      .map((name) => `${name}=${printExactly(attributes[name]!)}`)
    lines.push(`${op}/${outputs.length} ${inputs.map((input) => labels.get(input)).join(' ')} ${set.join(' ')}`)
  }
  for (const output of graph.outputs) lines.push(`output ${JSON.stringify(output)} ${labels.get(output)}`)
  return createHash('sha256').update(lines.join('\n')).digest('hex')
}

/** JSON, except that it tells every number from every other. */
function printExactly(value: number | string | readonly number[]): string {
  const exact = (element: number) => (Object.is(element, -0) ? '-0' : String(element))
  if (typeof value === 'string') return JSON.stringify(value)
  return typeof value === 'number' ? exact(value) : `[${value.map(exact).join()}]`
}
