/** Heatmaps side by side, and maps of what patches stand for. */

import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { fittingText, textSize } from '../../../src/engine/image/bitmap-letters.js'
import { decode } from '../../../src/engine/image/decode.js'
import { draw } from '../../../src/engine/image/draw.js'
import type { MarksDrawing } from '../../../src/engine/image/draw-marks.js'
import { arranged, type PanelsDrawing } from '../../../src/engine/image/draw-panels.js'
import { patchesOf, pixelAt, squareView, viewOf } from './pictures.js'

const limits = { maxPixels: 1_000_000 }
const style = { mode: 'overlay', colormap: 'grey', alpha: 1, interpolation: 'block', levels: [0.5] } as const
const [white, black] = [
  [255, 255, 255],
  [0, 0, 0],
]
const file = await viewOf(32, 32, () => [200, 100, 0])
const [gap, caption] = [4, 9]

describe('heatmaps side by side', () => {
  const panels = async (more: Partial<PanelsDrawing>) => {
    const base: PanelsDrawing = { kind: 'panels', file, view: squareView, panels: [], style, size: 40, columns: 2, showCls: true }
    return decode(await draw({ ...base, ...more }, limits), limits)
  }
  const panel = (rows: number[][], cls?: number) => ({
    caption: 'L0 H1',
    patches: { ...patchesOf(rows), ...(cls !== undefined && { cls }) },
  })

  test('share one range, which is written under them', async () => {
    const drawn = await panels({ panels: [panel([[0, 1]]), panel([[0, 2]]), panel([[1, 1]])] })
    const row = gap + caption
    expect(pixelAt(drawn, gap + 30, row + 5)[0]).toBe(128)
    expect(pixelAt(drawn, gap + 44 + 30, row + 5)).toEqual(white)
    expect(pixelAt(drawn, gap + 30, row + 40 + gap + caption + 5)[0]).toBe(128)
    expect([drawn.width, drawn.height]).toEqual([2 * 44 + gap, gap + 2 * (40 + caption + gap) + 7 + gap])
  })

  test('or have each its own', async () => {
    const drawn = await panels({ panels: [panel([[0, 1]]), panel([[0, 2]])], ownRanges: true })
    for (const left of [gap, gap + 44]) expect(pixelAt(drawn, left + 30, gap + caption + 5)).toEqual(white)
    expect(drawn.height).toBe(gap + 40 + caption + gap)
  })

  test('have a frame around a patch where one is asked for, beside CLS too', async () => {
    const patches = {
      ...patchesOf([
        [0.5, 0.5],
        [0.5, 0.5],
      ]),
      cls: 0.5,
    }
    const drawn = await panels({
      panels: [{ caption: '', patches, framed: { row: 1, col: 1 } }],
      size: 80,
      range: { low: 0, high: 1 },
      columns: 1,
    })
    const clsWidth = 8 + 2
    const side = 80 - clsWidth
    const [left, top] = [gap + clsWidth + side / 2, gap + side / 2]
    expect(pixelAt(drawn, left, top + 10)).toEqual(black)
    expect(pixelAt(drawn, left + side / 2 - 1, top + 10)).toEqual(black)
    expect(pixelAt(drawn, left + 4, top + 10)).toEqual(white)
    expect(pixelAt(drawn, left - 10, top + 10)[0]).toBe(128)
    expect(pixelAt(drawn, left + side / 4, top + side / 4)[0]).toBe(128)
  })

  test('name the panel whose numbers have no colour', async () => {
    await expect(panels({ panels: [panel([[1]]), panel([[Number.NaN]])] })).rejects.toThrow('panels[1]: row 0, column 0 is NaN')
  })

  test('stay apart when they differ in size', () => {
    const picture = (width: number, height: number) => ({ width, height, channels: 3, data: new Uint8Array(width * height * 3) })
    const drawn = arranged(
      [
        { picture: picture(10, 20), caption: '' },
        { picture: picture(30, 5), caption: '' },
      ],
      { columns: 2, size: 30 },
    )
    expect([drawn.width, drawn.height]).toEqual([3 * gap + 60, 2 * gap + 20])
  })
})

