/** Sheets, captions and thumbnails. */

import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { letterPixels, textSize, writeText } from '../../../src/engine/image/bitmap-letters.js'
import { whiteCanvas } from '../../../src/engine/image/canvas.js'
import { decode } from '../../../src/engine/image/decode.js'
import { draw, type SheetDrawing } from '../../../src/engine/image/draw.js'
import { ViewedPictures } from '../../../src/engine/image/viewed-pictures.js'
import { patchesOf, pixelAt, squareView, viewOf } from './pictures.js'

const limits = { maxPixels: 1_000_000 }
const style = { mode: 'overlay', colormap: 'viridis', alpha: 1, interpolation: 'block', levels: [0.5] } as const
const white = [255, 255, 255]

describe('a sheet', () => {
  const sheet = async (more: Partial<SheetDrawing>) => {
    const drawing: SheetDrawing = { kind: 'sheet', tiles: [], view: squareView, style, size: 40, columns: 3, ...more }
    return decode(await draw(drawing, limits), limits)
  }
  const plain = (value: number) => viewOf(32, 32, () => [value, value, value])

  test('has its pictures in rows, from the left, white between them', async () => {
    const tiles = await Promise.all([10, 20, 30, 40].map(async (value) => ({ file: await plain(value) })))
    const drawn = await sheet({ tiles })
    expect([drawn.width, drawn.height]).toEqual([4 + 3 * 44, 4 + 2 * 44])
    expect(
      [
        [24, 24],
        [68, 24],
        [112, 24],
        [24, 68],
      ].map(([x, y]) => pixelAt(drawn, x!, y!)[0]),
    ).toEqual([10, 20, 30, 40])
    for (const [x, y] of [
      [2, 2],
      [46, 20],
      [68, 68],
    ] as const)
      expect(pixelAt(drawn, x, y)).toEqual(white)
  })

  test('has one range of colours for all its pictures', async () => {
    const file = await plain(0)
    const drawn = await sheet({
      tiles: [
        { file, patches: patchesOf([[0, 4]]) },
        { file, patches: patchesOf([[2, 4]]) },
      ],
    })
    expect(pixelAt(drawn, 10, 10)).toEqual([68, 1, 84])
    // half of the range
    expect(pixelAt(drawn, 54, 10)).toEqual([32, 144, 140])
  })

  test('says rank and score under each picture', async () => {
    const drawn = await sheet({ tiles: [{ file: await plain(200), score: 1.23456 }], columns: 1 })
    expect([drawn.width, drawn.height]).toEqual([48, 4 + 40 + 9 + 4])
    const expected = whiteCanvas({ width: 40, height: 7 })
    const score = textSize('1.235', 1)
    writeText(expected, '1.235', { left: 40 - score.width, top: 0, scale: 1, grey: 32 })
    for (let y = 0; y < 7; y++) {
      for (let x = 40 - score.width; x < 40; x++) expect([x, y, pixelAt(drawn, 4 + x, 46 + y)]).toEqual([x, y, pixelAt(expected, x, y)])
    }
  })

  test('without pictures is white', async () => {
    const drawn = await sheet({})
    expect(drawn.data.every((byte) => byte === 255)).toBe(true)
  })

  test('names the picture whose numbers have no colour', async () => {
    const file = await plain(0)
    const tiles = [{ file }, { file, patches: patchesOf([[Number.NaN]]) }]
    await expect(sheet({ tiles })).rejects.toThrow('tiles[1]: row 0, column 0 is NaN')
  })
})

describe('letters', () => {
  test('for every number, and for what is written beside it', () => {
    for (const text of ['0123456789', '-1.5e+21', '#12', 'CLS']) {
      for (const character of text) expect([character, letterPixels(character).join('')]).toEqual([character, expect.stringContaining('#')])
    }
  })

  test('are all different', () => {
    const shapes = [...'0123456789.-+#eCLS'].map((character) => letterPixels(character).join('\n'))
    expect(new Set(shapes).size).toBe(shapes.length)
    for (const shape of shapes) expect(shape).toMatch(/^([.#]{5}\n?){7}$/)
  })

  test('are cut off at the border', () => {
    const canvas = whiteCanvas({ width: 7, height: 5 })
    writeText(canvas, '88', { left: 3, top: -2, scale: 2, grey: 0 })
    expect(canvas.data).toHaveLength(7 * 5 * 3)
    expect(canvas.data.some((byte) => byte === 0)).toBe(true)
  })
})

describe('a thumbnail', () => {
  const thumbnail = (file: Uint8Array, size: number, format: 'png' | 'jpeg' | 'webp' = 'png') =>
    draw({ kind: 'thumbnail', file, size, format }, limits)

  test('has the picture in its longer side, never enlarged, in the format asked for', async () => {
    const file = await viewOf(60, 30, (x) => [x, 0, 0])
    expect(await sharp(await thumbnail(file, 20)).metadata()).toMatchObject({ width: 20, height: 10, format: 'png' })
    expect(await sharp(await thumbnail(file, 500, 'webp')).metadata()).toMatchObject({ width: 60, height: 30, format: 'webp' })
  })

  test('keeps transparency', async () => {
    const clear = await sharp({ create: { width: 40, height: 40, channels: 4, background: { r: 255, g: 0, b: 0, alpha: 0 } } })
      .png()
      .toBuffer()
    expect(await sharp(await thumbnail(clear, 10)).metadata()).toMatchObject({ hasAlpha: true })
  })

  test('of what is no picture, or too large a one, is refused before it is decoded', async () => {
    await expect(thumbnail(Buffer.from('<svg/>'), 10)).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
    const large = await sharp({ create: { width: 2000, height: 1000, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    await expect(thumbnail(large, 10)).rejects.toMatchObject({ code: 'IMAGE_TOO_LARGE' })
  })
})

describe('a picture that is looked at again', () => {
  test('is not decoded again, and the drawing is the same', async () => {
    const { view } = new ViewedPictures(1_000_000)
    const file = await viewOf(40, 40, (x, y) => [x, y, 0])
    const drawing = {
      kind: 'heatmap',
      file,
      view: squareView,
      patches: patchesOf([[0, 1]]),
      style: { ...style, alpha: 0.5 },
      size: 40,
      showCls: false,
    } as const
    const first = await draw(drawing, limits, view)
    const region = { left: 0, top: 0, width: 1, height: 1 }
    const kept = await view(file, { view: squareView, region, size: 40 }, limits)
    expect(await view(Buffer.from(file), { view: squareView, region, size: 40 }, limits)).toBe(kept)
    expect(await view(file, { view: squareView, region, size: 20 }, limits)).not.toBe(kept)
    expect(Buffer.from(await draw(drawing, limits, view)).equals(first)).toBe(true)
    expect(Buffer.from(await draw({ ...drawing, style: { ...drawing.style, mode: 'contour' } }, limits, view)).equals(first)).toBe(false)
    expect(Buffer.from(await draw(drawing, limits)).equals(first)).toBe(true)
  })

  test('is forgotten when others take its room', async () => {
    const { view } = new ViewedPictures(6000)
    const [one, other] = [await viewOf(8, 8, () => [1, 1, 1]), await viewOf(8, 8, () => [2, 2, 2])]
    const look = { view: squareView, region: { left: 0, top: 0, width: 1, height: 1 }, size: 40 }
    const kept = await view(one, look, limits)
    await view(other, look, limits)
    expect(await view(one, look, limits)).not.toBe(kept)
  })
})
