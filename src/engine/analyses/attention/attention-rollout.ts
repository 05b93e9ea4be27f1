/**
 * Attention rollout: how much of each token of the picture's beginning is in each token of a layer, as far as attention mixes tokens.
 *
 *   A_l = rows of (fused_l + I) / 2 made to sum to 1,   rollout = A_L ... A_2 A_1
 *
 * where `fused` is the mean, the largest or the smallest over a layer's heads, without its smallest weights where some are discarded.
 * @see Abnar & Zuidema (2020), "Quantifying Attention Flow in Transformers", whose heads are averaged; the rest: vit-explain
 */

import { EngineError } from '../../errors.js'
import { GraphBuilder } from '../../graph/builder.js'
import { reshape, scaleBy, slice, sumOver } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import { GraphEditor } from '../../graph/graph-editor.js'
import { prune } from '../../graph/prune.js'
import { nPositions } from '../../hook-points.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import type { Edit } from '../../interventions/edit.js'
import { float32, type Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import { editedRun } from '../edited-run.js'

export const headFusions = ['mean', 'max', 'min'] as const
export type HeadFusion = (typeof headFusions)[number]

export interface RolloutInput {
  /** `[batch, channel, height, width]`, preprocessed. */
  readonly pixels: Tensor<'float32'>
  readonly heads: HeadFusion
  /** Share of a layer's fused weights, the smallest of them, that count as 0; from 0, below 1. */
  readonly discardRatio: number
  /** Up to this one, included. */
  readonly throughLayer: number
  /** Of the run that is looked at; the bench's SAEs are those that they name. */
  readonly edits?: readonly Edit[]
  /** Positions squared, so that `cost` knows. */
  readonly nWeights: number
}

export interface Rollout {
  /** `[batch, qPos, kPos]`, rows that sum to 1. */
  readonly rollout: Tensor<'float32'>
}

const ROWS_PER_RUN = 8

export const attentionRollout: Analysis<RolloutInput, Rollout> = {
  cost({ pixels, throughLayer, nWeights }) {
    const batch = pixels.shape[0]!
    const rows = Math.min(batch, ROWS_PER_RUN)
    return { rows, bytes: 4 * nWeights * (3 * rows * (throughLayer + 1) + 2 * batch) }
  },

  async run(bench, { pixels, heads, discardRatio, throughLayer, edits = [] }) {
    const { model, ready } = bench
    requireRatio(discardRatio)
    const { nLayers } = model.config
    if (throughLayer >= nLayers) {
      throw new EngineError('INPUT_INVALID', {
        path: 'throughLayer',
        problem: `${throughLayer} is out of range; layers are 0 to ${nLayers - 1}`,
      })
    }
    const n = nPositions(model.config)
    const count = throughLayer + 1
    const run = editedRun(bench, edits, pixels.shape[0]!)
    const fused = await ready(`fusedHeads ${heads} ${count} ${run.structure}`, () => fusedGraph(run.build(), heads, count))
    const mixed = await ready(`rollout ${count}`, () => rolloutGraph(count, n))
    const identity = identityMatrix(n)
    const batch = pixels.shape[0]!
    const rollout = new Float32Array(batch * n * n)
    let at = 0
    for (const portion of run.portions(pixels, ROWS_PER_RUN)) {
      const values = await fused.run(portion)
      const weights = values['rollout.fused']!
      for (let from = 0; from < weights.data.length; from += n * n) discardSmallest(weights.data.subarray(from, from + n * n), discardRatio)
      const { data } = (await mixed.run({ fused: weights, identity })).rollout!
      rollout.set(data, at)
      at += data.length
    }
    return { rollout: { dtype: 'float32', shape: [batch, n, n], data: rollout } }
  },
}

function requireRatio(ratio: number): void {
  if (ratio >= 0 && ratio < 1) return
  throw new EngineError('INPUT_INVALID', { path: 'discardRatio', problem: `is ${ratio}; expected a number from 0, below 1` })
}

/** Sets the smallest share of the weights to 0, of equals the first ones. */
function discardSmallest(weights: Float32Array, ratio: number): void {
  const nDiscarded = Math.floor(ratio * weights.length)
  if (nDiscarded === 0) return
  const limit = weights.slice().sort()[nDiscarded - 1]!
  let nEqual = nDiscarded - weights.reduce((count, weight) => count + (weight < limit ? 1 : 0), 0)
  for (const [at, weight] of weights.entries()) {
    if (weight < limit || (weight === limit && nEqual-- > 0)) weights[at] = 0
  }
}

const fusing = { mean: 'ReduceMean', max: 'ReduceMax', min: 'ReduceMin' } as const

/** `[batch, layer, qPos, kPos]` */
function fusedGraph({ graph, types }: BuiltTower, heads: HeadFusion, nLayers: number): Graph {
  const editor = new GraphEditor(graph, types)
  const at = editor.graph().nodes.length
  const b = editor.builderAt(at, 'rollout/')
  const axis = b.constant({ dtype: 'int64', shape: [1], data: BigInt64Array.of(1n) })
  const layers = Array.from({ length: nLayers }, (_, layer) =>
    b.op(fusing[heads], [`blocks.${layer}.attn.hook_pattern`, axis], { keepdims: 1 }),
  )
  const output = b.named('rollout.fused', b.op('Concat', layers, { axis: 1 }))
  editor.insert(at, b.nodes(), b.declarations())
  return prune({ ...editor.graph(), outputs: [output] })
}

function rolloutGraph(nLayers: number, nPos: number): Graph {
  const b = new GraphBuilder('rollout')
  const fused = b.input('fused', 'float32', ['batch', nLayers, nPos, nPos])
  const identity = b.input('identity', 'float32', [nPos, nPos])
  const half = scaleBy(b, b.op('Add', [fused, identity]), 0.5)
  const rows = b.op('Div', [half, sumOver(b, half, -1)])
  const layer = (index: number) => reshape(b, slice(b, rows, { axis: 1, start: index, end: index + 1 }), [-1, nPos, nPos])
  let mixed = layer(0)
  for (let index = 1; index < nLayers; index++) mixed = b.op('MatMul', [layer(index), mixed])
  return b.build([b.named('rollout', mixed)])
}

function identityMatrix(length: number): Tensor<'float32'> {
  const data = new Float32Array(length * length)
  for (let at = 0; at < length; at++) data[at * length + at] = 1
  return float32([length, length], data)
}
