/**
 * How heatmaps are asked for.
 */

import { type Static, type TProperties, Type } from 'typebox'
import { colormapNames } from '../../engine/image/colormaps.js'
import { type HeatmapStyle, heatmapModes, interpolations } from '../../engine/image/heatmap.js'
import type { ValueRange } from '../../engine/image/patch-values.js'
import { fixedLimits } from '../limits.js'
import { Float } from './tensor.js'

export const DEFAULT_PICTURE_SIZE = 224
export const DEFAULT_ALPHA = 0.5

export const PictureSize = Type.Integer({
  minimum: 16,
  maximum: fixedLimits.picturePixels,
  description: `Pixels of the longer side; ${DEFAULT_PICTURE_SIZE} unless given.`,
})

/** Fields of every request for a heatmap. */
export const heatmapFields = {
  mode: Type.Optional(
    Type.Enum([...heatmapModes], {
      title: 'HeatmapMode',
      description:
        '`overlay` (unless given): colours over the picture; `raw`: the colours alone; `contour`: lines of equal value; `crop`: the part of the picture with the highest values.',
    }),
  ),
  size: Type.Optional(PictureSize),
  colormap: Type.Optional(
    Type.Enum([...colormapNames], {
      title: 'Colormap',
      description: '`viridis` unless given. `coolwarm` is for signed numbers: its neutral middle is 0.',
    }),
  ),
  alpha: Type.Optional(
    Type.Number({ minimum: 0, maximum: 1, description: `Of the colours over the picture; ${DEFAULT_ALPHA} unless given.` }),
  ),
  interpolation: Type.Optional(
    Type.Enum([...interpolations], {
      title: 'Interpolation',
      description:
        '`block`: each patch has one colour; `smooth`: colours run from middle to middle. `block` unless given; `smooth` for `contour`.',
    }),
  ),
  levels: Type.Optional(
    Type.Array(Type.Number({ minimum: 0, maximum: 1 }), {
      minItems: 1,
      maxItems: 8,
      uniqueItems: true,
      description:
        'Shares of the range: where contours run (0.25, 0.5 and 0.75 unless given), or from where on `crop` keeps patches (0.5 unless given; the lowest of several).',
    }),
  ),
  low: Type.Optional(Type.Unsafe<number>({ ...Float, description: 'What the lower end of the colours stands for.' })),
  high: Type.Optional(Type.Unsafe<number>({ ...Float, description: 'What the upper end of the colours stands for.' })),
  showCls: Type.Optional(
    Type.Boolean({
      description:
        "Whether CLS's value, where there is one, is shown in a square of its own beside the picture, within `size`. True unless given.",
    }),
  ),
} satisfies TProperties

const Fields = Type.Object(heatmapFields)
export type HeatmapFields = Static<typeof Fields>

/** What was left open is what suits the mode. */
export function styleOf({
  mode = 'overlay',
  colormap = 'viridis',
  alpha = DEFAULT_ALPHA,
  interpolation,
  levels,
}: HeatmapFields): HeatmapStyle {
  return {
    mode,
    colormap,
    alpha,
    interpolation: interpolation ?? (mode === 'contour' ? 'smooth' : 'block'),
    levels: levels ?? (mode === 'contour' ? [0.25, 0.5, 0.75] : [0.5]),
  }
}

/** The ends that were chosen. */
export function chosenRange({ low, high }: HeatmapFields): Partial<ValueRange> {
  return { ...(low !== undefined && { low }), ...(high !== undefined && { high }) }
}
