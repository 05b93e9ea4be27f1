/** The logit lens as a graph: the tower, and after it what each layer's tokens would be answered. */

import type { GraphBuilder } from '../../graph/builder.js'
import { reshape } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import { GraphEditor } from '../../graph/graph-editor.js'
import { prune } from '../../graph/prune.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import type { VisionConfig } from '../../models/model.js'
import { int64, scalar } from '../../tensor.js'
import { type Scoring, scores } from '../targets.js'
import { nReadOut, poolsTokens, readOut } from './read-out.js'

export interface LensStructure {
  /** Of the residual stream. */
  readonly hookPoints: readonly string[]
  /** How many of the largest logits. */
  readonly topK: number
  /** Of labels that are fed, `nLabels` of them; absent: the classes are the model's own. */
  readonly labels?: { readonly scoring: Scoring; readonly nLabels: number }
  /** Whether all logits are wanted. */
  readonly withLogits: boolean
}

/** Its inputs beside the tower's; the directions of labels are `directionsInput`. */
export const lensInputs = { bias: 'lens.bias', target: 'lens.target' } as const

/** Its outputs; `[n, nRead]`, but for `topClasses` and `topLogits`, which have one axis more, and `target`, `[batch]`. */
export const lensOutputs = {
  topClasses: 'lens.topClasses',
  topLogits: 'lens.topLogits',
  logSumExp: 'lens.logSumExp',
  entropy: 'lens.entropy',
  targetLogit: 'lens.targetLogit',
  targetRank: 'lens.targetRank',
  target: 'lens.target.class',
} as const
export const allLogits = 'lens.logits'

/**
 * Rows `n` are hook points times batch, hook point by hook point. `lens.bias` `[nLabels]` is added to labels' logits; `lens.target` int64
 * `[batch]` is a class, or -1 for the model's own answer.
 */
export function lensGraph({ graph, types }: BuiltTower, config: VisionConfig, structure: LensStructure): Graph {
  const editor = new GraphEditor(graph, types)
  const at = editor.graph().nodes.length
  const b = editor.builderAt(at, 'lens/')
  const residual = b.op('Concat', [...structure.hookPoints], { axis: 0 })
  const rows = reshape(b, readOut(b, residual, config), [-1, config.head.dOut])
  const ofRows = logits(b, rows, config, structure)
  const ofTokens = b.named(allLogits, reshape(b, ofRows, [-1, nReadOut(config), structure.labels?.nLabels ?? config.head.dOut]))
  describe(b, ofTokens, structure.topK)
  const target = b.named(lensOutputs.target, targetClass(b, graph.outputs[0]!, config, structure))
  rankTarget(b, ofTokens, b.op('Concat', Array<string>(structure.hookPoints.length).fill(target), { axis: 0 }))
  editor.insert(at, b.nodes(), b.declarations())
  const outputs = [...Object.values(lensOutputs), ...(structure.withLogits ? [allLogits] : [])]
  return prune({ ...editor.graph(), outputs })
}

/** @param output  `[rows, dOut]` */
function logits(b: GraphBuilder, output: string, { head }: VisionConfig, { labels }: LensStructure): string {
  if (!labels) return output
  const { scoring, nLabels } = labels
  return b.op('Add', [scores(b, output, { dOut: head.dOut, scoring, nTargets: nLabels }), b.input(lensInputs.bias, 'float32', [nLabels])])
}

/** `[batch]`: what is fed, and where that is below 0 the class that the model answers. */
function targetClass(b: GraphBuilder, output: string, config: VisionConfig, structure: LensStructure): string {
  const fed = b.input(lensInputs.target, 'int64', ['batch'])
  if (!poolsTokens(config)) return b.op('Identity', [fed])
  const own = b.op('ArgMax', [logits(b, output, config, structure)], { axis: 1, keepdims: 0 })
  return b.op('Where', [b.op('GreaterOrEqual', [fed, b.constant(int64([], [0]))]), fed, own])
}

/** The largest logits, the logarithm of the sum of all exponentials, and the entropy of the softmax in nats. */
function describe(b: GraphBuilder, logits: string, topK: number): void {
  const [values, indices] = b.opMany('TopK', [logits, b.constant(int64([1], [topK]))], { nOutputs: 2, attributes: { axis: -1 } })
  b.named(lensOutputs.topLogits, values!)
  b.named(lensOutputs.topClasses, b.op('Cast', [indices!], { to: 'int32' }))
  const last = b.constant(int64([1], [2]))
  const largest = b.op('ReduceMax', [logits, last], { keepdims: 1 })
  const below = b.op('Sub', [logits, largest]) // at most 0, so that nothing overflows
  const exponentials = b.op('Exp', [below])
  const sum = b.op('ReduceSum', [exponentials, last], { keepdims: 1 })
  const mean = b.op('Div', [b.op('ReduceSum', [b.op('Mul', [exponentials, below]), last], { keepdims: 1 }), sum])
  const logSum = b.op('Log', [sum])
  b.named(lensOutputs.logSumExp, b.op('Squeeze', [b.op('Add', [largest, logSum]), last]))
  b.named(lensOutputs.entropy, b.op('Squeeze', [b.op('Sub', [logSum, mean]), last]))
}

/** @param target  int64 `[n]` */
function rankTarget(b: GraphBuilder, logits: string, target: string): void {
  const one = b.constant(int64([1], [1]))
  const shape = b.op('Concat', [b.op('Shape', [logits], { end: 2 }), one], { axis: 0 })
  const column = b.op('Unsqueeze', [target, b.constant(int64([2], [1, 2]))])
  const chosen = b.op('GatherElements', [logits, b.op('Expand', [column, shape])], { axis: 2 }) // [n, nRead, 1]
  const last = b.constant(int64([1], [2]))
  const above = b.op('ReduceSum', [b.op('Cast', [b.op('Greater', [logits, chosen])], { to: 'float32' }), last], { keepdims: 0 })
  b.named(lensOutputs.targetLogit, b.op('Squeeze', [chosen, last]))
  b.named(lensOutputs.targetRank, b.op('Add', [above, b.constant(scalar(1))]))
}
