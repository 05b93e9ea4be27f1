/**
 * Reverse-mode differentiation: a graph with the gradients of one of its values among its outputs.
 *
 * The nodes are gone through backwards; each passes the gradients of its outputs on to its inputs by the rule of its operator, and what
 * reaches a value on several ways is added up (Linnainmaa 1976; Griewank & Walther, "Evaluating Derivatives", 2008, chapter 3). The
 * gradient is again a graph of the same operators: it runs wherever models run, can be edited, and can be differentiated again.
 */

import { EngineError, invariant, type Problem } from '../errors.js'
import { GradientNodes } from './gradient-nodes.js'
import type { Graph, Node } from './graph.js'
import { GraphEditor } from './graph-editor.js'
import { attributesOf, type Types } from './infer.js'
import type { GradientCall } from './operator.js'
import { operators } from './operators.js'
import { bringIntoPath, writeOutEach } from './write-out.js'

export interface DifferentiateOptions {
  /** Of the outputs' names; another one than the default where a graph is differentiated twice. */
  readonly prefix?: string
  /** Values that count as constants: nothing goes back through them (PyTorch's `detach`). */
  readonly stopAt?: readonly string[]
}

const PREFIX = 'grad/'

/** The output that holds the gradient of a target. */
export function gradientName(target: string, prefix = PREFIX): string {
  return `${prefix}${target}`
}

/** Whether values of a graph are made by differentiation. */
export function hasGradients({ nodes }: Graph): boolean {
  return nodes.some(({ outputs }) => outputs.some((output) => output.startsWith(PREFIX)))
}

/**
 * @param of             a float value; its gradient is that of the sum of its elements (a loss is a scalar)
 * @param withRespectTo  hook points (what an edit of all its firings would move: their gradients summed), inputs, parameters or any other
 *   values, floats
 * @returns  the graph with one more output for each target, in this order, named `gradientName(target)`, of the target's dtype and shape;
 *   zeros where `of` does not depend on it. The values there were are computed as before, bit by bit, except where a target is inside a
 *   fused operator, which is then written out (write-out.ts). Edits come before differentiation: an edit of the returned graph does not
 *   change its gradients' rules.
 * @throws   VALUE_UNKNOWN; INPUT_INVALID when a value is not of floats or a name is taken; each with all problems
 */
export function differentiate(
  graph: Graph,
  of: string,
  withRespectTo: readonly string[],
  { prefix = PREFIX, stopAt = [] }: DifferentiateOptions = {},
): Graph {
  const editor = new GraphEditor(graph)
  const targets = resolveTargets(graph, editor.types, { of, withRespectTo, prefix })
  const onTheWay = ancestors(graph.nodes, of)
  writeOutEach(editor, ({ op, outputs }) => operators[op].gradient === 'body' && outputs.some((output) => onTheWay.has(output)))
  const needed = ancestors(editor.graph().nodes, of)
  for (const value of [...targets.values()].flat()) bringIntoPath(editor, value, needed)
  const active = dependents(editor.graph().nodes, { on: [...targets.values()].flat(), types: editor.types, stopAt: new Set(stopAt) })
  giveGradientOutputs(editor, ({ inputs, outputs }) => inputs.some((at) => active.has(at)) && outputs.some((at) => needed.has(at)))
  const forward = editor.graph()
  const nodes = new GradientNodes(forward, { types: editor.types, prefix })
  const gradients = new Gradients(nodes)
  if (active.has(of)) {
    gradients.add(of, nodes.filled(of, 1))
    for (const node of forward.nodes.toReversed()) passBack(node, { nodes, gradients, active, types: editor.types })
  }
  const made = new Map<string, string>()
  for (const [target, firings] of targets) {
    const parts = firings.flatMap((firing) => gradients.of(firing) ?? [])
    made.set(gradientName(target, prefix), parts.length === 0 ? nodes.filled(firings[0]!, 0) : nodes.sum(parts))
  }
  return nodes.graph(made)
}

interface Request {
  readonly of: string
  readonly withRespectTo: readonly string[]
  readonly prefix: string
}

