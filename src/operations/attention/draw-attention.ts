/** Which numbers a picture of attention shows, and how they are laid out. */

import type { ModelRecord } from '../../catalog/catalog.js'
import { modelSource } from '../../catalog/catalog.js'
import type { HeadContributions } from '../../engine/analyses/attention/head-contributions.js'
import { nPositions, nPrefixTokens, patchGrid } from '../../engine/hook-points.js'
import type { Panel } from '../../engine/image/draw-panels.js'
import type { PatchValues } from '../../engine/image/patch-values.js'
import type { VisionConfig } from '../../engine/models/model.js'
import type { Tensor } from '../../engine/tensor.js'
import type { ResolvedEdits } from '../edits/resolve-edits.js'
import type { Call, Context } from '../operation.js'
import type { ChosenHeads } from './plan-heads.js'

export interface PanelsOf {
  readonly model: ModelRecord
  readonly pixels: Tensor<'float32'>
  readonly chosen: ChosenHeads
  /** Whose row is shown; absent: the mean of all patches' rows. */
  readonly query: number | undefined
  readonly edited: ResolvedEdits
  readonly call: Call
}

/** What the query attends to, of each chosen layer and head. */
export async function headPanels({ host }: Context, { model, pixels, chosen, query, edited, call }: PanelsOf): Promise<Panel[]> {
  const { layers, heads, config } = chosen
  const read = layers.map((layer) => `blocks.${layer}.attn.hook_pattern`)
  const { activations } = await host.run({ model: modelSource(model), inputs: { kind: 'pixels', pixels }, read, ...edited }, call.signal)
  const n = nPositions(config)
  return layers.flatMap((layer, place) =>
    heads.map((head) => {
      const pattern = activations[read[place]!]!.data.subarray(head * n * n, (head + 1) * n * n)
      return { caption: `L${layer} H${head}`, patches: patchesOf(rowOf(pattern, query, config), config), ...framed(query, config) }
    }),
  )
}

export interface RolloutChoice {
  readonly heads: 'mean' | 'max' | 'min'
  readonly discardRatio: number
  readonly throughLayer: number
}

export async function rolloutPanel(
  { host }: Context,
  { model, pixels, chosen, query, edited, call }: PanelsOf,
  choice: RolloutChoice,
): Promise<Panel[]> {
  const input = { pixels, ...choice, edits: edited.edits, nWeights: chosen.nWeights }
  const { rollout } = await host.analyse('attentionRollout', { model: modelSource(model), saes: edited.editSaes, input }, call.signal)
  const caption = `rollout, ${choice.heads}, L0-L${choice.throughLayer}`
  return [{ caption, patches: patchesOf(rowOf(rollout.data, query, chosen.config), chosen.config), ...framed(query, chosen.config) }]
}

/** Where heads took a feature's parts from: all of them together, and those with the largest contributions. */
export function contributionPanels(found: HeadContributions, config: VisionConfig, nHeadsShown: number): Panel[] {
  const { data, shape } = found.heads
  const [, nLayers, nHeads, n] = shape as [number, number, number, number]
  const row = (at: number) => data.subarray(at * n, (at + 1) * n)
  const total = new Float32Array(n)
  const sums = Array.from({ length: nLayers * nHeads }, (_, at) => {
    for (const [key, value] of row(at).entries()) total[key]! += value
    return row(at).reduce((sum, value) => sum + value, 0)
  })
  const order = sums.map((_, at) => at).sort((a, b) => Math.abs(sums[b]!) - Math.abs(sums[a]!) || a - b)
  const place = framed(found.position.data[0], config)
  return [
    { caption: `all heads ${signed(total.reduce((sum, value) => sum + value, 0))}`, patches: patchesOf(total, config), ...place },
    ...order.slice(0, nHeadsShown).map((at) => ({
      caption: `L${found.firstLayer + Math.floor(at / nHeads)} H${at % nHeads} ${signed(sums[at]!)}`,
      patches: patchesOf(row(at), config),
      ...place,
    })),
  ]
}

const signed = (value: number) => `${value < 0 ? '-' : '+'}${Math.abs(Number(value.toPrecision(3)))}`

function rowOf(pattern: Float32Array, query: number | undefined, config: VisionConfig): Float32Array {
  const [n, first] = [nPositions(config), nPrefixTokens(config)]
  if (query !== undefined) return pattern.slice(query * n, (query + 1) * n)
  const mean = new Float32Array(n)
  for (let patch = first; patch < n; patch++) for (let key = 0; key < n; key++) mean[key]! += pattern[patch * n + key]! / (n - first)
  return mean
}

function patchesOf(row: Float32Array, config: VisionConfig): PatchValues {
  return { ...patchGrid(config), values: row.slice(nPrefixTokens(config)), ...(config.hasCls && { cls: row[0]! }) }
}

/** A frame around the position, where it is a patch. */
function framed(position: number | undefined, config: VisionConfig): Pick<Panel, 'framed'> {
  const patch = (position ?? -1) - nPrefixTokens(config)
  if (patch < 0) return {}
  const { columns } = patchGrid(config)
  return { framed: { row: Math.floor(patch / columns), col: patch % columns } }
}
