/**
 * The type of every value of a graph, and what is wrong with it: one walk over the nodes in their order.
 */

import { EngineError, type Problem } from '../errors.js'
import type { DType, Tensor } from '../tensor.js'
import { bytesPerElement } from '../tensor.js'
import type { Declarations, Graph, Node } from './graph.js'
import { type AttributeSpec, type Call, type Inferred, type Operator, RuleViolation } from './operator.js'
import { type OpName, operators } from './operators.js'
import type { Attribute } from './value-type.js'

/** A vector of more elements than this is data, not a shape. */
const longestContents = 256

type Report = (path: string, message: string) => void

/** The type of every value of a graph, by name. */
export type Types = ReadonlyMap<string, Inferred>

/** @throws GRAPH_INVALID naming every node that does not fit */
export function inferTypes(graph: Graph): Types {
  const problems: Problem[] = []
  const types = walk(graph, (path, message) => problems.push({ path, message }))
  if (problems.length > 0) throw graphInvalid(graph, problems)
  return types
}

export function graphInvalid(graph: Graph, problems: readonly Problem[]): EngineError<'GRAPH_INVALID'> {
  const lines = problems.map(({ path, message }) => `${path}: ${message}`)
  return new EngineError('GRAPH_INVALID', { graph: graph.name, problems: lines }, problems)
}

/** Types on the way: what is known, and where problems go. */
export interface Typing {
  readonly types: Map<string, Inferred>
  /** Values that could not be typed; that has been reported, and what depends on them is not reported again. */
  readonly untyped: Set<string>
  readonly report: Report
}

/**
 * Types of the values, with a report of everything that does not fit: values that are missing, late or defined twice, arities,
 * attributes, shapes.
 */
export function walk(graph: Graph, report: Report): Map<string, Inferred> {
  const typing: Typing = { types: new Map(), untyped: new Set(), report }
  typeDeclarations(graph, typing)
  typeNodes(graph.nodes, typing)
  for (const [index, output] of graph.outputs.entries()) {
    if (!typing.types.has(output) && !typing.untyped.has(output)) report(`outputs[${index}]`, `"${output}" is not a value of the graph`)
  }
  return typing.types
}

export function typeDeclarations({ inputs, parameters, constants }: Declarations, typing: Typing): void {
  for (const [name, type] of Object.entries(inputs)) define(typing, name, type, () => `inputs["${name}"]`)
  for (const [name, type] of Object.entries(parameters)) define(typing, name, type, () => `parameters["${name}"]`)
  for (const [name, literal] of Object.entries(constants)) define(typing, name, literalType(literal), () => `constants["${name}"]`)
}

/** @param from  the place of the first of these nodes in the graph */
export function typeNodes(nodes: readonly Node[], typing: Typing, from = 0): void {
  const { types, untyped, report } = typing
  let produced: Set<string> | undefined
  for (const [at, node] of nodes.entries()) {
    const path = () => nodePath(node, from + at)
    const complain = (message: string) => report(path(), message)
    let isTyped = true
    for (const input of node.inputs) {
      if (input === '' || types.has(input)) continue
      isTyped = false
      if (untyped.has(input)) continue
      produced ??= new Set(nodes.flatMap((other) => other.outputs))
      complain(produced.has(input) ? `reads "${input}" before it is made` : `reads "${input}", which nothing defines`)
    }
    const outputs = checkNode(node, complain) && isTyped ? inferNode(node, types, complain) : undefined
    for (const [index, output] of node.outputs.entries()) {
      if (output === '') complain(`output ${index} has no name`)
      else define(typing, output, outputs?.[index], path)
    }
  }
}

function define({ types, untyped, report }: Typing, name: string, type: Inferred | undefined, path: () => string): void {
  if (types.has(name) || untyped.has(name)) report(path(), `value "${name}" is defined twice`)
  else if (type) types.set(name, type)
  else untyped.add(name)
}

export function nodePath(node: Node, index: number): string {
  return `nodes[${index}] (${node.op} -> ${node.outputs.map((output) => `"${output}"`).join(', ')})`
}

