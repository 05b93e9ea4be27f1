/**
 * A graph whose products with weights are computed in float16, for writing as ONNX: what a run is given and what it returns stays float32, and so
 * does what float16 is too coarse for (the residual stream, LayerNorm, attention's scores and pattern, sums, thresholds and gradients).
 *
 * Each operator is told by its kind and by what it reads, never by what is read of the graph: exposing a hook point changes no number.
 *
 * @see Micikevicius et al. (2018), "Mixed Precision Training", https://arxiv.org/abs/1710.03740; docs/devices.md has the errors, measured.
 */

import type { DType, Tensor } from '../tensor.js'
import type { Graph, Node } from './graph.js'
import type { Types } from './infer.js'
import type { OpName } from './op-name.js'
import type { ValueType } from './value-type.js'

/** What an ONNX file has elements of: our dtypes, and those that only runtimes compute with. */
export type ElementType = DType | 'float16'

/** Types of values as they are in the file. */
export type WrittenTypes = ReadonlyMap<string, Omit<ValueType, 'dtype'> & { readonly dtype: ElementType }>

/** In float16 where one factor is made of weights. */
const products: ReadonlySet<OpName> = new Set(['MatMul', 'Gemm', 'Conv'])
/** In float16 where all that they read is. */
const movers: ReadonlySet<OpName> = new Set([
  'Identity',
  'Reshape',
  'Transpose',
  'Squeeze',
  'Unsqueeze',
  'Expand',
  'Concat',
  'Split',
  'Slice',
  'Gather',
])
const pointwise: ReadonlySet<OpName> = new Set(['Add', 'Sub', 'Mul', 'Neg', 'Relu', 'Gelu', 'Sigmoid', 'Tanh'])

/** The largest number of float16. */
const LARGEST = 65504

/**
 * @param types  of the graph's values
 * @param holds  parameters that become part of the file, in the type that is read of them; the others are fed as float32
 */
export function halve(
  graph: Graph,
  { types, holds }: { types: Types; holds: (parameter: string) => boolean },
): { graph: Graph; types: WrittenTypes } {
  const half = halfNodes(graph, types)
  const made = new Set([...half].flatMap(({ outputs }) => outputs.filter((output) => types.get(output)?.dtype === 'float32')))
  const outputs = new Set(graph.outputs)
  const readers = readersOf(graph.nodes)
  const isWhole = (node: Node) => !half.has(node) && node.op !== 'Shape'
  const isLiteral = (value: string) => Object.hasOwn(graph.constants, value) || (Object.hasOwn(graph.parameters, value) && holds(value))
  const written: Map<string, Omit<ValueType, 'dtype'> & { readonly dtype: ElementType }> = new Map(types)
  const halves = new Map<string, string>()
  const nodes: Node[] = []

  const cast = (from: string, to: string, dtype: ElementType) => {
    written.set(to, { ...types.get(from)!, dtype })
    nodes.push({ op: 'Cast', inputs: [from], outputs: [to], attributes: { to: dtype } })
  }
  /** Once it is there, and before it is read. */
  const provide = (value: string) => {
    const own = readers.get(value) ?? []
    if (made.has(value)) return
    if (types.get(value)?.dtype !== 'float32' || !own.some((node) => half.has(node))) return
    const isOnlyHalf = isLiteral(value) && !outputs.has(value) && !own.some(isWhole)
    const name = isOnlyHalf ? value : `${value}/f16`
    halves.set(value, name)
    if (isOnlyHalf) written.set(value, { ...types.get(value)!, dtype: 'float16' })
    else cast(value, name, 'float16')
  }

  for (const value of [...Object.keys(graph.inputs), ...Object.keys(graph.parameters), ...Object.keys(graph.constants)]) provide(value)
  for (const node of graph.nodes) {
    if (!half.has(node)) {
      nodes.push(node)
      node.outputs.forEach(provide)
      continue
    }
    const isReadWhole = (output: string) => outputs.has(output) || (readers.get(output) ?? []).some(isWhole)
    for (const output of node.outputs) if (made.has(output)) halves.set(output, isReadWhole(output) ? `${output}/f16` : output)
    const inHalf = (value: string) => halves.get(value) ?? value
    nodes.push({ ...node, inputs: node.inputs.map(inHalf), outputs: node.outputs.map(inHalf) })
    for (const output of node.outputs.filter((output) => made.has(output))) {
      const name = inHalf(output)
      written.set(name, { ...types.get(output)!, dtype: 'float16' })
      if (name !== output) {
        nodes.push({ op: 'Cast', inputs: [name], outputs: [output], attributes: { to: 'float32' } })
      }
    }
  }
  return { graph: { ...graph, nodes }, types: written }
}

