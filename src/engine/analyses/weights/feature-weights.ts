/**
 * How far a feature is moved at each token: by the same for all of them (`feature-add`), or to a value from where it is (`feature-set`). Decoding
 * is linear, so that is how much of its row of the decoder is added, times what the SAE scales its output by at that token.
 */

import { elementCount, float32, int64, type Tensor } from '../../tensor.js'
import type { SweepInput, SweepLine } from '../steering/sweep-contract.js'
import { codesGraph, codesInputs, codesOutputs } from '../steering/sweep-graph.js'
import type { Workbench } from '../workbench.js'

export interface FeatureSite {
  readonly input: Pick<SweepInput, 'op' | 'directions'>
  /** Of each place, 1 where it is. */
  readonly masks: readonly Float32Array[]
  /** What the first SAE reads, `[image, pos, ...]` or `[image, dIn]`. */
  readonly x: Tensor<'float32'>
}

/** @returns  of a line at a strength, the weight of each token (and head) */
export async function featureWeights(
  bench: Workbench,
  { input: { op, directions }, masks, x }: FeatureSite,
): Promise<(line: SweepLine, strength: number) => Float32Array> {
  const { config } = bench.saes[0]!
  const latents = [...new Set(directions.map(({ latent }) => latent!))]
  const encoder = await bench.ready('sweep codes', () => codesGraph(config))
  const tokens = tokensOf(x, config)
  const nTokens = tokens.shape[0]! / x.shape[0]!
  const { [codesOutputs.activations]: activations, [codesOutputs.scale]: scale } = await encoder.run({
    [codesInputs.x]: tokens,
    [codesInputs.latents]: int64([latents.length], latents),
  })
  // of each token, or one for all
  const scaleAt = (token: number) => scale?.data[scale.data.length === 1 ? 0 : token] ?? 1
  return ({ image, direction, place }, strength) => {
    const { latent, factor = 1 } = directions[direction]!
    const column = latents.indexOf(latent!)
    const mask = masks[place]!
    // a mask with heads has them after the position
    const perToken = mask.length / nTokens
    return mask.map((isIn, at) => {
      if (isIn === 0) return 0
      const token = image * nTokens + Math.floor(at / perToken)
      const from = op === 'feature-set' ? activations!.data[token * latents.length + column]! : 0
      return (strength * factor - from) * scaleAt(token)
    })
  }
}

/** A row for each token: one head of it, or all side by side. */
function tokensOf({ shape, data }: Tensor<'float32'>, { headIndex, dIn }: { headIndex?: number; dIn: number }): Tensor<'float32'> {
  if (headIndex === undefined) return float32([data.length / dIn, dIn], data)
  const [nHeads, dHead] = shape.slice(-2) as [number, number]
  const nTokens = elementCount(shape.slice(0, -2))
  const chosen = new Float32Array(nTokens * dHead)
  for (let token = 0; token < nTokens; token++) {
    const from = (token * nHeads + headIndex) * dHead
    chosen.set(data.subarray(from, from + dHead), token * dHead)
  }
  return float32([nTokens, dHead], chosen)
}
