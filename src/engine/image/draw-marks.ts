/**
 * What each patch of a picture stands for: a small picture (an emoji) or a short text in each, over the picture dimmed; several such maps side by
 * side, and under them what the marks mean.
 */

import sharp, { type Sharp } from 'sharp'
import { fittingText, textSize, writeText } from './bitmap-letters.js'
import { place, whiteCanvas } from './canvas.js'
import { cutOut } from './cut-out.js'
import { type ImageLimits, inspectHeader } from './decode.js'
import { clsRoom, type Drawer } from './draw-heatmap.js'
import { arranged, type Captioned, letterScale } from './draw-panels.js'
import { type ModelView, wholeRegion } from './model-view.js'
import type { Pixels } from './pixels.js'

export interface MarksDrawing {
  readonly kind: 'marks'
  readonly file: Uint8Array
  readonly view: ModelView
  readonly rows: number
  readonly columns: number
  /** What a patch may stand for. */
  readonly legend: readonly MarkMeaning[]
  /** Read from left to right, row by row. */
  readonly panels: readonly MarkedPanel[]
  /** How much of the picture's colours turns white, 0 to 1. */
  readonly dim: number
  /** Pixels of a panel's longer side, CLS included. */
  readonly size: number
  readonly panelsPerRow: number
}

export interface MarkMeaning {
  readonly label: string
  /** A file; absent: the label itself is written. */
  readonly picture?: Uint8Array
}

export interface MarkedPanel {
  readonly caption: string
  /** `[rows, columns]`: indices into the legend. */
  readonly meanings: readonly number[]
  /** `[rows, columns]`: of each mark, 0 to 1. */
  readonly opacities: readonly number[]
  /** CLS's, in a place of its own left of the patches. */
  readonly cls?: { readonly meaning: number; readonly opacity: number }
}

/** Of a cell; the rest is left free around a mark. */
const MARK_SHARE = 0.84
/** Below so many pixels a text is a blot. */
const LEAST_TEXT = 11
/** Entries of the legend; those that most patches stand for. */
const MOST_EXPLAINED = 12

/** @throws IMAGE_INVALID, IMAGE_TOO_LARGE */
export async function drawMarks(drawing: MarksDrawing, drawer: Drawer): Promise<Pixels> {
  const { panels, size, panelsPerRow, legend } = drawing
  const withCls = panels.some(({ cls }) => cls !== undefined)
  const room = withCls ? clsRoom(size) : 0
  const ground = dimmed(
    await drawer.view(drawing.file, { view: drawing.view, region: wholeRegion, size: size - room }, drawer.limits),
    drawing.dim,
  )
  const cell = Math.min(ground.width / drawing.columns, ground.height / drawing.rows)
  const used = new Set(panels.flatMap(({ meanings, cls }) => [...meanings, ...(cls ? [cls.meaning] : [])]))
  const marks = await marksOf(legend, { used, side: Math.max(1, Math.floor(cell * MARK_SHARE)), limits: drawer.limits })
  const drawn = panels.map((panel): Captioned => ({ picture: marked(ground, panel, { drawing, marks, room }), caption: panel.caption }))
  const scale = letterScale(size)
  const entries = await explained(drawing, ENTRY * scale, drawer.limits)
  const below = (width: number) => legendPixels(entries, { width, scale })
  return arranged(drawn, { columns: panelsPerRow, size, ...(entries.length > 0 && { below }) })
}

function dimmed(picture: Pixels, share: number): Pixels {
  return { ...picture, data: picture.data.map((byte) => Math.round(byte + (255 - byte) * share)) }
}

/** The marks that are needed, RGBA, by their place in the legend. */
async function marksOf(
  legend: readonly MarkMeaning[],
  { used, side, limits }: { used: ReadonlySet<number>; side: number; limits: ImageLimits },
): Promise<ReadonlyMap<number, Pixels>> {
  const marks = new Map<number, Pixels>()
  for (const meaning of used) {
    const { picture, label } = legend[meaning]!
    marks.set(meaning, picture ? await small(picture, side, limits) : textMark(label, side))
  }
  return marks
}

/** A picture within a square, RGBA, without its white ground. */
async function small(file: Uint8Array, side: number, limits: ImageLimits): Promise<Pixels> {
  await inspectHeader(file, limits)
  // cut while it is larger, so that its outline is smooth
  const larger = sharp(file, { limitInputPixels: false, failOn: 'truncated' }).resize({ width: 4 * side, height: 4 * side, fit: 'inside' })
  const { data, width, height } = cutOut(await rgba(larger.toColourspace('srgb').ensureAlpha()))
  return rgba(sharp(data, { raw: { width, height, channels: 4 } }).resize({ width: side, height: side, fit: 'inside' }))
}

async function rgba(image: Sharp): Promise<Pixels> {
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true })
  return { width: info.width, height: info.height, channels: 4, data }
}

/** The beginning of a label on a white plate, on as many lines as there is room for. */
function textMark(label: string, side: number): Pixels {
  const rgb = whiteCanvas({ width: side, height: side })
  if (side < LEAST_TEXT) return withAlpha(rgb, 255)
  const scale = Math.max(1, Math.floor(side / 40))
  const line = textSize('0', scale).height + scale
  const lines = wrapped(label, { width: side - 2 * scale, scale, most: Math.max(1, Math.floor((side - scale) / line)) })
  const from = Math.floor((side - lines.length * line) / 2)
  for (const [index, text] of lines.entries()) {
    const left = Math.floor((side - textSize(text, scale).width) / 2)
    writeText(rgb, text, { left, top: from + index * line, scale, grey: 0 })
  }
  return withAlpha(rgb, 224)
}

