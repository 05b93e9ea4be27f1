/** From runs of the lens' graph to its answer: images before layers, tokens apart from what they are pooled to, logits as probabilities. */

import { nPositions } from '../../hook-points.js'
import type { VisionConfig } from '../../models/model.js'
import type { Tensor } from '../../tensor.js'
import { allLogits, lensOutputs } from './lens-graph.js'
import { nReadOut, poolsTokens } from './read-out.js'

/** With the axes `batch, layer`, then `pos` of tokens, then what is said here. */
export interface LensValues {
  /** int32 `[..., k]`, the most probable first; of equals the first. */
  readonly topClasses: Tensor<'int32'>
  readonly topLogits: Tensor<'float32'>
  readonly topProbabilities: Tensor<'float32'>
  /** Of the softmax over all classes, in nats. */
  readonly entropy: Tensor<'float32'>
  readonly targetLogit: Tensor<'float32'>
  readonly targetProbability: Tensor<'float32'>
  /** int32, 1 for the most probable. */
  readonly targetRank: Tensor<'int32'>
  /** `[..., nClasses]` */
  readonly logits?: Tensor<'float32'>
}

export interface LogitLensOutput {
  /** `[batch]`: whose rank and probability is given. */
  readonly target: Tensor<'int32'>
  readonly tokens: LensValues
  /** Of the tokens pooled as the model pools them; at the last layer the model's own answer. Absent where it does not pool. */
  readonly pooled?: LensValues
}

/** One run of some images. */
export interface LensPart {
  readonly nRows: number
  /** By output of the graph, `[layer * nRows, nRead, ...]`. */
  readonly values: Readonly<Record<string, Tensor>>
}

export interface LensAxes {
  readonly config: VisionConfig
  readonly nLayers: number
  /** Without labels that only fill up. */
  readonly nClasses: number
  readonly topK: number
  readonly withLogits: boolean
}

export function arrangeLens(parts: readonly LensPart[], axes: LensAxes): LogitLensOutput {
  const nTokens = nPositions(axes.config)
  const targets = parts.flatMap(({ values }) => Array.from(values[lensOutputs.target]!.data, Number))
  return {
    target: { dtype: 'int32', shape: [targets.length], data: Int32Array.from(targets) },
    tokens: valuesOf(parts, axes, { first: 0, count: nTokens, shape: [nTokens] }),
    ...(poolsTokens(axes.config) && { pooled: valuesOf(parts, axes, { first: nTokens, count: 1, shape: [] }) }),
  }
}

/** Which rows of the graph's second axis, and the axes they become. */
interface Rows {
  readonly first: number
  readonly count: number
  readonly shape: readonly number[]
}

function valuesOf(parts: readonly LensPart[], { config, nLayers, nClasses, topK, withLogits }: LensAxes, rows: Rows): LensValues {
  const batch = parts.reduce((sum, { nRows }) => sum + nRows, 0)
  /** The first `keep` of each row. */
  const gather = <A extends Float32Array | Int32Array>(name: string, keep: number, target: A): A => {
    let at = 0
    for (const { nRows, values } of parts) {
      const { data } = values[name]!
      const width = data.length / (nLayers * nRows * nReadOut(config))
      for (let image = 0; image < nRows; image++) {
        for (let layer = 0; layer < nLayers; layer++) {
          const start = (layer * nRows + image) * nReadOut(config) + rows.first
          for (let row = start; row < start + rows.count; row++) {
            for (let index = 0; index < keep; index++) target[at++] = Number(data[row * width + index])
          }
        }
      }
    }
    return target
  }
  const leading = [batch, nLayers, ...rows.shape]
  const length = batch * nLayers * rows.count
  const floats = (name: string, keep = 1) => gather(name, keep, new Float32Array(length * keep))
  const float32 = (data: Float32Array, ...last: number[]): Tensor<'float32'> => ({ dtype: 'float32', shape: [...leading, ...last], data })
  const int32 = (name: string, ...last: number[]): Tensor<'int32'> => {
    const keep = last[0] ?? 1
    return { dtype: 'int32', shape: [...leading, ...last], data: gather(name, keep, new Int32Array(length * keep)) }
  }
  const logSumExp = floats(lensOutputs.logSumExp)
  const topLogits = floats(lensOutputs.topLogits, topK)
  const targetLogit = floats(lensOutputs.targetLogit)
  return {
    topClasses: int32(lensOutputs.topClasses, topK),
    topLogits: float32(topLogits, topK),
    topProbabilities: float32(
      topLogits.map((logit, at) => Math.exp(logit - logSumExp[Math.floor(at / topK)]!)),
      topK,
    ),
    entropy: float32(floats(lensOutputs.entropy)),
    targetLogit: float32(targetLogit),
    targetProbability: float32(targetLogit.map((logit, at) => Math.exp(logit - logSumExp[at]!))),
    targetRank: int32(lensOutputs.targetRank),
    ...(withLogits && { logits: float32(floats(allLogits, nClasses), nClasses) }),
  }
}
