/** What the lens says of each patch, as a picture: one target's numbers in colours, or the best label of each as an emoji. */

import type { LogitLensOutput } from '../../engine/analyses/lens/arrange-lens.js'
import { nPositions, nPrefixTokens, patchGrid } from '../../engine/hook-points.js'
import type { PictureFile } from '../../engine/host/host.js'
import type { MarksDrawing } from '../../engine/image/draw-marks.js'
import type { PanelsDrawing } from '../../engine/image/draw-panels.js'
import type { PatchValues } from '../../engine/image/patch-values.js'
import { viewOf } from '../heatmap.js'
import type { Context } from '../operation.js'
import { chosenRange, type HeatmapFields, styleOf } from '../schemas/heatmap.js'
import { emojiPictures } from './emoji-pictures.js'
import type { LensPlan } from './run-lens.js'

export const lensNumbers = ['probability', 'logit', 'rank', 'entropy'] as const
export type LensNumber = (typeof lensNumbers)[number]

const tensorOf = {
  probability: 'targetProbability',
  logit: 'targetLogit',
  rank: 'targetRank',
  entropy: 'entropy',
} as const

export interface Shown {
  readonly plan: LensPlan
  /** Of one picture. */
  readonly output: LogitLensOutput
  readonly file: PictureFile
  readonly size: number
  readonly columns: number
}

/** Of each layer: tokens `first` to the last, one number each. */
function patchesOf({ plan, output }: Pick<Shown, 'plan' | 'output'>, layer: number, number: LensNumber): PatchValues {
  const { config } = plan
  const [n, first] = [nPositions(config), nPrefixTokens(config)]
  const { data } = output.tokens[tensorOf[number]]
  const values = Float32Array.from(data.subarray(layer * n + first, (layer + 1) * n))
  return { ...patchGrid(config), values, ...(config.hasCls && { cls: data[layer * n]! }) }
}

export function lensPanels(shown: Shown, number: LensNumber): PatchValues[] {
  return shown.plan.hookPoints.map((_, layer) => patchesOf(shown, layer, number))
}

export async function heatmapOfLens(shown: Shown, panels: readonly PatchValues[], fields: HeatmapFields): Promise<PanelsDrawing> {
  const { plan, file, size, columns } = shown
  return {
    kind: 'panels',
    file: await file.read(),
    view: viewOf(plan.model),
    panels: panels.map((patches, layer) => ({ caption: plan.hookPoints[layer]!, patches })),
    style: styleOf(fields),
    range: chosenRange(fields),
    size,
    columns,
    showCls: fields.showCls ?? true,
  }
}

export interface EmojiFields {
  readonly emoji?: readonly { readonly label: string; readonly emoji: string }[]
  readonly emojiDataset?: string
  readonly dim?: number
  readonly showCls?: boolean
}

export interface Meaning {
  readonly label: string
  /** The picture that is drawn; null: the label is written. */
  readonly image: string | null
}

/** The best label of each token of each layer, and what stands for the labels that are the best of any. */
export async function meaningsOf(
  context: Context,
  { plan, output }: Shown,
  { emoji = [], emojiDataset }: EmojiFields,
): Promise<ReadonlyMap<number, Meaning>> {
  const k = output.tokens.topClasses.shape.at(-1)!
  const best = new Set(output.tokens.topClasses.data.filter((_, at) => at % k === 0))
  const pictures = await emojiPictures(context, emojiDataset)
  const chosen = new Map(emoji.map((each) => [each.label, each.emoji]))
  const { names, pictures: own } = plan.labels
  return new Map(
    [...best].map((index) => {
      const label = names[index]!
      const character = chosen.get(label)
      const image = character === undefined ? (own?.[index] ?? pictures.ofName(label)) : pictures.ofEmoji(character)
      return [index, { label, image: image ?? null }]
    }),
  )
}

/** A mark grows stronger with the square root of its probability, so that with many labels it can still be seen. */
const opacityOf = (probability: number) => 0.4 + 0.6 * Math.sqrt(probability)

export async function emojiMap(
  { catalog }: Context,
  shown: Shown,
  { meanings, fields }: { meanings: ReadonlyMap<number, Meaning>; fields: EmojiFields },
): Promise<MarksDrawing> {
  const { plan, output, file, size, columns } = shown
  const { config } = plan
  const [n, first] = [nPositions(config), nPrefixTokens(config)]
  const { topClasses, topProbabilities } = output.tokens
  const k = topClasses.shape.at(-1)!
  const places = new Map([...meanings.keys()].map((index, place) => [index, place]))
  const mark = (layer: number, position: number) => {
    const at = (layer * n + position) * k
    return { meaning: places.get(topClasses.data[at]!)!, opacity: opacityOf(topProbabilities.data[at]!) }
  }
  const legend = await Promise.all(
    [...meanings.values()].map(async ({ label, image }) => {
      const picture = image === null ? undefined : await catalog.images.read(image)
      return { label, ...(picture && { picture }) }
    }),
  )
  const grid = patchGrid(config)
  const patches = Array.from({ length: n - first }, (_, patch) => first + patch)
  return {
    kind: 'marks',
    file: await file.read(),
    view: viewOf(plan.model),
    ...grid,
    legend,
    panels: plan.hookPoints.map((caption, layer) => {
      const marks = patches.map((position) => mark(layer, position))
      return {
        caption,
        meanings: marks.map(({ meaning }) => meaning),
        opacities: marks.map(({ opacity }) => opacity),
        ...(config.hasCls && (fields.showCls ?? true) && { cls: mark(layer, 0) }),
      }
    }),
    dim: fields.dim ?? 0.6,
    size,
    panelsPerRow: columns,
  }
}
