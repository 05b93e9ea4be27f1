/**
 * What the heads of a model do over many pictures, as sums that add up: of their patterns, and of what cannot be had from those. Statistics are made of
 * them (head-statistics.ts) when all pictures have been seen.
 */

import type { GraphBuilder } from '../../graph/builder.js'
import { slice } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import { GraphEditor } from '../../graph/graph-editor.js'
import { prune } from '../../graph/prune.js'
import { nPositions, nPrefixTokens } from '../../hook-points.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import type { Edit } from '../../interventions/edit.js'
import type { VisionConfig } from '../../models/model.js'
import { int64, scalar, type Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import { editedRun } from '../edited-run.js'

export interface HeadSumsInput {
  /** `[batch, channel, height, width]`, preprocessed. */
  readonly pixels: Tensor<'float32'>
  /** Each once. */
  readonly layers: readonly number[]
  /** Of the run that is looked at; the bench's SAEs are those that they name. */
  readonly edits?: readonly Edit[]
  /** Heads times positions squared, of all these layers, so that `cost` knows. */
  readonly nWeights: number
}

/** Sums over images; axes `layer, head`, in the order of `layers`, and those that are said. */
export interface HeadSums {
  readonly nImages: number
  readonly layers: readonly number[]
  /** `[..., qPos, kPos]` */
  readonly pattern: Float64Array
  /** `[..., qPos]`: of each row its entropy in nats. */
  readonly entropy: Float64Array
  /** `[..., qPos]`: of each row its largest weight. */
  readonly largest: Float64Array
  /** Of the weights that patches give to patches, their mean over both taken away: the sum of squares. */
  readonly energy: Float64Array
}

const outputs = ['pattern', 'entropy', 'largest', 'energy'] as const

/** Least logarithm: of a weight of 0, whose own share of the entropy is 0. */
const SMALLEST = 1e-37

const ROWS_PER_RUN = 32
/** Copies of a pattern that are alive at once. */
const PATTERNS = 2

export const headSums: Analysis<HeadSumsInput, HeadSums> = {
  cost({ pixels, nWeights }) {
    const rows = Math.min(pixels.shape[0]!, ROWS_PER_RUN)
    // Patterns of all layers until the last; of one layer what is made of them; the sums.
    return { rows, bytes: nWeights * (4 * PATTERNS * rows + 8 + 4) }
  },

  async run(bench, { pixels, layers, edits = [] }) {
    const { model } = bench
    const run = editedRun(bench, edits, pixels.shape[0]!)
    const program = await bench.ready(`headSums ${layers.join()} ${run.structure}`, () => headSumsGraph(run.build(), model.config, layers))
    const n = nPositions(model.config)
    const nHeads = layers.length * model.config.nHeads
    let sums: HeadSums = {
      nImages: 0,
      layers,
      pattern: new Float64Array(nHeads * n * n),
      entropy: new Float64Array(nHeads * n),
      largest: new Float64Array(nHeads * n),
      energy: new Float64Array(nHeads),
    }
    for (const portion of run.portions(pixels, ROWS_PER_RUN)) {
      const values = await program.run(portion)
      const part = Object.fromEntries(outputs.map((name) => [name, values[`heads.${name}`]!.data]))
      sums = addHeadSums(sums, { nImages: portion.pixels.shape[0]!, layers, ...part } as unknown as HeadSums)
    }
    return sums
  },
}

/** Of the same heads over two lots of images. Adds to the arrays of the first. */
export function addHeadSums(to: HeadSums, more: HeadSums): HeadSums {
  for (const name of outputs) {
    const [into, from] = [to[name], more[name]]
    for (let at = 0; at < into.length; at++) into[at]! += from[at]!
  }
  return { ...to, nImages: to.nImages + more.nImages }
}

function headSumsGraph({ graph, types }: BuiltTower, config: VisionConfig, layers: readonly number[]): Graph {
  const editor = new GraphEditor(graph, types)
  const at = editor.graph().nodes.length
  const b = editor.builderAt(at, 'heads/')
  const ofLayers = layers.map((layer) => sumsOf(b, `blocks.${layer}.attn.hook_pattern`, config))
  const made = outputs.map((name) => {
    const parts = ofLayers.map((sums) => sums[name])
    return b.named(`heads.${name}`, b.op('Concat', parts, { axis: 0 }))
  })
  editor.insert(at, b.nodes(), b.declarations())
  return prune({ ...editor.graph(), outputs: made })
}

/** @param pattern  `[batch, head, qPos, kPos]` */
function sumsOf(b: GraphBuilder, pattern: string, config: VisionConfig): Record<(typeof outputs)[number], string> {
  const axes = (...of: number[]) => b.constant(int64([of.length], of))
  const sum = (x: string, ...of: number[]) => b.op('ReduceSum', [x, axes(...of)], { keepdims: 0 })
  const logarithm = b.op('Log', [b.op('Max', [pattern, b.constant(scalar(SMALLEST))])])
  const [first, end] = [nPrefixTokens(config), nPositions(config)]
  const between = [2, 3].reduce((x, axis) => slice(b, x, { axis, start: first, end }), pattern)
  const centred = b.op('Sub', [between, b.op('ReduceMean', [between, axes(2, 3)], { keepdims: 1 })])
  return {
    pattern: sum(pattern, 0),
    entropy: b.op('Neg', [sum(b.op('Mul', [pattern, logarithm]), 0, 3)]),
    largest: sum(b.op('ReduceMax', [pattern, axes(3)], { keepdims: 0 }), 0),
    energy: b.op('ReduceSumSquare', [centred, axes(0, 2, 3)], { keepdims: 0 }),
  }
}
