/**
 * A graph that computes no rows that nobody reads. Where only a slice of a value is read (the token that a model pools), what leads to it row by row
 * (norms, linear layers, activations, a query's attention) is computed of that slice alone. The last block of a model that pools CLS then costs
 * its keys and values, and little else.
 *
 * Values keep their names; those that became narrower are no hook points any more. The numbers are the same, up to the order in which a backend adds.
 */

import { int64, type Tensor } from '../tensor.js'
import type { Graph, Node } from './graph.js'
import { inferTypes, type Types } from './infer.js'
import { prune } from './prune.js'

/** Which part of a value is read: along one axis, or along an axis that is merged with the one before it into axis 0 (`flat`). */
interface Range {
  readonly axis: number
  readonly start: number
  readonly end: number
  /** Of the axis. */
  readonly length: number
  readonly flat?: true
}

/** `full`: all of it. */
type Demand = Range | 'full'

/** What a node must be given to make a range of its outputs, input by input; undefined: it cannot. */
type Rule = (node: Node, range: Range, about: About) => readonly Demand[] | undefined

interface About {
  readonly types: Types
  readonly constants: Graph['constants']
}

/** @param keep  values that stay whole, whoever reads them */
export function narrowed(graph: Graph, keep: readonly string[] = [], types: Types = inferTypes(graph)): Graph {
  const about = { types, constants: graph.constants }
  const demands = demandsOf(graph, keep, about)
  const made = new Set(graph.nodes.flatMap(({ outputs }) => outputs))
  const rangeOf = (value: string) => {
    const demand = made.has(value) ? demands.get(value) : undefined
    return demand === undefined || demand === 'full' ? undefined : demand
  }
  if (![...made].some(rangeOf)) return graph
  const constants: Record<string, Tensor> = { ...graph.constants }
  const nodes: Node[] = []
  const slices = new Map<string, string>()
  const literal = (values: readonly number[]) => {
    const name = `narrow/${values.join(',')}`
    constants[name] = int64([values.length], values)
    return name
  }
  /** A value of which the whole is there, as the range that a node reads. */
  const cut = (value: string, range: Range) => {
    const name = `${value}/narrow ${range.axis} ${range.start} ${range.end}`
    if (!slices.has(name)) {
      slices.set(name, name)
      const inputs = [value, literal([range.start]), literal([range.end]), literal([range.axis])]
      nodes.push({ op: 'Slice', inputs, outputs: [name], attributes: {} })
    }
    return name
  }
  for (const node of graph.nodes) {
    const range = node.outputs.map(rangeOf).find((each) => each !== undefined)
    const own = sliceOf(node, about)
    if (own && !range && rangeOf(node.inputs[0]!))
      nodes.push({ op: 'Identity', inputs: [node.inputs[0]!], outputs: node.outputs, attributes: {} })
    else if (!range) nodes.push(node)
    else {
      const wanted = rules[node.op]!(node, range, about)!
      const inputs = node.inputs.map((input, at) => {
        const demand = wanted[at]!
        return demand === 'full' || rangeOf(input) ? input : cut(input, demand)
      })
      nodes.push({ ...node, inputs: node.op === 'Reshape' ? [inputs[0]!, literal(reshaped(node, range, about))] : inputs })
    }
  }
  const isWhole = (value: string) => rangeOf(value) === undefined
  return prune({ ...graph, constants, nodes, hookPoints: graph.hookPoints.filter(({ firings }) => firings.every(isWhole)) })
}

/** From the outputs backwards: of each value, what its readers need of it. */
function demandsOf(graph: Graph, keep: readonly string[], about: About): ReadonlyMap<string, Demand> {
  const demands = new Map<string, Demand>([...graph.outputs, ...keep].map((value) => [value, 'full']))
  const ask = (value: string, demand: Demand) => {
    const known = demands.get(value)
    demands.set(value, known === undefined || isSame(known, demand) ? demand : 'full')
  }
  for (const node of graph.nodes.toReversed()) {
    const asked = node.outputs.flatMap((output) => demands.get(output) ?? [])
    if (asked.length === 0) continue
    const [first] = asked as [Demand]
    const range = first !== 'full' && asked.every((demand) => isSame(demand, first)) ? first : undefined
    const wanted = range && rules[node.op]?.(node, range, about)
    if (wanted) for (const [at, input] of node.inputs.entries()) ask(input, wanted[at]!)
    else {
      for (const output of node.outputs) demands.set(output, 'full')
      const slice = sliceOf(node, about)
      for (const [at, input] of node.inputs.entries()) ask(input, slice && at === 0 ? slice : 'full')
    }
  }
  return demands
}

const isSame = (a: Demand, b: Demand) =>
  a === 'full' || b === 'full' ? a === b : a.axis === b.axis && a.start === b.start && a.end === b.end && a.flat === b.flat

/** What a Slice keeps, when that is at most half of one axis. */
function sliceOf({ op, inputs }: Node, { types, constants }: About): Range | undefined {
  if (op !== 'Slice' || inputs.length !== 4) return undefined
  const [start, end, axis] = inputs
    .slice(1)
    .map((input) => (constants[input]?.data.length === 1 ? Number(constants[input].data[0]) : undefined))
  if (start === undefined || end === undefined || axis === undefined || axis < 0) return undefined
  const length = types.get(inputs[0]!)!.shape[axis]
  if (typeof length !== 'number' || start < 0 || end > length || end <= start || 2 * (end - start) > length) return undefined
  return { axis, start, end, length }
}

