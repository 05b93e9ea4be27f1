/**
 * Checks what a run is given against what the graph declares, before a backend sees it. Every backend refuses the same things in the
 * same words.
 */

import { EngineError, type Problem } from '../errors.js'
import type { Graph, ValueType } from '../graph/graph.js'
import type { DType, Tensor } from '../tensor.js'
import type { WriteBack } from './backend.js'

/**
 * @param inputs  must be exactly the graph's inputs, of their dtypes and shapes; a symbol has one length, at least 1, in all of them
 * @param accepts which dtypes may stand for a declared one; by default only itself
 * @throws FEED_MISSING, VALUE_UNKNOWN, INPUT_INVALID, SHAPE_MISMATCH
 */
export function checkInputs(
  graph: Graph,
  inputs: Readonly<Record<string, Tensor>>,
  accepts: (declared: DType, given: DType) => boolean = (declared, given) => declared === given,
): void {
  checkPresent(graph, graph.inputs, (name) => Object.hasOwn(inputs, name))
  const unknown = Object.keys(inputs).find((name) => !Object.hasOwn(graph.inputs, name))
  if (unknown !== undefined) throw new EngineError('VALUE_UNKNOWN', { value: unknown, graph: graph.name, known: Object.keys(graph.inputs) })
  const bound = new Map<string, number>()
  for (const [name, type] of Object.entries(graph.inputs)) checkTensor(`Input "${name}"`, { type, given: inputs[name]!, accepts, bound })
}

/** Weights may be more than the graph's parameters: they are shared by every program that uses them. */
export function checkWeights(
  graph: Graph,
  weights: { has(name: string): boolean; get(name: string): Pick<Tensor, 'dtype' | 'shape'> | undefined },
  accepts: (declared: DType, given: DType) => boolean = (declared, given) => declared === given,
): void {
  checkPresent(graph, graph.parameters, (name) => weights.has(name))
  const bound = new Map<string, number>()
  for (const [name, type] of Object.entries(graph.parameters))
    checkTensor(`Weight "${name}"`, { type, given: weights.get(name)!, accepts, bound })
}

/** @throws VALUE_UNKNOWN for a name that is not an output */
export function checkFetch(graph: Graph, outputs: ReadonlySet<string>, fetch: readonly string[]): void {
  const unknown = fetch.find((name) => !outputs.has(name))
  if (unknown !== undefined) throw new EngineError('VALUE_UNKNOWN', { value: unknown, graph: graph.name, known: graph.outputs })
}

/** Before a run. @throws VALUE_UNKNOWN for an output or a weight that is not there */
export function checkWriteBack(
  graph: Graph,
  writeBack: WriteBack,
  { outputs, weights }: { outputs: ReadonlySet<string>; weights: ReadonlySet<string> },
): void {
  checkFetch(graph, outputs, Object.values(writeBack))
  const unknown = Object.keys(writeBack).find((name) => !weights.has(name))
  if (unknown !== undefined) throw new EngineError('VALUE_UNKNOWN', { value: unknown, graph: graph.name, known: [...weights] })
}

/** After a run, before any weight changes: the value is what the weight is. @throws INPUT_INVALID, SHAPE_MISMATCH */
export function checkWritten(weight: string, was: Pick<Tensor, 'dtype' | 'shape'>, becomes: Pick<Tensor, 'dtype' | 'shape'>): void {
  const what = `What is written back to weight "${weight}"`
  const exactly = (declared: DType, given: DType) => declared === given
  checkTensor(what, { type: was, given: becomes, accepts: exactly, bound: new Map() })
}

/** @throws VALUE_UNKNOWN for a weight that is not among those uploaded */
export function checkRead(names: readonly string[], weights: ReadonlySet<string>): void {
  const unknown = names.find((name) => !weights.has(name))
  if (unknown !== undefined) throw new EngineError('VALUE_UNKNOWN', { value: unknown, graph: 'the uploaded weights', known: [...weights] })
}

function checkPresent(graph: Graph, declared: Readonly<Record<string, ValueType>>, isGiven: (name: string) => boolean): void {
  const names = Object.keys(declared).filter((name) => !isGiven(name))
  if (names.length === 0) return
  const problems: Problem[] = names.map((name) => ({ path: name, message: `"${name}" is missing` }))
  throw new EngineError('FEED_MISSING', { names, graph: graph.name }, problems)
}

interface Check {
  readonly type: ValueType
  readonly given: Pick<Tensor, 'dtype' | 'shape'>
  readonly accepts: (declared: DType, given: DType) => boolean
  /** Lengths of the symbols met so far. */
  readonly bound: Map<string, number>
}

function checkTensor(what: string, { type, given, accepts, bound }: Check): void {
  if (!accepts(type.dtype, given.dtype)) {
    throw new EngineError('INPUT_INVALID', { path: what, problem: `it is ${given.dtype}; expected ${type.dtype}` })
  }
  const fits = (declared: number | string, length: number) => {
    if (typeof declared === 'number') return declared === length
    if (!bound.has(declared) && length > 0) bound.set(declared, length)
    return bound.get(declared) === length
  }
  if (given.shape.length !== type.shape.length || !type.shape.every((dim, axis) => fits(dim, given.shape[axis]!))) {
    const expected = type.shape.map((dim) => (typeof dim === 'string' && bound.has(dim) ? `${dim}=${bound.get(dim)}` : dim))
    throw new EngineError('SHAPE_MISMATCH', { what, expected, actual: given.shape })
  }
}
