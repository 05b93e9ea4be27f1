/**
 * How active each feature is in each image: over positions the largest activation and the mean. What sets of images are compared by; only what
 * is active leaves the engine.
 */

import { EngineError } from '../../errors.js'
import { findHookPoints } from '../../graph/edit.js'
import { literal, meanOver, multiply, sumOver, wholes } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import { GraphEditor } from '../../graph/graph-editor.js'
import { prune } from '../../graph/prune.js'
import { saePrefix, vectors } from '../../saes/attach-saes.js'
import { encode } from '../../saes/encode-decode.js'
import { checkFit } from '../../saes/fit-model.js'
import type { SaeConfig } from '../../saes/sae.js'
import { elementCount, int64, type Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import type { Workbench } from '../workbench.js'
import { joinSparseRows, type SparseRows } from './sparse-rows.js'

export interface PooledFeaturesInput {
  /** `[batch, channel, height, width]`, preprocessed. */
  readonly pixels: Tensor<'float32'>
  /** Of each SAE, along the second axis of its hook point; null: all. */
  readonly positions: readonly (readonly number[] | null)[]
  /** Latents of all SAEs together, so that `cost` knows. */
  readonly nLatents: number
  /** Positions of an image. */
  readonly nPositions: number
}

/** Of each SAE, in their order. */
export type PooledFeaturesOutput = readonly SparseRows[]

/** Latents of all positions of the images of one run: 128 MB. */
const LATENTS_PER_RUN = 2 ** 25
const ROWS_PER_RUN = 8

export const pooledFeatures: Analysis<PooledFeaturesInput, PooledFeaturesOutput> = {
  cost(input) {
    const rows = rowsPerRun(input)
    // dense rows of a run; sparse ones of all, at worst as long
    return { rows, bytes: input.pixels.data.byteLength + input.nLatents * (8 * rows + 12 * input.pixels.shape[0]!) }
  },

  async run(bench, input) {
    const { pixels, positions } = input
    const { hookPoints } = bench.model.description.vision
    for (const { key, config } of bench.saes) checkFit(config, { sae: key, model: bench.model.key, hookPoints })
    const selects = positions.map((selected) => selected !== null)
    const program = await bench.ready(`pooledFeatures ${selects.join()}`, () => graphOf(bench, selects))
    const selected = positions.flatMap((indices, index) =>
      indices === null ? [] : [[positionsInput(index), int64([indices.length], indices)] as const],
    )
    const parts = bench.saes.map((): SparseRows[] => [])
    const [batch, ...imageShape] = pixels.shape as [number, ...number[]]
    const length = elementCount(imageShape)
    for (let from = 0, rows = rowsPerRun(input); from < batch; from += rows) {
      const n = Math.min(rows, batch - from)
      const some = { ...pixels, shape: [n, ...imageShape], data: pixels.data.subarray(from * length, (from + n) * length) }
      const made = await program.run({ pixels: some, ...Object.fromEntries(selected) })
      for (const [index, sae] of bench.saes.entries()) {
        const of = (what: Pooled) => made[outputName(index, what)]!.data
        parts[index]!.push(sparse({ max: of('max'), mean: of('mean'), scale: of('scale'), nLatents: sae.config.dSae, key: sae.key }))
      }
    }
    return parts.map(joinSparseRows)
  },
}

function rowsPerRun({ pixels, nLatents, nPositions }: PooledFeaturesInput): number {
  return Math.max(1, Math.min(pixels.shape[0]!, ROWS_PER_RUN, Math.floor(LATENTS_PER_RUN / (nLatents * nPositions))))
}

type Pooled = 'max' | 'mean' | 'scale'

const positionsInput = (index: number) => `pooled[${index}].positions`
const outputName = (index: number, what: Pooled) => `pooled[${index}].${what}`

/** The model up to what SAEs read, their encoders, and the activations pooled over positions. @param selects  by SAE: whether positions are given */
function graphOf({ model, saes }: Workbench, selects: readonly boolean[]): Graph {
  const { graph, types, tower } = model.build(new Set(saes.map(({ config }) => config.hookPoint)))
  const editor = new GraphEditor(graph, types)
  const outputs = saes.flatMap(({ config }, index) => {
    const at = editor.graph().nodes.length
    const b = editor.builderAt(at, `pooled[${index}]/`)
    const [{ firings }] = findHookPoints(graph, [config.hookPoint]) as [Graph['hookPoints'][number]]
    const { axes } = tower.hookPoints.find(({ name }) => name === config.hookPoint)!
    let x = firings.at(-1)!
    if (axes.length === 2) x = b.op('Unsqueeze', [x, wholes(b, [1])])
    if (selects[index]) x = b.op('Gather', [x, b.input(positionsInput(index), 'int64', [`pooled${index}Positions`])], { axis: 1 })
    const made = pooled(b, axes.length === 2 ? x : vectors(b, x, config), { config, index })
    editor.insert(at, b.nodes(), b.declarations())
    return made
  })
  return prune({ ...editor.graph(), outputs })
}

type Builder = ReturnType<GraphEditor['builderAt']>

/** @param x  `[batch, pos, dIn]`; returns `[batch, dSae]` twice, and `[batch]` */
function pooled(b: Builder, x: string, { config, index }: { readonly config: SaeConfig; readonly index: number }): string[] {
  const batchAndPos = b.op('Shape', [x], { end: 2 })
  const byImage = (value: string, width: number) => b.op('Reshape', [value, b.op('Concat', [batchAndPos, wholes(b, [width])], { axis: 0 })])
  const tokens = b.op('Reshape', [x, wholes(b, [-1, config.dIn])])
  const encoded = encode(b, tokens, config, { prefix: saePrefix(index), axes: ['batch', 'dModel'] })
  const latents = byImage(encoded.latentActs, config.dSae)
  // where the input is no finite number the latents might not show it; this is NaN then
  const broken = byImage(sumOver(b, multiply(b, tokens, literal(b, 0)), -1), 1)
  const { scale } = encoded.normalized
  const undone = !config.transcoder || config.transcoder.denormalizes
  const scales = b.op('Add', [scaleOfTokens(b, undone ? scale : undefined, broken, byImage), broken])
  return [
    b.named(outputName(index, 'max'), b.op('ReduceMax', [latents, wholes(b, [1])], { keepdims: 0 })),
    b.named(outputName(index, 'mean'), meanOver(b, latents, 1, 0)),
    b.named(outputName(index, 'scale'), b.op('ReduceMean', [scales, wholes(b, [1, 2])], { keepdims: 0 })),
  ]
}

/** `[batch, pos, 1]`: one for each token, one for all of them, or none at all. */
function scaleOfTokens(b: Builder, scale: string | undefined, zeros: string, byImage: (value: string, width: number) => string): string {
  if (scale === undefined) return b.op('Add', [zeros, literal(b, 1)])
  const flat = b.op('Reshape', [zeros, wholes(b, [-1, 1])])
  return byImage(b.op('Add', [flat, scale]), 1)
}

interface Dense {
  readonly max: Float32Array
  readonly mean: Float32Array
  readonly scale: Float32Array
  readonly nLatents: number
  readonly key: string
}

/** @throws FILE_INVALID where a value is no finite number, as only weights can make it */
function sparse({ max, mean, scale, nLatents, key }: Dense): SparseRows {
  let nActive = 0
  for (const value of max) if (value > 0) nActive++
  const isBroken = !scale.every(Number.isFinite) || !max.every(Number.isFinite) || !mean.every(Number.isFinite)
  if (isBroken) {
    throw new EngineError('FILE_INVALID', { file: key, problem: "its weights, or the model's, make activations infinite or no number." })
  }
  const [latents, largest, means] = [new Int32Array(nActive), new Float32Array(nActive), new Float32Array(nActive)]
  const starts = new Int32Array(scale.length + 1)
  let entry = 0
  for (let row = 0; row < scale.length; row++) {
    for (let latent = 0, at = row * nLatents; latent < nLatents; latent++, at++) {
      if (!(max[at]! > 0)) continue
      latents[entry] = latent
      largest[entry] = max[at]!
      means[entry++] = mean[at]!
    }
    starts[row + 1] = entry
  }
  return { starts, latents, max: largest, mean: means, scale }
}