const shapeOf = (value: string, { types }: About) => types.get(value)!.shape

/** One input, row by row; the others are small and as they are. */
const unary: Rule = ({ inputs }, range) => inputs.map((_, at) => (at === 0 ? range : 'full'))

/** Inputs broadcast: what has the axis is narrowed along it. */
const broadcast: Rule = ({ inputs, outputs }, range, about) => {
  const out = shapeOf(outputs[0]!, about)
  return inputs.map((input) => {
    const shape = shapeOf(input, about)
    const axis = range.axis - (out.length - shape.length)
    return axis < 0 || shape[axis] !== out[range.axis] ? 'full' : { ...range, axis }
  })
}

/** Along an axis of its own, which must be another. */
const alongAxis: Rule = (node, range, about) => {
  const rank = shapeOf(node.inputs[0]!, about).length
  const axis = (node.attributes.axis as number | undefined) ?? -1
  return (axis < 0 ? axis + rank : axis) === range.axis ? undefined : unary(node, range, about)
}

const reduce: Rule = (node, range, about) => {
  const axes = node.inputs[1] === undefined ? undefined : about.constants[node.inputs[1]]
  const rank = shapeOf(node.inputs[0]!, about).length
  if (!axes || node.attributes.keepdims === 0 || range.flat) return undefined
  const isReduced = Array.from(axes.data, Number).some((axis) => (axis < 0 ? axis + rank : axis) === range.axis)
  return isReduced ? undefined : unary(node, range, about)
}

const matMul: Rule = ({ inputs, outputs }, range, about) => {
  if (range.flat) return undefined
  const rank = shapeOf(outputs[0]!, about).length
  const shapes = inputs.map((input) => shapeOf(input, about))
  if (shapes.some((shape) => shape.length !== rank)) return undefined
  if (range.axis === rank - 2) return [range, 'full']
  if (range.axis === rank - 1) return ['full', range]
  return shapes.map((shape) => (shape[range.axis] === range.length ? range : 'full'))
}

/** Rows of all inputs as one matrix, one of them after the other. */
const gemm: Rule = (node, range, about) => {
  const bias = node.inputs[2]
  if (!range.flat || node.attributes.transA === 1 || (bias && shapeOf(bias, about).length > 1)) return undefined
  return unary(node, range, about)
}

/** Between `[batch, pos, ...]` and rows `[batch * pos, d]`, or of what comes after the axis. */
const reshape: Rule = ({ inputs, outputs }, range, about) => {
  const [from, to] = [shapeOf(inputs[0]!, about), shapeOf(outputs[0]!, about)]
  const wanted = about.constants[inputs[1]!]
  if (
    !wanted ||
    Number(wanted.data[0]) !== -1 ||
    Array.from(wanted.data, Number)
      .slice(1)
      .some((length) => length <= 0)
  )
    return undefined
  const isRows = (shape: typeof from, other: typeof from) => shape.length === 2 && typeof other[0] === 'string' && !other[0].includes('*')
  const rest = (shape: typeof from) => shape.slice(2).reduce<number>((product, length) => product * Number(length), 1)
  if (range.flat) {
    const { start, end, length } = range
    return isRows(to, from) && from[1] === length && rest(from) === to[1] ? [{ axis: 1, start, end, length }, 'full'] : undefined
  }
  if (range.axis !== 1) return undefined
  if (isRows(from, to) && rest(to) === from[1] && from[0] !== to[0]) return [{ ...range, axis: 0, flat: true }, 'full']
  return from[0] === to[0] && from[1] === to[1] ? [range, 'full'] : undefined
}

/** The shape that a reshaped range has. */
function reshaped({ inputs }: Node, range: Range, { constants }: About): number[] {
  const shape = Array.from(constants[inputs[1]!]!.data, Number)
  return range.flat ? shape : shape.map((length, axis) => (axis === range.axis ? range.end - range.start : length))
}

const transpose: Rule = ({ attributes }, range) => {
  const perm = attributes.perm as readonly number[] | undefined
  return perm && !range.flat ? [{ ...range, axis: perm[range.axis]! }] : undefined
}

const normalize: Rule = (node, range, about) => (range.flat ? unary(node, range, about) : alongAxis(node, range, about))

/** Rows of the first axis chosen by a list. */
const gather: Rule = ({ inputs, attributes }, range, about) => {
  const isOfRows = (attributes.axis ?? 0) === 0 && shapeOf(inputs[1]!, about).length === 1
  return isOfRows && range.axis > 0 && !range.flat ? [range, 'full'] : undefined
}

const rules: Readonly<Partial<Record<Node['op'], Rule>>> = {
  ...Object.fromEntries(
    (['Identity', 'Cast', 'Neg', 'Abs', 'Sqrt', 'Reciprocal', 'Exp', 'Log', 'Erf', 'Tanh', 'Sigmoid', 'Relu', 'Gelu'] as const).map(
      (op) => [op, unary],
    ),
  ),
  ...Object.fromEntries(
    (['Add', 'Sub', 'Mul', 'Div', 'Pow', 'Min', 'Max', 'Equal', 'Greater', 'Less', 'And', 'Or', 'Not', 'IsNaN', 'Where'] as const).map(
      (op) => [op, broadcast],
    ),
  ),
  LayerNormalization: normalize,
  Softmax: normalize,
  ReduceMean: reduce,
  ReduceSum: reduce,
  MatMul: matMul,
  Gemm: gemm,
  Reshape: reshape,
  Transpose: transpose,
  Gather: gather,
}