/** A node's attributes with the defaults of its operator filled in. */
export function attributesOf(node: Node): Readonly<Record<string, Attribute>> {
  const filled: Record<string, Attribute> = {}
  for (const [name, spec] of Object.entries(operators[node.op].attributes)) {
    const value = node.attributes[name] ?? ('default' in spec ? spec.default : undefined)
    if (value !== undefined) filled[name] = value
  }
  return filled
}

export function callOf(node: Node, types: Types): Call {
  return {
    inputs: node.inputs.map((input) => (input === '' ? undefined : types.get(input))),
    nOutputs: node.outputs.length,
    attributes: attributesOf(node),
  }
}

function inferNode(node: Node, types: Types, complain: (message: string) => void): readonly Inferred[] | undefined {
  try {
    return operators[node.op].infer(callOf(node, types))
  } catch (error) {
    if (!(error instanceof RuleViolation)) throw error
    complain(error.message)
    return undefined
  }
}

/** Arity and attributes; true when the shape rule can be asked. */
function checkNode(node: Node, complain: (message: string) => void): boolean {
  if (!Object.hasOwn(operators, node.op)) {
    complain(`"${node.op}" is not an operator`)
    return false
  }
  const row: Operator = operators[node.op as OpName]
  let isSound = true
  const reject = (message: string) => {
    isSound = false
    complain(message)
  }
  const arity = (what: string, actual: number, [min, max]: readonly [number, number]) => {
    if (actual < min || actual > max) reject(`has ${actual} ${what}; ${node.op} takes ${min === max ? min : `${min} to ${max}`}`)
  }
  arity('inputs', node.inputs.length, row.inputs)
  arity('outputs', node.outputs.length, row.outputs)
  const absent = node.inputs.findIndex((input, at) => input === '' && (at < row.inputs[0] || row.inputs[1] === Number.POSITIVE_INFINITY))
  if (absent >= 0) reject(`input ${absent} is absent, and ${node.op} needs it`)
  if (Object.keys(row.attributes).length + Object.keys(node.attributes).length === 0) return isSound
  for (const [name, value] of Object.entries(node.attributes)) {
    const spec = Object.hasOwn(row.attributes, name) ? row.attributes[name] : undefined
    if (!spec) reject(`has an attribute "${name}"; ${node.op} has ${Object.keys(row.attributes).join(', ') || 'none'}`)
    else if (!allows(spec, value)) reject(`attribute "${name}" is ${JSON.stringify(value)}; expected ${describe(spec)}`)
  }
  for (const [name, spec] of Object.entries(row.attributes)) {
    if (spec.required && !Object.hasOwn(node.attributes, name)) reject(`lacks the attribute "${name}" (${describe(spec)})`)
  }
  return isSound
}

const isDtype = (value: unknown): value is DType => typeof value === 'string' && Object.hasOwn(bytesPerElement, value)

function allows(spec: AttributeSpec, value: Attribute): boolean {
  switch (spec.kind) {
    case 'int':
      return Number.isSafeInteger(value) && (spec.allowed?.includes(value as number) ?? true)
    case 'float':
      return typeof value === 'number'
    case 'ints':
      return Array.isArray(value) && value.every((element) => Number.isSafeInteger(element))
    case 'string':
      return spec.allowed.includes(value as string)
    case 'dtype':
      return isDtype(value)
    default:
      return spec satisfies never
  }
}

function describe(spec: AttributeSpec): string {
  if ((spec.kind === 'int' || spec.kind === 'string') && spec.allowed)
    return spec.allowed.map((value) => JSON.stringify(value)).join(' or ')
  return { int: 'a whole number', float: 'a number', ints: 'a list of whole numbers', string: 'a word', dtype: 'the name of a dtype' }[
    spec.kind
  ]
}

function literalType({ dtype, shape, data }: Tensor): Inferred {
  const isShape = dtype === 'int64' && shape.length === 1 && data.length <= longestContents
  return { dtype, shape, ...(isShape ? { contents: Array.from(data as BigInt64Array, Number) } : {}) }
}
