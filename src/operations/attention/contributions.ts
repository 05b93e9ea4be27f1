/** A feature taken apart into what heads wrote: from the request to the engine and back. */

import type { ModelRecord } from '../../catalog/catalog.js'
import { modelSource } from '../../catalog/catalog.js'
import { saeSource } from '../../catalog/sae-source.js'
import { readSite } from '../../engine/analyses/attention/contributions-graph.js'
import type { HeadContributions } from '../../engine/analyses/attention/head-contributions.js'
import { EngineError } from '../../engine/errors.js'
import { nPositions } from '../../engine/hook-points.js'
import type { VisionConfig } from '../../engine/models/model.js'
import { elementCount, type Tensor } from '../../engine/tensor.js'
import type { Problems } from '../errors.js'
import type { DownloadedSae } from '../feature-facts/find-feature.js'
import { checkSaesFit } from '../find-saes.js'
import type { Call, Context } from '../operation.js'
import type { AttentionAnswer } from '../schemas/attention.js'

export interface ContributionsOf {
  readonly model: ModelRecord
  readonly sae: DownloadedSae
  readonly feature: number
  readonly position?: number
}

/** Everything that does not fit goes to `problems`. */
export function checkContributions({ model, sae, feature, position }: ContributionsOf, problems: Problems, path = 'contributions'): void {
  const refuse = (field: string, problem: string) => {
    problems.add(`${path}.${field}`, new EngineError('INPUT_INVALID', { path: `${path}.${field}`, problem }))
  }
  checkSaesFit([sae], model, problems, `${path}.sae`)
  const { config } = sae.download.description
  const site = readSite(config)
  if (!site || site.lastLayer < 0) {
    const why = site ? 'before any head has written' : 'which is no sum of what heads wrote'
    refuse(
      'sae',
      `${sae.id} reads ${config.hookPoint}, ${why}; choose one at hook_resid_pre, hook_resid_mid, hook_resid_post or hook_attn_out`,
    )
  }
  if (feature >= config.dSae) refuse('feature', `${feature} is out of range; ${sae.id} has 0 to ${config.dSae - 1}`)
  const length = nPositions(model.description.vision.config)
  if (position !== undefined && position >= length) {
    refuse('position', `${position} is out of range; ${model.id} has positions 0 to ${length - 1}`)
  }
}

export async function contributionsTo(
  { host }: Context,
  { model, sae, feature, position }: ContributionsOf,
  { pixels, call }: { readonly pixels: Tensor<'float32'>; readonly call: Call },
): Promise<HeadContributions> {
  const config = model.description.vision.config as VisionConfig
  const nWeights = config.nLayers * config.nHeads * nPositions(config)
  const input = { pixels, latent: feature, nWeights, ...(position !== undefined && { position }) }
  return host.analyse('headContributions', { model: modelSource(model), saes: [saeSource(sae)], input }, call.signal)
}

export function describeContributions(
  found: HeadContributions,
  { model, sae, feature }: ContributionsOf,
  topK: number,
): NonNullable<AttentionAnswer['contributions']> {
  const heads = sumsOverSources(found.heads)
  const [batch, nLayers, nHeads] = heads.shape as [number, number, number]
  const layers = Array.from({ length: nLayers }, (_, place) => found.firstLayer + place)
  const parts = [heads, found.attnBias, found.mlp, found.embed, found.bias]
  const remainder = Float32Array.from(found.pre.data, (pre, input) => pre - parts.reduce((sum, part) => sum + sumOf(part, input, batch), 0))
  return {
    sae: sae.id,
    feature,
    hookPoint: sae.download.description.config.hookPoint,
    layers,
    positions: [...found.position.data],
    preActivations: [...found.pre.data],
    top: Array.from({ length: batch }, (_, input) => {
      const from = input * nLayers * nHeads
      const own = heads.data.subarray(from, from + nLayers * nHeads)
      const order = Array.from(own, (_, at) => at).sort((a, b) => Math.abs(own[b]!) - Math.abs(own[a]!) || a - b)
      return order.slice(0, topK).map((at) => ({ layer: layers[Math.floor(at / nHeads)]!, head: at % nHeads, contribution: own[at]! }))
    }),
    heads,
    sources: found.heads,
    attnBias: found.attnBias,
    mlp: hasMlps(model, sae) ? found.mlp : null,
    embed: found.embed,
    bias: found.bias,
    remainder: { dtype: 'float32', shape: [batch], data: remainder },
  }
}

/** Over the last axis. */
function sumsOverSources({ shape, data }: Tensor<'float32'>): Tensor<'float32'> {
  const length = shape.at(-1)!
  const sums = Float32Array.from({ length: data.length / length }, (_, row) => {
    let sum = 0
    for (let at = row * length; at < (row + 1) * length; at++) sum += data[at]!
    return sum
  })
  return { dtype: 'float32', shape: shape.slice(0, -1), data: sums }
}

function sumOf({ shape, data }: Tensor<'float32'>, input: number, batch: number): number {
  const length = elementCount(shape) / batch
  let sum = 0
  for (let at = input * length; at < (input + 1) * length; at++) sum += data[at]!
  return sum
}

/** Where no MLP writes before the SAE reads, the engine answers zeros. */
function hasMlps({ description }: ModelRecord, sae: DownloadedSae): boolean {
  return description.vision.config.dMlp !== undefined && readSite(sae.download.description.config)!.nMlps > 0
}
