/**
 * Several heatmaps of one picture side by side (layers, heads), with what each is of above it, and below them what the colours stand for.
 */

import { fittingText, textSize, writeText } from './bitmap-letters.js'
import { fillRectangle, place, whiteCanvas } from './canvas.js'
import { colormap } from './colormaps.js'
import { clsRoom, type Drawer, heatmapPixels } from './draw-heatmap.js'
import type { HeatmapStyle } from './heatmap.js'
import type { ModelView } from './model-view.js'
import { checkPatchValues, type PatchValues, rangeOf, type ValueRange } from './patch-values.js'
import type { Pixels } from './pixels.js'

export interface PanelsDrawing {
  readonly kind: 'panels'
  /** Absent: the colours need no picture (`raw`). */
  readonly file?: Uint8Array
  readonly view: ModelView
  /** Read from left to right, row by row. */
  readonly panels: readonly Panel[]
  readonly style: HeatmapStyle
  /** Ends of the range that were chosen. */
  readonly range?: Partial<ValueRange>
  /** Whether each panel has a range of its own, from its own lowest to its own highest number; there is no scale then. */
  readonly ownRanges?: boolean
  /** Pixels of a panel's longer side, CLS included. */
  readonly size: number
  readonly columns: number
  readonly showCls: boolean
}

export interface Panel {
  readonly caption: string
  readonly patches: PatchValues
  /** A patch with a frame around it: the query of an attention map. */
  readonly framed?: { readonly row: number; readonly col: number }
}

/** @throws IMAGE_INVALID, IMAGE_TOO_LARGE, SHAPE_MISMATCH, INPUT_INVALID for numbers that have no colour */
export async function drawPanels(drawing: PanelsDrawing, drawer: Drawer): Promise<Pixels> {
  const { panels, style, size, columns, ownRanges = false, ...others } = drawing
  for (const [index, { patches }] of panels.entries()) checkPatchValues(patches, `panels[${index}]`)
  const all = rangeOf(together(panels.map(({ patches }) => patches)), style.colormap, drawing.range)
  const drawn: Captioned[] = []
  // one after the other: a picture takes memory while it is drawn
  for (const { caption, patches, framed } of panels) {
    const range = ownRanges ? drawing.range : all
    const picture = await heatmapPixels({ ...others, kind: 'heatmap', patches, style, size, ...(range && { range }) }, drawer)
    const left = others.showCls && patches.cls !== undefined ? clsRoom(size) : 0
    drawn.push({ picture: framed && style.mode !== 'crop' ? withFrame(picture, patches, { ...framed, left }) : picture, caption })
  }
  const hasColours = style.mode === 'overlay' || style.mode === 'raw'
  return arranged(drawn, {
    columns,
    size,
    ...(hasColours && !ownRanges && { below: (width: number) => scaleBar(style, all, { width, size }) }),
  })
}

/** For their range. */
function together(patches: readonly PatchValues[]): PatchValues {
  const values = Float32Array.from(patches.flatMap((each) => Array.from(each.values)))
  return { rows: 1, columns: values.length, values }
}

export interface Captioned {
  /** RGB. */
  readonly picture: Pixels
  readonly caption: string
}

export interface Arrangement {
  readonly columns: number
  /** Pixels of a panel's longer side; letters are as large as suits it. */
  readonly size: number
  /** Under all panels; RGB, as wide as it is told at most. */
  readonly below?: (width: number) => Pixels
}

/** One, two or more pixels for each of a letter. */
export const letterScale = (size: number) => Math.max(1, Math.floor(size / 224))

/** Panels in rows on white, each under its caption. */
export function arranged(panels: readonly Captioned[], { columns, size, below }: Arrangement): Pixels {
  const scale = letterScale(size)
  const gap = 4 * scale
  const nColumns = Math.max(1, Math.min(columns, panels.length))
  const nRows = Math.max(1, Math.ceil(panels.length / nColumns))
  const width = panels.reduce((most, { picture }) => Math.max(most, picture.width), 1)
  const height = panels.reduce((most, { picture }) => Math.max(most, picture.height), 1)
  const caption = panels.some((each) => each.caption !== '') ? textSize('0', scale).height + 2 * scale : 0
  const across = nColumns * (width + gap) - gap
  const bottom = below?.(across)
  const down = nRows * (height + caption + gap) + (bottom ? bottom.height + gap : 0)
  const canvas = whiteCanvas({ width: across + 2 * gap, height: gap + down })
  for (const [index, panel] of panels.entries()) {
    const left = gap + (index % nColumns) * (width + gap)
    const top = gap + Math.floor(index / nColumns) * (height + caption + gap)
    writeText(canvas, fittingText(panel.caption, { width, scale }), { left, top, scale, grey: 48 })
    place(canvas, panel.picture, { left: left + width - panel.picture.width, top: top + caption })
  }
  if (bottom) place(canvas, bottom, { left: gap, top: gap + nRows * (height + caption + gap) })
  return canvas
}

/** The colours from the lowest number to the highest, with both beside them. */
function scaleBar({ colormap: name }: HeatmapStyle, { low, high }: ValueRange, { width, size }: { width: number; size: number }): Pixels {
  const scale = letterScale(size)
  const [lowest, highest] = [shortNumber(low), shortNumber(high)]
  const [left, right] = [textSize(lowest, scale).width + 3 * scale, textSize(highest, scale).width + 3 * scale]
  const { height } = textSize('0', scale)
  const canvas = whiteCanvas({ width, height })
  const length = Math.min(width - left - right, 40 * height)
  writeText(canvas, lowest, { left: 0, top: 0, scale, grey: 48 })
  if (length < 4) return canvas
  const colours = colormap(name)
  for (let x = 0; x < length; x++) {
    const at = Math.floor((x * 256) / length) * 3
    fillRectangle(canvas, { left: left + x, top: 0, width: 1, height }, [...colours.subarray(at, at + 3)])
  }
  writeText(canvas, highest, { left: left + length + 3 * scale, top: 0, scale, grey: 48 })
  return canvas
}

/** Three digits. */
export function shortNumber(value: number): string {
  return String(Number(value.toPrecision(3)))
}

/** White between dark lines, around a patch. @param left  where the patches begin */
function withFrame(
  picture: Pixels,
  { rows, columns }: PatchValues,
  { row, col, left }: { readonly row: number; readonly col: number; readonly left: number },
): Pixels {
  const [wide, cell] = [(picture.width - left) / columns, picture.height / rows]
  const frame = {
    left: Math.round(left + col * wide),
    top: Math.round(row * cell),
    right: Math.round(left + (col + 1) * wide),
    bottom: Math.round((row + 1) * cell),
  }
  const thickness = Math.max(1, Math.round(Math.min(cell, wide) / 12))
  const data = Uint8Array.from(picture.data)
  const draw = (inset: number, width: number, grey: number) => {
    for (let y = frame.top + inset; y < frame.bottom - inset; y++) {
      for (let x = frame.left + inset; x < frame.right - inset; x++) {
        const edge = Math.min(x - frame.left, frame.right - 1 - x, y - frame.top, frame.bottom - 1 - y) - inset
        if (edge < width && x >= 0 && y >= 0 && x < picture.width && y < picture.height) {
          data.fill(grey, (y * picture.width + x) * 3, (y * picture.width + x) * 3 + 3)
        }
      }
    }
  }
  draw(0, thickness, 0)
  draw(thickness, thickness, 255)
  draw(2 * thickness, Math.max(1, Math.floor(thickness / 2)), 0)
  return { ...picture, data }
}
