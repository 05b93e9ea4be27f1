/**
 * A planned graph as a file that is run elsewhere. The numbers of its edits are in it, so that it takes pictures or tokens alone, or stay
 * inputs, with what they would have been beside the graph.
 */

import { EngineError } from '../errors.js'
import { bakeInputs } from '../graph/bake-inputs.js'
import type { Graph } from '../graph/graph.js'
import { prune } from '../graph/prune.js'
import { type OnnxFile, onnxFile } from '../graph/to-onnx.js'
import { editInputs } from '../interventions/apply-edits.js'
import type { Tensor } from '../tensor.js'
import { rowsOfTensor } from './batch-rows.js'
import type { ExportCall } from './engine-worker-calls.js'
import type { PlannedGraph, PlannedStructure } from './planned-structure.js'
import { selectionFeeds } from './run-shares.js'

/** @throws EDIT_INVALID for an edit that has other numbers for each input; MODEL_UNSUPPORTED beyond what one file holds */
export function exportGraph(
  { planned, graph, types }: PlannedGraph,
  { structure, weights, operands, metadata, producerVersion }: ExportCall,
): OnnxFile {
  const rows = firstRows(editInputs(structure.edits, planned.tower, structure.nRows), structure.nRows)
  const whole = selectionFeeds(planned, structure.saes)
  const read = withoutChecks(graph, planned)
  const about = { holds: () => weights, producerVersion }
  if (operands === 'inputs') return onnxFile(read, { ...about, types, metadata: { ...metadata, ...described({ ...rows, ...whole }) } })
  const baked = prune(bakeInputs(read, { rows, whole, batchOf: planned.input.name }))
  return onnxFile(baked, { ...about, metadata })
}

/** What a host looks at to refuse pictures that make no finite numbers is nobody's answer. */
function withoutChecks(graph: Graph, { fetch }: PlannedStructure): Graph {
  const checks = new Set(fetch.codes.map(({ values }) => values.inputs))
  return prune({ ...graph, outputs: graph.outputs.filter((value) => !checks.has(value)) })
}

/** The row that every row of a batch has, `[1, ...]`. */
function firstRows(feeds: Readonly<Record<string, Tensor>>, nRows: number): Record<string, Tensor> {
  const rows = Object.entries(feeds).map(([input, tensor]) => {
    const row = rowsOfTensor(tensor, 0, 1)
    for (let at = 1; at < nRows; at++) {
      const other = rowsOfTensor(tensor, at, at + 1).data
      if (row.data.every((value, index) => Object.is(value, other[index]))) continue
      const path = input.slice(0, input.indexOf(']') + 1)
      throw new EngineError('EDIT_INVALID', { path, problem: 'has other numbers for each input; a graph has one edit for all of them' })
    }
    return [input, row] as const
  })
  return Object.fromEntries(rows)
}

/** Tensors as the interface writes them, with their little-endian bytes as base64. */
function described(operands: Readonly<Record<string, Tensor>>): Record<string, string> {
  const written = Object.entries(operands).map(([name, { dtype, shape, data }]) => {
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    return [name, { shape, dtype, encoding: 'base64', data: bytes.toString('base64') }]
  })
  return { 'refract.operands': JSON.stringify(Object.fromEntries(written)) }
}
