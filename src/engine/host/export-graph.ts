/**
 * A planned graph as a file that is run elsewhere. The numbers of its edits are in it, so that it takes pictures or tokens alone, or stay
 * inputs, with what they would have been beside the graph.
 */

import { EngineError } from '../errors.js'
import { bakeInputs } from '../graph/bake-inputs.js'
import type { Graph, Node } from '../graph/graph.js'
import { prune } from '../graph/prune.js'
import { type OnnxFile, onnxFile } from '../graph/to-onnx.js'
import { editInputs } from '../interventions/apply-edits.js'
import { rowsOfTensor } from '../rows.js'
import { saePrefix } from '../saes/attach-saes.js'
import type { Tensor } from '../tensor.js'
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
  const asked = withSharedSaes(withOutputs(graph, planned), planned.saes)
  const about = { holds: () => weights, producerVersion }
  if (operands === 'inputs') {
    const named = asked.outputs.includes(OUTPUT) ? new Map([...types, [OUTPUT, types.get(planned.fetch.output!)!]]) : types
    return onnxFile(asked, { ...about, types: named, metadata: { ...metadata, ...described({ ...rows, ...whole }) } })
  }
  const baked = prune(bakeInputs(asked, { rows, whole, batchOf: planned.input.name }))
  return onnxFile(baked, { ...about, metadata })
}

/** The tower's output, which in the graph is called after what makes it. */
const OUTPUT = 'output'

/** What a host looks at to refuse pictures that make no finite numbers is nobody's answer. */
function withOutputs(graph: Graph, { fetch }: PlannedStructure): Graph {
  const checks = new Set(fetch.codes.map(({ values }) => values.inputs))
  const kept = graph.outputs.filter((value) => !checks.has(value))
  if (fetch.output === undefined) return prune({ ...graph, outputs: kept })
  const named: Node = { op: 'Identity', inputs: [fetch.output], outputs: [OUTPUT], attributes: {} }
  const others = kept.filter((value) => value !== fetch.output || fetch.activations.includes(value))
  return prune({ ...graph, nodes: [...graph.nodes, named], outputs: [OUTPUT, ...others] })
}

/** An SAE that reads and edits, or edits twice, has its weights once. @param keys  of the SAEs by the places of their prefixes */
function withSharedSaes(graph: Graph, keys: readonly string[]): Graph {
  const prefixes = keys.flatMap((key, index): (readonly [string, string])[] => {
    const first = keys.indexOf(key)
    return first < index ? [[saePrefix(index), saePrefix(first)]] : []
  })
  const renamed = (name: string) => {
    const found = prefixes.find(([prefix]) => name.startsWith(prefix))
    return found ? found[1] + name.slice(found[0].length) : name
  }
  const shared = new Map(Object.keys(graph.parameters).map((name) => [name, renamed(name)]))
  const parameters = Object.fromEntries(Object.entries(graph.parameters).map(([name, type]) => [shared.get(name)!, type]))
  const nodes = graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map((input) => shared.get(input) ?? input) }))
  return prefixes.length === 0 ? graph : { ...graph, parameters, nodes }
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