/** The nodes that are computed in float16. */
function halfNodes(graph: Graph, types: Types): ReadonlySet<Node> {
  const half = new Set<Node>()
  const inHalf = new Set<string>()
  /** What is known before a run: weights, literals, and those of them that are only moved. */
  const given = new Set([...Object.keys(graph.parameters), ...Object.keys(graph.constants)])
  const floatsOf = (values: readonly string[]) => values.filter((value) => types.get(value)?.dtype === 'float32')
  const isTooLarge = (value: string) => exceedsHalf(graph.constants[value])
  for (const node of graph.nodes) {
    if (movers.has(node.op) && node.inputs.every((input) => given.has(input))) {
      for (const output of node.outputs) given.add(output)
      continue
    }
    const floats = floatsOf(node.inputs)
    const run = floats.filter((input) => !given.has(input))
    const isProduct = products.has(node.op) && given.has(node.inputs[0]!) !== given.has(node.inputs[1]!)
    const follows = (movers.has(node.op) || pointwise.has(node.op)) && run.length > 0 && run.every((input) => inHalf.has(input))
    if (!(isProduct || follows) || floats.some(isTooLarge)) continue
    half.add(node)
    for (const output of node.outputs) inHalf.add(output)
  }
  // What is only moved on its way to them is moved in float16: several of them then share what it comes from, and weights are held in it.
  const readers = readersOf(graph.nodes)
  const outputs = new Set(graph.outputs)
  for (const node of graph.nodes.toReversed()) {
    const made = floatsOf(node.outputs)
    if (!movers.has(node.op) || made.length === 0 || floatsOf(node.inputs).some(isTooLarge)) continue
    const own = made.flatMap((output) => readers.get(output) ?? [])
    const isFetched = made.some((output) => outputs.has(output))
    if (!isFetched && own.length > 0 && own.every((reader) => half.has(reader) || reader.op === 'Shape')) half.add(node)
  }
  return half
}

function readersOf(nodes: readonly Node[]): ReadonlyMap<string, readonly Node[]> {
  const readers = new Map<string, Node[]>()
  for (const node of nodes) {
    for (const input of new Set(node.inputs)) {
      const known = readers.get(input)
      if (known) known.push(node)
      else readers.set(input, [node])
    }
  }
  return readers
}

function exceedsHalf(literal: Tensor | undefined): boolean {
  return literal?.dtype === 'float32' && literal.data.some((element) => Number.isFinite(element) && Math.abs(Number(element)) > LARGEST)
}

const scratch = new Float32Array(1)
const scratchBits = new Uint32Array(scratch.buffer)
const HALF = 0x3f000000

/** The bits of the nearest numbers of float16, ties to even; beyond them infinity. */
export function toFloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const halves = new Uint16Array(values.length)
  for (let at = 0; at < bits.length; at++) {
    const all = bits[at]!
    const sign = (all >>> 16) & 0x8000
    const size = all & 0x7fffffff
    if (size > 0x7f800000) {
      halves[at] = 0x7e00 // NaN
    } else if (size >= 0x38800000) {
      const rounded = (size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13
      halves[at] = sign | Math.min(rounded, 0x7c00)
    } else {
      // Below 2^-14 float16 counts in steps of 2^-24, which are those of float32 from 0.5 on.
      scratch[0] = Math.abs(values[at]!) + 0.5
      halves[at] = sign | (scratchBits[0]! - HALF)
    }
  }
  return halves
}
