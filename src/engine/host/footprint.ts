/**
 * How much memory a run of a graph takes for each row of its batch, estimated from the types of its values before anything is compiled.
 */

import type { Dim, Graph, ValueType } from '../graph/graph.js'
import { inferTypes, type Types } from '../graph/infer.js'
import { nPositions } from '../hook-points.js'
import type { VisionConfig } from '../models/model.js'
import { bytesPerElement } from '../tensor.js'
import type { RowSize } from './analysis-bytes.js'

export interface Footprint {
  /** Of what is handed back. */
  readonly outputBytesPerRow: number
  /** The most that is alive at once on the way, inputs included and outputs not. A backend that computes in place takes less. */
  readonly workingBytesPerRow: number
}

/**
 * @param types    of the graph's values, when they are known already
 * @param lengths  of symbols other than the batch; 1 unless given
 */
export function footprint(graph: Graph, types: Types = inferTypes(graph), lengths: Readonly<Record<string, number>> = {}): Footprint {
  const outputs = new Set(graph.outputs)
  const made = [...Object.keys(graph.inputs), ...graph.nodes.flatMap((node) => node.outputs)]
  const sizes = new Map(made.map((value) => [value, bytesAtOneRow(types.get(value)!, lengths)]))
  const bytes = (value: string) => sizes.get(value) ?? 0
  const lastUse = new Map<string, number>()
  for (const [index, node] of graph.nodes.entries()) {
    for (const output of node.outputs) lastUse.set(output, index)
    for (const input of node.inputs) lastUse.set(input, index)
  }

  let alive = Object.keys(graph.inputs).reduce((sum, input) => sum + bytes(input), 0)
  let most = alive
  for (const [index, node] of graph.nodes.entries()) {
    for (const output of node.outputs) if (!outputs.has(output)) alive += bytes(output)
    most = Math.max(most, alive)
    for (const value of new Set([...node.inputs, ...node.outputs])) {
      if (lastUse.get(value) === index && !outputs.has(value) && !(value in graph.inputs)) alive -= bytes(value)
    }
  }
  return { outputBytesPerRow: [...outputs].reduce((sum, output) => sum + bytes(output), 0), workingBytesPerRow: most }
}

/** What the vision tower of a model takes for each input, by its plain graph. */
export function rowSize(graph: Graph, types: Types, config: VisionConfig): RowSize {
  const { outputBytesPerRow, workingBytesPerRow } = footprint(graph, types)
  const tokens = nPositions(config)
  return {
    bytes: graph.nodes.reduce(
      (sum, { outputs }) => sum + outputs.reduce((own, output) => own + bytesAtOneRow(types.get(output)!, {}), 0),
      0,
    ),
    aliveBytes: workingBytesPerRow + outputBytesPerRow,
    streamBytes: bytesPerElement.float32 * config.nLayers * tokens * config.dModel,
    tokens,
  }
}

type Lengths = Readonly<Record<string, number>>

function bytesAtOneRow({ dtype, shape }: ValueType, lengths: Lengths): number {
  return shape.reduce<number>((product, dim) => product * lengthOf(dim, lengths), bytesPerElement[dtype])
}

/** With a batch of 1, `2+3*batch` is 5. */
function lengthOf(dim: Dim, lengths: Lengths): number {
  if (typeof dim === 'number') return dim
  const factorOf = (factor: string) => (/^\d+$/.test(factor) ? Number(factor) : (lengths[factor] ?? 1))
  const terms = dim.split('+').map((term) => term.split('*').reduce((product, factor) => product * factorOf(factor), 1))
  return terms.reduce((sum, term) => sum + term, 0)
}
