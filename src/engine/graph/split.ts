/**
 * A graph in two: what some of its inputs decide alone, and the rest. The first half runs once for what stays the same, the second for every
 * variant of the other inputs; nothing of the first is computed twice. The cut is where it is least: exactly the values that pass from one half
 * to the other.
 */

import { invariant } from '../errors.js'
import type { Graph, Node, ValueType } from './graph.js'
import { inferTypes, type Types } from './infer.js'
import { prune } from './prune.js'

/** The input that takes a value of the graph. */
export const resumeInput = (value: string) => `resume/${value}`

export interface SplitGraph {
  /** Inputs: the shared ones. Outputs: what passes over, under the names of `resumeInput`, and those of the graph's outputs that it decides. */
  readonly prefix: Graph
  /**
   * Inputs: `rowsInput`, what passes over, and the inputs that are not shared. Outputs: the graph's others. What passes over keeps its name and its
   * place among the hook points.
   */
  readonly suffix: Graph
}

/** int64 `[batch]`: which row of what passes over each row of the suffix goes on from. */
export const rowsInput = 'resume/rows'

/** The batch axis of what passes over: of the prefix, not of the suffix. */
export const sharedBatch = 'shared'

/**
 * Values of the whole prefix, such as a mean over its batch, pass over as they are, to every row.
 *
 * @param shared  inputs with a batch axis first, all of one symbol
 * @param types   of the graph's values, when they are known already
 */
export function splitByInputs(graph: Graph, shared: readonly string[], types: Types = inferTypes(graph)): SplitGraph {
  const batches = new Set(shared.map((input) => graph.inputs[input]?.shape[0]))
  const [batch] = batches
  invariant(batches.size === 1 && typeof batch === 'string', `inputs ${shared.join(', ')} share a symbolic first axis`)
  const { isLate, crossing } = cut(graph, { shared: new Set(shared), batch, types })
  const isLateValue = lateValues(graph, isLate, shared)
  const lateOutputs = graph.outputs.filter(isLateValue)
  const [early, late] = [graph.nodes.filter((node) => !isLate.has(node)), graph.nodes.filter((node) => isLate.has(node))]

  const copies = crossing.map((value): Node => ({ op: 'Identity', inputs: [value], outputs: [resumeInput(value)], attributes: {} }))
  const prefix = prune({
    ...graph,
    name: `${graph.name} (shared)`,
    inputs: chosen(graph.inputs, (name) => shared.includes(name)),
    nodes: [...early, ...copies],
    outputs: [...crossing.map(resumeInput), ...graph.outputs.filter((output) => !isLateValue(output))],
  })

  const entries = crossing.map((value): Node => {
    const isPerRow = types.get(value)!.shape[0] === batch
    const [op, inputs, attributes] = isPerRow
      ? (['Gather', [resumeInput(value), rowsInput], { axis: 0 }] as const)
      : (['Identity', [resumeInput(value)], {}] as const)
    return { op, inputs, outputs: [value], attributes }
  })
  const passed = new Set(crossing)
  // What depends on no input at all (a reshaped weight) is made in both.
  const free = early.filter(({ outputs }) => !outputs.some((output) => passed.has(output)))
  const suffix = prune({ ...graph, name: `${graph.name} (variants)`, nodes: [...entries, ...free, ...late], outputs: lateOutputs })
  const fed = crossing.map((value): [string, ValueType] => {
    const { dtype, shape } = types.get(value)!
    return [resumeInput(value), { dtype, shape: shape.map((length) => (length === batch ? sharedBatch : length)) }]
  })
  const own = Object.entries(graph.inputs).filter(([name]) => !shared.includes(name))
  const rows: [string, ValueType][] = entries.some(({ op }) => op === 'Gather') ? [[rowsInput, { dtype: 'int64', shape: [batch] }]] : []
  return { prefix, suffix: { ...suffix, inputs: Object.fromEntries([...rows, ...fed, ...own]) } }
}

interface Sides {
  readonly shared: ReadonlySet<string>
  readonly batch: string
  readonly types: Types
}

/** The nodes of the second half, and the values that pass over, in the order in which they are made. */
function cut(graph: Graph, { shared, batch, types }: Sides): { isLate: ReadonlySet<Node>; crossing: readonly string[] } {
  const isLate = new Set<Node>()
  for (;;) {
    const late = new Set(Object.keys(graph.inputs).filter((input) => !shared.has(input)))
    const ofShared = new Set(shared)
    const crossing = new Set<string>()
    for (const node of graph.nodes) {
      if (isLate.has(node) || node.inputs.some((input) => late.has(input))) {
        isLate.add(node)
        for (const input of node.inputs) if (ofShared.has(input) && !late.has(input)) crossing.add(input)
        for (const output of node.outputs) late.add(output)
      } else if (node.inputs.some((input) => ofShared.has(input))) for (const output of node.outputs) ofShared.add(output)
    }
    // A value whose rows cannot be told apart (a shape, rows of all images in one matrix) is made again, of what can.
    const unfit = [...crossing].filter((value) => !canPass(types.get(value)!, batch))
    if (unfit.length === 0) return { isLate, crossing: inOrder(graph, crossing) }
    for (const node of graph.nodes) if (node.outputs.some((output) => unfit.includes(output))) isLate.add(node)
  }
}

function canPass({ dtype, shape }: ValueType, batch: string): boolean {
  const rest = shape.slice(1).every((length) => typeof length === 'number')
  if (shape[0] === batch) return rest
  return dtype === 'float32' && rest && typeof (shape[0] ?? 1) === 'number'
}

function inOrder(graph: Graph, values: ReadonlySet<string>): string[] {
  const made = [...Object.keys(graph.inputs), ...graph.nodes.flatMap(({ outputs }) => outputs)]
  return made.filter((value) => values.has(value))
}

function lateValues(graph: Graph, isLate: ReadonlySet<Node>, shared: readonly string[]): (value: string) => boolean {
  const late = new Set(graph.nodes.filter((node) => isLate.has(node)).flatMap(({ outputs }) => outputs))
  for (const input of Object.keys(graph.inputs)) if (!shared.includes(input)) late.add(input)
  return (value) => late.has(value)
}

function chosen<T>(values: Readonly<Record<string, T>>, isChosen: (name: string) => boolean): Record<string, T> {
  return Object.fromEntries(Object.entries(values).filter(([name]) => isChosen(name)))
}
