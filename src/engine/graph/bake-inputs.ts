/** Inputs that become part of a graph: it then computes with these numbers and is no longer fed them. */

import { invariant } from '../errors.js'
import { int64, type Tensor } from '../tensor.js'
import { GraphBuilder } from './builder.js'
import type { Graph } from './graph.js'

export interface BakedInputs {
  /** Inputs `[batch, ...]`, each by its one row, `[1, ...]`, which every row of the batch then has. */
  readonly rows: Readonly<Record<string, Tensor>>
  /** Inputs without a batch axis, as they are fed. */
  readonly whole?: Readonly<Record<string, Tensor>>
  /** An input that stays, whose first axis says how long the batch is. */
  readonly batchOf: string
}

/** A row is found in the result as the constant `input.row`, and an input that was fed whole under its own name. */
export function bakeInputs(graph: Graph, { rows, whole = {}, batchOf }: BakedInputs): Graph {
  for (const name of [...Object.keys(rows), ...Object.keys(whole), batchOf]) {
    invariant(Object.hasOwn(graph.inputs, name), `"${name}" is an input of "${graph.name}"`)
  }
  const baked = Object.fromEntries(Object.entries(rows).map(([input, row]) => [rowName(input), row]))
  const constants = { ...graph.constants, ...baked, ...whole }
  const left = Object.entries(graph.inputs).filter(([name]) => !Object.hasOwn(rows, name) && !Object.hasOwn(whole, name))
  const inputs = Object.fromEntries(left)
  const declared = { inputs, parameters: {}, constants }
  const whereMade = (value: string) => (Object.hasOwn(inputs, value) || Object.hasOwn(constants, value) ? 'before' : undefined)
  const b = new GraphBuilder(graph.name, { around: { ...declared, whereMade }, prefix: 'rows/' })
  const names = Object.keys(rows)
  const batch = names.length > 0 ? b.op('Shape', [batchOf], { start: 0, end: 1 }) : ''
  for (const input of names) {
    const shape = b.op('Concat', [batch, b.constant(int64([rows[input]!.shape.length - 1], rows[input]!.shape.slice(1)))], { axis: 0 })
    b.named(input, b.op('Expand', [rowName(input), shape]))
  }
  return { ...graph, inputs, constants: { ...constants, ...b.declarations().constants }, nodes: [...b.nodes(), ...graph.nodes] }
}

const rowName = (input: string) => `${input}.row`