/** The values that each target stands for, by target. */
function resolveTargets(graph: Graph, types: Types, { of, withRespectTo, prefix }: Request): Map<string, readonly string[]> {
  const hookPoints = new Map(graph.hookPoints.map((hookPoint) => [hookPoint.name, hookPoint.firings]))
  const targets = new Map(withRespectTo.map((target) => [target, hookPoints.get(target) ?? [target]]))
  const asked = [
    { path: 'of', name: of, values: [of] },
    ...withRespectTo.map((name, at) => ({ path: `withRespectTo[${at}]`, name, values: targets.get(name)! })),
  ]
  const unknown = asked.filter(({ values }) => !values.every((value) => types.has(value)))
  if (unknown.length > 0) {
    const problems = unknown.map(({ path, name }) => ({ path, message: `"${name}" is not a value of the graph` }))
    throw new EngineError('VALUE_UNKNOWN', { value: unknown[0]!.name, graph: graph.name, known: [...types.keys()] }, problems)
  }
  const unfit = asked.flatMap(({ path, name, values }): Problem[] => {
    const dtype = values.map((value) => types.get(value)!.dtype).find((each) => !each.startsWith('float'))
    return dtype === undefined ? [] : [{ path, message: `"${name}" is of ${dtype}; only floats have gradients` }]
  })
  const taken = [...targets.keys()].filter((target) => types.has(gradientName(target, prefix)))
  const path = (target: string) => `withRespectTo[${withRespectTo.indexOf(target)}]`
  const clashes = taken.map((target) => ({
    path: path(target),
    message: `"${gradientName(target, prefix)}" is there already; differentiate under another prefix`,
  }))
  const problems = [...unfit, ...clashes]
  if (problems.length > 0) throw new EngineError('INPUT_INVALID', { path: problems[0]!.path, problem: problems[0]!.message }, problems)
  return targets
}

/** `value` and everything that it is computed from. */
function ancestors(nodes: readonly Node[], value: string): ReadonlySet<string> {
  const needed = new Set([value])
  for (const node of nodes.toReversed()) {
    if (node.outputs.some((output) => needed.has(output))) for (const input of node.inputs) needed.add(input)
  }
  return needed
}

/**
 * The values whose gradient matters: the targets, and floats that are computed from them by operators with a gradient, up to those that it
 * stops at. A value without elements passes nothing on.
 */
function dependents(
  nodes: readonly Node[],
  { on, types, stopAt }: { on: readonly string[]; types: Types; stopAt: ReadonlySet<string> },
): ReadonlySet<string> {
  const isFloat = (value: string) => types.get(value)!.dtype.startsWith('float') && !types.get(value)!.shape.includes(0)
  const active = new Set(on.filter(isFloat))
  for (const { op, inputs, outputs } of nodes) {
    if (typeof operators[op].gradient !== 'function' || !inputs.some((input) => active.has(input))) continue
    for (const output of outputs) if (isFloat(output) && !stopAt.has(output)) active.add(output)
  }
  return active
}

/** Gives nodes the optional outputs that the rules of their operators read. */
function giveGradientOutputs(editor: GraphEditor, isPassed: (node: Node) => boolean): void {
  for (const node of editor.graph().nodes.slice()) {
    const wanted = operators[node.op].gradientOutputs ?? 0
    if (node.outputs.length >= wanted || !isPassed(node)) continue
    const more = Array.from({ length: wanted - node.outputs.length }, (_, at) => `${node.outputs[0]}/output${node.outputs.length + at}`)
    const index = editor.indexOf(node)
    editor.remove(node)
    editor.insert(index, [{ ...node, outputs: [...node.outputs, ...more] }])
  }
}

/** Contributions to the gradients of values; they are added when the sum is asked for. */
class Gradients {
  readonly #nodes: GradientNodes
  readonly #parts = new Map<string, readonly string[]>()

  constructor(nodes: GradientNodes) {
    this.#nodes = nodes
  }

  add(value: string, gradient: string): void {
    this.#parts.set(value, [...(this.#parts.get(value) ?? []), gradient])
  }

  of(value: string): string | undefined {
    const parts = this.#parts.get(value)
    if (parts === undefined) return undefined
    const sum = this.#nodes.sum(parts)
    this.#parts.set(value, [sum])
    return sum
  }
}

interface Pass {
  readonly nodes: GradientNodes
  readonly gradients: Gradients
  readonly active: ReadonlySet<string>
  readonly types: Types
}

function passBack(node: Node, { nodes, gradients, active, types }: Pass): void {
  const { gradient } = operators[node.op]
  if (typeof gradient !== 'function' || !node.inputs.some((input) => active.has(input))) return
  const ofOutputs = node.outputs.map((output) => gradients.of(output))
  if (ofOutputs.every((of) => of === undefined)) return
  const call: GradientCall = {
    names: node.inputs,
    inputs: node.inputs.map((input) => (input === '' ? undefined : types.get(input))),
    nOutputs: node.outputs.length,
    attributes: attributesOf(node),
    outputNames: node.outputs,
    outputs: node.outputs.map((output) => types.get(output)!),
    gradients: ofOutputs,
    wanted: node.inputs.map((input) => active.has(input)),
  }
  for (const [at, made] of gradient(nodes.builder, call).entries()) {
    invariant(at < node.inputs.length || made === undefined, `${node.op} has no input ${at}`)
    if (made !== undefined && call.wanted[at]) gradients.add(node.inputs[at]!, made)
  }
}