describe('what patches stand for', () => {
  const red = sharp({ create: { width: 10, height: 10, channels: 4, background: { r: 255, g: 0, b: 0, alpha: 1 } } })
    .png()
    .toBuffer()
  async function marks(more: Partial<MarksDrawing>) {
    const legend = [{ label: 'red thing', picture: await red }, { label: 'other' }]
    const base = { kind: 'marks', file, view: squareView, rows: 2, columns: 2, legend, dim: 0.5, size: 200, panelsPerRow: 1 } as const
    return decode(await draw({ ...base, panels: [], ...more }, limits), limits)
  }
  const [x, y] = [gap, gap]

  test('is in the middle of each, over the picture dimmed, as opaque as it is said to be', async () => {
    const drawn = await marks({ panels: [{ caption: '', meanings: [0, 0, 0, 0], opacities: [1, 0.5, 0, 1] }] })
    const dimmed = [228, 178, 128]
    expect(pixelAt(drawn, x + 50, y + 50)).toEqual([255, 0, 0])
    expect(pixelAt(drawn, x + 150, y + 50)).toEqual([242, 89, 64])
    expect(pixelAt(drawn, x + 50, y + 150)).toEqual(dimmed)
    expect(pixelAt(drawn, x + 1, y + 1)).toEqual(dimmed)
  })

  test('is written where there is no picture of it', async () => {
    const drawn = await marks({ panels: [{ caption: '', meanings: [1, 1, 1, 1], opacities: [1, 1, 1, 1] }] })
    const cell = Array.from({ length: 80 * 80 }, (_, at) => pixelAt(drawn, x + 10 + (at % 80), y + 10 + Math.floor(at / 80)))
    expect(cell.some(([r]) => r! < 60)).toBe(true)
    expect(cell.some(([r, g, b]) => r! > 235 && g! > 235 && b! > 225)).toBe(true)
  })

  test('of CLS is beside it', async () => {
    const panel = { caption: '', meanings: [1, 1, 1, 1], opacities: [0, 0, 0, 0] }
    const without = await marks({ panels: [panel] })
    const drawn = await marks({ panels: [{ ...panel, cls: { meaning: 0, opacity: 1 } }] })
    expect(drawn.width).toBe(without.width)
    expect(pixelAt(drawn, x + 10, y + 10)).toEqual([255, 0, 0])
  })

  test('is explained below: the most frequent first, with how many patches', async () => {
    const few = await marks({ panels: [{ caption: '', meanings: [0, 0, 0, 0], opacities: [1, 1, 1, 1] }] })
    const more = await marks({ panels: [{ caption: 'blocks.0', meanings: [0, 0, 0, 1], opacities: [1, 1, 1, 1] }] })
    expect(more.height).toBe(few.height + caption)
    expect(pixelAt(few, x + 7, y + 200 + gap + 7)).toEqual([255, 0, 0])
  })

  test('is refused when its picture cannot be read', async () => {
    const legend = [{ label: 'broken', picture: Buffer.from('GIF89a') }]
    await expect(marks({ legend, panels: [{ caption: '', meanings: [0, 0, 0, 0], opacities: [1, 1, 1, 1] }] })).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
    })
  })
})

describe('captions', () => {
  test('are cut to the room there is, with dots where there is room for them', () => {
    expect(fittingText('hook', { width: 100, scale: 1 })).toBe('hook')
    const cut = fittingText('blocks.0.hook_resid_post', { width: 60, scale: 1 })
    expect(cut).toBe('blocks.0..')
    expect(textSize(cut, 1).width).toBeLessThanOrEqual(60)
    expect(fittingText('abc', { width: 5, scale: 1 })).toBe('a')
  })
})
