/**
 * Putting a quantity in the way of the computation.
 *
 * A fused operator computes quantities that its result does not pass through by name: LayerNormalization hands out 1 / scale beside its
 * result, and the hook point `ln1.hook_scale` is the reciprocal of that. Reading it is free. Before it is edited, the operator is written
 * out by its body, so that the result is computed from 1 / scale, and 1 / scale is computed from the hook point: the edit then reaches
 * the result, as it does where every step has a name (ViT-Prisma, TransformerLens).
 *
 * Operators of our own are written out, too, for those who do not have them.
 */

import { EngineError, invariant } from '../errors.js'
import type { Graph, Node } from './graph.js'
import { GraphEditor } from './graph-editor.js'
import { callOf } from './infer.js'
import { operators } from './operators.js'

/** Makes `value` one that is read by what depends on it; the graph keeps its meaning. @throws EDIT_INVALID when nothing depends on it */
export function putInPath(editor: GraphEditor, value: string): void {
  if (!bringIntoPath(editor, value) && !editor.isRead(value)) {
    throw new EngineError('EDIT_INVALID', { path: value, problem: 'nothing in this model depends on it, so an edit would have no effect' })
  }
}

/**
 * Makes a by-product of a fused operator one that the operator's result is computed from.
 * @param needed  leaves the operator as it is when none of its outputs is among these
 * @returns       false when there was nothing to do
 */
export function bringIntoPath(editor: GraphEditor, value: string, needed?: ReadonlySet<string>): boolean {
  const chain = sideChain(editor, value)
  if (!chain || (needed && !chain.fused.outputs.some((output) => needed.has(output)))) return false
  writeOut(editor, chain.fused)
  detour(editor, chain.undone)
  return true
}

/** The graph in operators that runtimes of ONNX have: the same graph, when it has no others. @throws GRAPH_INVALID */
export function writeOutOwn(graph: Graph): Graph {
  const isOwn = ({ op }: Node) => operators[op].domain === 'refract'
  if (!graph.nodes.some(isOwn)) return graph
  const editor = new GraphEditor(graph)
  writeOutEach(editor, isOwn)
  return editor.graph()
}

/** Replaces nodes by the bodies of their operators. */
export function writeOutEach(editor: GraphEditor, isWrittenOut: (node: Node) => boolean): void {
  for (const node of editor.graph().nodes.filter(isWrittenOut)) writeOut(editor, node)
}

/**
 * The fused node that computes `value` as a by-product, when there is one, and the invertible nodes that lead from the by-product to
 * `value`, in order.
 */
function sideChain(editor: GraphEditor, value: string): { fused: Node; undone: readonly Node[] } | undefined {
  const undone: Node[] = []
  let at = value
  for (;;) {
    const producer = editor.producer(at)
    if (!producer) return undefined
    const row = operators[producer.op]
    if (row.body && producer.outputs.indexOf(at) > 0) return { fused: producer, undone }
    if (!row.inverse) return undefined
    undone.unshift(producer)
    at = producer.inputs[0]!
  }
}

/** Replaces a node by the body of its operator. */
function writeOut(editor: GraphEditor, fused: Node): void {
  const { body } = operators[fused.op]
  invariant(body, `${fused.op} has no body`)
  const index = editor.indexOf(fused)
  const call = { ...callOf(fused, editor.types), names: fused.inputs }
  editor.remove(fused)
  // A prefix of its own: `hook_normalized@0/` is that of the edit which renamed this output, when the scale is edited after the result.
  const builder = editor.builderAt(index, `${fused.outputs[0]}/body/`)
  const made = body(builder, call)
  const names = new Map(fused.outputs.map((output, at) => [made[at]!, output]))
  const rename = (value: string) => names.get(value) ?? value
  const nodes = builder.nodes().map((node) => ({ ...node, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename) }))
  editor.insert(index, nodes, builder.declarations())
}

/**
 * With `undone` leading from x to y = f(x): whoever else reads x reads f^-1(y) instead, so that everything after x depends on y.
 */
function detour(editor: GraphEditor, undone: readonly Node[]): void {
  if (undone.length === 0) return
  const source = undone[0]!.inputs[0]!
  const end = undone.at(-1)!.outputs[0]!
  // The chain moves up to where its source is made, because what reads the source now comes after the chain.
  for (const node of undone) editor.remove(node)
  const start = editor.indexOf(editor.producer(source)!) + 1
  editor.insert(start, undone)
  const builder = editor.builderAt(start + undone.length, `${source}/`)
  const restored = undone.toReversed().reduce((value, node) => builder.op(operators[node.op].inverse!, [value]), end)
  editor.insert(start + undone.length, builder.nodes(), builder.declarations())
  editor.redirect(start + undone.length + builder.nodes().length, { from: source, to: restored })
}
