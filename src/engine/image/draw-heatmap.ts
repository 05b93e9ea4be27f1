/** A heatmap: numbers of patches in colours over the picture that they are about, CLS's beside it. */

import { textSize, writeText } from './bitmap-letters.js'
import { fillRectangle, place, whiteCanvas } from './canvas.js'
import { type ImageLimits, inspectHeader } from './decode.js'
import { geometry } from './geometry.js'
import { type Colouring, clsColour, coloured, contoured, type HeatmapStyle, overlay } from './heatmap.js'
import { type ModelView, type Region, sizeWithin, viewedByModel, wholeRegion } from './model-view.js'
import { checkPatchValues, type PatchValues, rangeOf, regionAbove, type ValueRange } from './patch-values.js'
import type { Pixels } from './pixels.js'
import type { Size } from './resample.js'

export interface HeatmapDrawing {
  readonly kind: 'heatmap'
  /** Absent: the colours need no picture (`raw`). */
  readonly file?: Uint8Array
  readonly view: ModelView
  readonly patches: PatchValues
  readonly style: HeatmapStyle
  /** Ends of the range that were chosen. */
  readonly range?: Partial<ValueRange>
  /** Pixels of the longer side, CLS included. */
  readonly size: number
  /** CLS's colour in a square of its own, left of the patches; there is none in `crop`, which has no colours. */
  readonly showCls: boolean
}

/** What drawing needs: limits, and how a picture is looked at. */
export interface Drawer {
  readonly limits: ImageLimits
  readonly view: typeof viewedByModel
}

/** Before it is encoded. */
export async function drawHeatmap(drawing: HeatmapDrawing, limits: ImageLimits): Promise<Pixels> {
  return heatmapPixels(drawing, { limits, view: viewedByModel })
}

export async function heatmapPixels(drawing: HeatmapDrawing, drawer: Drawer): Promise<Pixels> {
  const { patches, style, showCls } = drawing
  checkPatchValues(patches, 'values')
  const range = rangeOf(patches, style.colormap, drawing.range)
  const colouring: Colouring = { patches, range, style }
  const cls = showCls && style.mode !== 'crop' ? clsColour(colouring) : undefined
  if (!cls) return drawPatches(drawing, { colouring, size: drawing.size }, drawer)
  const strip = clsStrip(drawing.size)
  const shape = await shapeOf(drawing, drawer)
  const size = longerSideBeside(clsRoom(drawing.size), shape, drawing.size)
  const picture = await drawPatches(drawing, { colouring, size }, drawer)
  return besideCls(picture, { ...strip, colour: cls })
}

/** The picture with its colours, lines or crop. */
export async function drawPatches(
  { file, view }: Pick<HeatmapDrawing, 'file' | 'view'>,
  { colouring, size }: { colouring: Colouring; size: number },
  drawer: Drawer,
): Promise<Pixels> {
  const { patches, range, style } = colouring
  const look = (region: Region) => drawer.view(file!, { view, region, size }, drawer.limits)
  switch (style.mode) {
    case 'raw':
      return coloured(sizeWithin(await shapeOf({ file, view, patches }, drawer), size), colouring)
    case 'overlay':
      return overlay(await look(wholeRegion), colouring)
    case 'contour':
      return contoured(await look(wholeRegion), colouring)
    case 'crop':
      return look(regionAbove(patches, range, Math.min(...style.levels)))
    default:
      return style.mode satisfies never
  }
}

/** Proportions of what the patches cover: in a model's pixels, of the picture itself, or of as many squares. */
async function shapeOf(
  { file, view, patches }: { file?: Uint8Array | undefined; view: ModelView; patches: PatchValues },
  { limits }: Drawer,
): Promise<Size> {
  if (view.covered) return view.covered
  return file ? geometry(await inspectHeader(file, limits), view.how).output : { width: patches.columns, height: patches.rows }
}

const clsLabel = 'CLS'

function clsStrip(size: number): { cell: number; gap: number } {
  return { cell: Math.max(1, Math.round(size * 0.1)), gap: Math.max(1, Math.round(size * 0.02)) }
}

/** Pixels that CLS takes beside a picture. */
export function clsRoom(size: number): number {
  const { cell, gap } = clsStrip(size)
  return cell + gap
}

/** Of a picture that has `room` pixels beside it and both within `size`. */
function longerSideBeside(room: number, { width, height }: Size, size: number): number {
  const fromWidth = ((size - room) * Math.max(width, height)) / width
  return Math.max(1, Math.floor(Math.min(size, fromWidth)))
}

function besideCls(picture: Pixels, { cell, gap, colour }: { cell: number; gap: number; colour: readonly number[] }): Pixels {
  const height = Math.max(picture.height, cell)
  const canvas = whiteCanvas({ width: cell + gap + picture.width, height })
  fillRectangle(canvas, { left: 0, top: 0, width: cell, height: cell }, colour)
  const scale = Math.floor(cell / textSize(clsLabel, 1).width)
  const label = textSize(clsLabel, scale)
  if (scale > 0) writeText(canvas, clsLabel, { left: Math.floor((cell - label.width) / 2), top: cell + 2 * scale, scale, grey: 64 })
  place(canvas, picture, { left: cell + gap, top: 0 })
  return canvas
}
