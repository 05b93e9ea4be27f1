/**
 * Pictures in rows and columns on white, each with its rank and its score under it.
 */

import { textSize, writeText } from './bitmap-letters.js'
import { place, whiteCanvas } from './canvas.js'
import type { Pixels } from './pixels.js'

export interface DrawnTile {
  /** RGB, at most `size` pixels a side. */
  readonly picture: Pixels
  readonly score: number | undefined
}

/** Every tile has the same square, its picture in the middle of it. A sheet without tiles is one white square. */
export function drawSheet(tiles: readonly DrawnTile[], { columns, size }: { readonly columns: number; readonly size: number }): Pixels {
  const nColumns = Math.max(1, Math.min(columns, tiles.length))
  const nRows = Math.max(1, Math.ceil(tiles.length / nColumns))
  const scale = Math.max(1, Math.round(size / 112))
  const gap = 4 * scale
  const caption = tiles.some(({ score }) => score !== undefined) ? textSize('0', scale).height + 2 * scale : 0
  const canvas = whiteCanvas({ width: gap + nColumns * (size + gap), height: gap + nRows * (size + caption + gap) })
  for (const [index, { picture, score }] of tiles.entries()) {
    const left = gap + (index % nColumns) * (size + gap)
    const top = gap + Math.floor(index / nColumns) * (size + caption + gap)
    place(canvas, picture, { left: left + Math.floor((size - picture.width) / 2), top: top + Math.floor((size - picture.height) / 2) })
    if (score === undefined) continue
    const line = { top: top + size + 2 * scale, scale }
    const [rank, written] = [`#${index + 1}`, shortNumber(score)]
    const right = left + size - textSize(written, scale).width
    if (right > left + textSize(`${rank} `, scale).width) writeText(canvas, rank, { ...line, left, grey: 128 })
    writeText(canvas, written, { ...line, left: Math.max(left, right), grey: 32 })
  }
  return canvas
}

/** Four digits. */
function shortNumber(value: number): string {
  return String(Number(value.toPrecision(4)))
}