function withAlpha({ width, height, data }: Pixels, alpha: number): Pixels {
  const rgba = new Uint8Array(width * height * 4).fill(alpha)
  for (let at = 0; at < width * height; at++) rgba.set(data.subarray(at * 3, at * 3 + 3), at * 4)
  return { width, height, channels: 4, data: rgba }
}

/** Words on lines; a word that is too long is broken, and what does not fit is left out. */
function wrapped(text: string, { width, scale, most }: { width: number; scale: number; most: number }): string[] {
  const fits = (line: string) => textSize(line, scale).width <= width
  const lines: string[] = []
  for (const word of text.split(/[\s_-]+/).filter((each) => each !== '')) {
    let rest = [...word]
    if (lines.length > 0 && fits(`${lines.at(-1)} ${word}`)) lines[lines.length - 1] += ` ${word}`
    else {
      while (rest.length > 0) {
        let count = rest.length
        while (count > 1 && !fits(rest.slice(0, count).join(''))) count--
        lines.push(rest.slice(0, count).join(''))
        rest = rest.slice(count)
      }
    }
  }
  return lines.slice(0, most)
}

interface Marking {
  readonly drawing: MarksDrawing
  readonly marks: ReadonlyMap<number, Pixels>
  /** Pixels left of the patches. */
  readonly room: number
}

function marked(ground: Pixels, { meanings, opacities, cls }: MarkedPanel, { drawing, marks, room }: Marking): Pixels {
  const canvas = whiteCanvas({ width: room + ground.width, height: ground.height })
  place(canvas, ground, { left: room, top: 0 })
  const [wide, high] = [ground.width / drawing.columns, ground.height / drawing.rows]
  for (const [patch, meaning] of meanings.entries()) {
    const [row, column] = [Math.floor(patch / drawing.columns), patch % drawing.columns]
    const middle = { x: room + (column + 0.5) * wide, y: (row + 0.5) * high }
    blend(canvas, marks.get(meaning)!, middle, shownAt(drawing.legend[meaning]!, opacities[patch]!))
  }
  if (cls) {
    const { width } = marks.get(cls.meaning)!
    const scale = Math.max(1, Math.floor((room * 0.6) / textSize('CLS', 1).width))
    blend(
      canvas,
      marks.get(cls.meaning)!,
      { x: (room - 2) / 2, y: Math.min(ground.height, width) / 2 + 1 },
      shownAt(drawing.legend[cls.meaning]!, cls.opacity),
    )
    writeText(canvas, 'CLS', { left: Math.floor((room - 2 - textSize('CLS', scale).width) / 2), top: width + 3, scale, grey: 64 })
  }
  return canvas
}

/** A text that is hardly there cannot be read. */
const shownAt = ({ picture }: MarkMeaning, opacity: number) => (picture ? opacity : Math.max(opacity, 0.75))

/** @param middle  of the mark; what is outside the canvas is cut off */
function blend(canvas: Pixels, mark: Pixels, middle: { readonly x: number; readonly y: number }, opacity: number): void {
  const [left, top] = [Math.round(middle.x - mark.width / 2), Math.round(middle.y - mark.height / 2)]
  for (let y = Math.max(0, -top); y < mark.height && top + y < canvas.height; y++) {
    for (let x = Math.max(0, -left); x < mark.width && left + x < canvas.width; x++) {
      const [from, to] = [(y * mark.width + x) * 4, ((top + y) * canvas.width + left + x) * 3]
      const share = (mark.data[from + 3]! / 255) * opacity
      for (let band = 0; band < 3; band++) {
        canvas.data[to + band] = Math.round(canvas.data[to + band]! + (mark.data[from + band]! - canvas.data[to + band]!) * share)
      }
    }
  }
}

interface Explained {
  readonly picture: Pixels | undefined
  readonly text: string
}

/** Pixels of a picture in the legend, for each of a letter. */
const ENTRY = 14

/** The meanings of most patches, with how many of them. */
async function explained({ panels, legend }: MarksDrawing, side: number, limits: ImageLimits): Promise<Explained[]> {
  const counts = new Map<number, number>()
  for (const meaning of panels.flatMap(({ meanings }) => meanings)) counts.set(meaning, (counts.get(meaning) ?? 0) + 1)
  const most = [...counts].sort(([a, countA], [b, countB]) => countB - countA || a - b).slice(0, MOST_EXPLAINED)
  return Promise.all(
    most.map(async ([meaning, count]) => {
      const { label, picture } = legend[meaning]!
      return { picture: picture && (await small(picture, side, limits)), text: `${label} ${count}` }
    }),
  )
}

/** Entries side by side, on as many lines as they need. */
function legendPixels(entries: readonly Explained[], { width, scale }: { width: number; scale: number }): Pixels {
  const [side, between] = [ENTRY * scale, 10 * scale]
  const line = side + 3 * scale
  const placed: { readonly entry: Explained; readonly text: string; readonly left: number; readonly row: number }[] = []
  let [left, row] = [0, 0]
  for (const entry of entries) {
    const room = entry.picture ? side + 3 * scale : 0
    const text = fittingText(entry.text, { width: width - room, scale })
    const needed = room + textSize(text, scale).width
    if (left > 0 && left + needed > width) [left, row] = [0, row + 1]
    placed.push({ entry, text, left, row })
    left += needed + between
  }
  const canvas = whiteCanvas({ width, height: (row + 1) * line })
  for (const { entry, text, left: from, row: at } of placed) {
    const top = at * line
    if (entry.picture) blend(canvas, entry.picture, { x: from + side / 2, y: top + side / 2 }, 1)
    const after = from + (entry.picture ? side + 3 * scale : 0)
    writeText(canvas, text, { left: after, top: top + Math.floor((side - textSize('0', scale).height) / 2), scale, grey: 48 })
  }
  return canvas
}
