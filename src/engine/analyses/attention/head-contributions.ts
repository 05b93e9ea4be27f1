/**
 * What makes a feature active: its SAE's pre-activation at one position, in parts. The residual stream is a sum of what was written to it, the
 * encoder is linear, and with the normalisation of its input frozen at what it was everything is, so the parts sum to the pre-activation:
 * what each earlier head wrote, by the position that it took it from, what each MLP wrote, what entered the first block, and biases.
 *
 *   pre = s (x - shift) . w - b_dec . w + b = sum over parts c of x:  s c . w'  +  bias
 *
 * with w the latent's column of the encoder, s what the normalisation multiplied this token by, and w' = w, less its mean where the
 * normalisation takes away a token's mean.
 */

import { EngineError, invariant } from '../../errors.js'
import { nPositions } from '../../hook-points.js'
import type { SaeConfig } from '../../saes/sae.js'
import { int64, type Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import { imageRuns } from '../image-runs.js'
import { contributionsGraph, type ReadSite, readSite } from './contributions-graph.js'

export interface HeadContributionsInput {
  /** `[batch, channel, height, width]`, preprocessed. */
  readonly pixels: Tensor<'float32'>
  /** Of the one SAE of the bench. */
  readonly latent: number
  /** Absent: where the pre-activation is largest, in each image. */
  readonly position?: number
  /** Layers times heads times positions, so that `cost` knows. */
  readonly nWeights: number
}

/** All float32; the parts and `bias` sum to `pre`. */
export interface HeadContributions {
  /** int32 `[batch]` */
  readonly position: Tensor<'int32'>
  /** `[batch]`: `hook_hidden_pre` of the latent there; of a gated SAE the magnitude's. */
  readonly pre: Tensor<'float32'>
  /** `[batch, layer, head, kPos]`: by the position that a head took it from; layers from `firstLayer` on. */
  readonly heads: Tensor<'float32'>
  readonly firstLayer: number
  /** `[batch, layer]`: the output bias of attention, which belongs to no head. */
  readonly attnBias: Tensor<'float32'>
  /** `[batch, layer]`: of the layers from 0 on whose MLP wrote before the SAE. */
  readonly mlp: Tensor<'float32'>
  /** `[batch]`: what entered the first block. */
  readonly embed: Tensor<'float32'>
  /** `[batch]`: of the SAE itself. */
  readonly bias: Tensor<'float32'>
}

const ROWS_PER_RUN = 32
/** What each block writes, and the values of its heads, until they are read. */
const KEPT = 4
const outputs = ['pre', 'heads', 'attnBias', 'mlp', 'embed', 'bias'] as const

export const headContributions: Analysis<HeadContributionsInput, HeadContributions> = {
  cost({ pixels, nWeights }) {
    const batch = pixels.shape[0]!
    const rows = Math.min(batch, ROWS_PER_RUN)
    return { rows, kept: KEPT * rows, bytes: 4 * nWeights * 3 * batch }
  },

  async run({ model, saes, ready }, { pixels, latent, position }) {
    const [sae] = saes
    invariant(sae, 'head contributions are to a feature of an SAE')
    const { config } = model
    const site = requireSite(sae.config)
    const nPos = nPositions(config)
    requireBelow('latent', latent, sae.config.dSae)
    if (position !== undefined) requireBelow('position', position, nPos)
    const program = await ready('headContributions', () => contributionsGraph(model.build(new Set()), { config, sae: sae.config, site }))
    const positions = int64(
      [nPos],
      Array.from({ length: nPos }, (_, at) => at),
    )
    const parts: Readonly<Record<string, Tensor>>[] = []
    for (const images of imageRuns(pixels, ROWS_PER_RUN)) {
      const wanted = int64([images.shape[0]!], Array<number>(images.shape[0]!).fill(position ?? -1))
      parts.push(await program.run({ pixels: images, latent: int64([1], [latent]), wanted, positions }))
    }
    const joined = (name: string) => joinBatches(parts.map((values) => values[`contributions.${name}`]!))
    const found = joined('position')
    return {
      ...(Object.fromEntries(outputs.map((name) => [name, joined(name)])) as Record<(typeof outputs)[number], Tensor<'float32'>>),
      position: { dtype: 'int32', shape: found.shape, data: Int32Array.from(found.data, Number) },
      firstLayer: site.firstLayer,
    }
  },
}

/** @throws INPUT_INVALID */
function requireSite(config: SaeConfig): ReadSite {
  const site = readSite(config)
  if (site && site.lastLayer >= 0) return site
  const problem = site
    ? `reads ${config.hookPoint}, before any head has written`
    : `reads ${config.hookPoint}; heads write to the residual stream, so the SAE must read that (hook_resid_pre, mid, post) or hook_attn_out`
  throw new EngineError('INPUT_INVALID', { path: 'sae', problem })
}

function requireBelow(path: string, value: number, length: number): void {
  if (value < length) return
  throw new EngineError('INPUT_INVALID', { path, problem: `${value} is out of range; there are 0 to ${length - 1}` })
}

function joinBatches(parts: readonly Tensor[]): Tensor<'float32'> {
  const [{ shape }] = parts as [Tensor]
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0))
  let at = 0
  for (const part of parts) {
    data.set(Array.from(part.data as Float32Array, Number), at)
    at += part.data.length
  }
  return { dtype: 'float32', shape: [parts.reduce((sum, part) => sum + part.shape[0]!, 0), ...shape.slice(1)], data }
}
