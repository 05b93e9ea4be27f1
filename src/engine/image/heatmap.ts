/**
 * Numbers of patches as a picture, over the picture that they are about.
 */

import { type ColormapName, colormap, colourIndex } from './colormaps.js'
import { drawContours } from './contours.js'
import { type Interpolation, type PatchValues, shareOf, shares, type ValueRange } from './patch-values.js'
import type { Pixels } from './pixels.js'
import type { Size } from './resample.js'

/**
 * `overlay`: colours over the picture. `raw`: colours alone. `contour`: lines of equal value over the picture. `crop`: the part of the
 * picture with the highest values, without colours.
 */
export const heatmapModes = ['overlay', 'raw', 'contour', 'crop'] as const
export type HeatmapMode = (typeof heatmapModes)[number]

export const interpolations = ['block', 'smooth'] as const satisfies readonly Interpolation[]

export interface HeatmapStyle {
  readonly mode: HeatmapMode
  readonly colormap: ColormapName
  /** Of the colours over the picture: 0 shows the picture alone, 1 the colours alone. */
  readonly alpha: number
  readonly interpolation: Interpolation
  /** Shares of the range: where contours run; where `crop` begins (the lowest of them). */
  readonly levels: readonly number[]
}

export interface Colouring {
  readonly patches: PatchValues
  readonly range: ValueRange
  readonly style: HeatmapStyle
}

/** Colours over a picture: each byte is mixed and rounded to the nearest. */
export function overlay(picture: Pixels, colouring: Colouring): Pixels {
  const { alpha } = colouring.style
  const { data: colours } = coloured(picture, colouring)
  const data = new Uint8Array(picture.data.length)
  for (let at = 0; at < data.length; at++) data[at] = Math.round(picture.data[at]! + (colours[at]! - picture.data[at]!) * alpha)
  return { ...picture, data }
}

/** The colours alone. */
export function coloured({ width, height }: Size, { patches, range, style }: Colouring): Pixels {
  const field = shares(patches, range, { width, height, interpolation: style.interpolation })
  const table = colormap(style.colormap)
  const data = new Uint8Array(field.length * 3)
  for (let at = 0; at < field.length; at++) {
    const from = colourIndex(field[at]!) * 3
    data[at * 3] = table[from]!
    data[at * 3 + 1] = table[from + 1]!
    data[at * 3 + 2] = table[from + 2]!
  }
  return { width, height, channels: 3, data }
}

/** Lines in the colours of their levels. */
export function contoured(picture: Pixels, { patches, range, style }: Colouring): Pixels {
  const lines = style.levels.map((level) => ({ level, colour: colourOf(style.colormap, level) }))
  return drawContours(picture, lines, { patches, range, interpolation: style.interpolation })
}

/** The colour of CLS's value, on the patches' scale. */
export function clsColour({ patches, range, style }: Colouring): Colour | undefined {
  return patches.cls === undefined ? undefined : colourOf(style.colormap, shareOf(patches.cls, range))
}

export type Colour = readonly [red: number, green: number, blue: number]

function colourOf(name: ColormapName, share: number): Colour {
  const at = colourIndex(share) * 3
  const [red, green, blue] = colormap(name).subarray(at, at + 3)
  return [red!, green!, blue!]
}
