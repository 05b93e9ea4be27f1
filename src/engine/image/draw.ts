/**
 * What can be drawn, as plain data, and its drawing: a heatmap over a picture, a sheet of pictures, a thumbnail. The same drawing gives the
 * same bytes.
 */

import sharp from 'sharp'
import { textSize, writeText } from './bitmap-letters.js'
import { fillRectangle, place, whiteCanvas } from './canvas.js'
import { type ImageLimits, inspectHeader } from './decode.js'
import { geometry } from './geometry.js'
import { type Colouring, clsColour, coloured, contoured, type HeatmapStyle, overlay } from './heatmap.js'
import { type ModelView, type Region, sizeWithin, viewedByModel, wholeRegion } from './model-view.js'
import { checkPatchValues, type PatchValues, rangeOf, regionAbove, type ValueRange } from './patch-values.js'
import type { Pixels } from './pixels.js'
import type { Size } from './resample.js'
import { drawSheet } from './sprite-sheet.js'
import { drawThumbnail, type ThumbnailDrawing } from './thumbnail.js'

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

export interface SheetDrawing {
  readonly kind: 'sheet'
  /** Read from left to right, row by row. Their patches have one range. */
  readonly tiles: readonly SheetTile[]
  readonly view: ModelView
  readonly style: HeatmapStyle
  readonly range?: Partial<ValueRange>
  /** Pixels of a tile's longer side, caption not included. */
  readonly size: number
  readonly columns: number
}

export interface SheetTile {
  readonly file: Uint8Array
  /** Absent: the picture alone. */
  readonly patches?: PatchValues
  /** Written under the picture. */
  readonly score?: number
}

export type Drawing = HeatmapDrawing | SheetDrawing | ThumbnailDrawing

/** What drawing needs: limits, and how a picture is looked at. */
export interface Drawer {
  readonly limits: ImageLimits
  readonly view: typeof viewedByModel
}

/**
 * @param view  default: each picture is decoded anew
 * @returns the file: PNG, or for a thumbnail the format asked for
 * @throws  IMAGE_INVALID, IMAGE_TOO_LARGE, SHAPE_MISMATCH, INPUT_INVALID for numbers that have no colour
 */
export async function draw(drawing: Drawing, limits: ImageLimits, view = viewedByModel): Promise<Uint8Array> {
  const drawer: Drawer = { limits, view }
  switch (drawing.kind) {
    case 'heatmap':
      return png(await heatmapPixels(drawing, drawer))
    case 'sheet':
      return png(await drawTiles(drawing, drawer))
    case 'thumbnail':
      return drawThumbnail(drawing, limits)
    default:
      return drawing satisfies never
  }
}

/** Filters make pictures of this kind nearly half as large; more effort than this makes them hardly smaller and twice as slow. */
export async function png({ width, height, channels, data }: Pixels): Promise<Uint8Array> {
  const raw = { width, height, channels: channels as 1 | 3 | 4 }
  return sharp(data, { raw }).png({ compressionLevel: 3, adaptiveFiltering: true, palette: false }).toBuffer()
}

/** Before it is encoded. */
export async function drawHeatmap(drawing: HeatmapDrawing, limits: ImageLimits): Promise<Pixels> {
  return heatmapPixels(drawing, { limits, view: viewedByModel })
}

async function heatmapPixels(drawing: HeatmapDrawing, drawer: Drawer): Promise<Pixels> {
  const { patches, style, showCls } = drawing
  checkPatchValues(patches, 'values')
  const range = rangeOf(patches, style.colormap, drawing.range)
  const colouring: Colouring = { patches, range, style }
  const cls = showCls && style.mode !== 'crop' ? clsColour(colouring) : undefined
  if (!cls) return drawPatches(drawing, { colouring, size: drawing.size }, drawer)
  const strip = clsStrip(drawing.size)
  const shape = await shapeOf(drawing, drawer)
  const size = longerSideBeside(strip.cell + strip.gap, shape, drawing.size)
  const picture = await drawPatches(drawing, { colouring, size }, drawer)
  return besideCls(picture, { ...strip, colour: cls })
}

/** The picture with its colours, lines or crop. */
async function drawPatches(
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

async function drawTiles({ tiles, view, style, size, columns, ...drawing }: SheetDrawing, drawer: Drawer): Promise<Pixels> {
  for (const [index, { patches }] of tiles.entries()) if (patches) checkPatchValues(patches, `tiles[${index}]`)
  const all = Float32Array.from(tiles.flatMap(({ patches }) => [...(patches?.values ?? [])]))
  const range = rangeOf({ rows: 1, columns: all.length, values: all }, style.colormap, drawing.range)
  const drawn = []
  // one after the other: each picture takes memory while it is decoded
  for (const { file, patches, score } of tiles) {
    const picture = patches
      ? await drawPatches({ file, view }, { colouring: { patches, range, style }, size }, drawer)
      : await drawer.view(file, { view, region: wholeRegion, size }, drawer.limits)
    drawn.push({ picture, score })
  }
  return drawSheet(drawn, { columns, size })
}
