/**
 * What can be drawn, as plain data, and its drawing: a heatmap over a picture, several side by side, what patches stand for, a
 * sheet of pictures, a thumbnail. The same drawing gives the
 * same bytes.
 */

import sharp from 'sharp'
import type { ImageLimits } from './decode.js'
import { type Drawer, drawPatches, type HeatmapDrawing, heatmapPixels } from './draw-heatmap.js'
import { drawMarks, type MarksDrawing } from './draw-marks.js'
import { drawPanels, type PanelsDrawing } from './draw-panels.js'
import type { HeatmapStyle } from './heatmap.js'
import { type ModelView, viewedByModel, wholeRegion } from './model-view.js'
import { checkPatchValues, type PatchValues, rangeOf, type ValueRange } from './patch-values.js'
import type { Pixels } from './pixels.js'
import { drawSheet } from './sprite-sheet.js'
import { drawThumbnail, type ThumbnailDrawing } from './thumbnail.js'

export { drawHeatmap, type HeatmapDrawing } from './draw-heatmap.js'

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

export type Drawing = HeatmapDrawing | SheetDrawing | PanelsDrawing | MarksDrawing | ThumbnailDrawing

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
    case 'panels':
      return png(await drawPanels(drawing, drawer))
    case 'marks':
      return png(await drawMarks(drawing, drawer))
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
