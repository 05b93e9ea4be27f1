import fs from 'node:fs'
import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { colormap } from '../../../src/engine/image/colormaps.js'
import { contourSegments } from '../../../src/engine/image/contours.js'
import { decode } from '../../../src/engine/image/decode.js'
import { draw, drawHeatmap, type HeatmapDrawing } from '../../../src/engine/image/draw.js'
import { coloured, contoured, type HeatmapStyle, overlay } from '../../../src/engine/image/heatmap.js'
import { type PatchValues, rangeOf, shares } from '../../../src/engine/image/patch-values.js'
import type { Pixels } from '../../../src/engine/image/pixels.js'
import { noisePicture, patchesOf, pixelAt, squareView, viewOf } from './pictures.js'

const limits = { maxPixels: 1_000_000 }
const style: HeatmapStyle = { mode: 'overlay', colormap: 'viridis', alpha: 0.5, interpolation: 'block', levels: [0.5] }
const [dark, bright] = [
  [68, 1, 84],
  [253, 231, 36],
]

const black = (width: number, height: number): Pixels => ({ width, height, channels: 3, data: new Uint8Array(width * height * 3) })

describe('colours', () => {
  test('fill the block of each patch: the lowest and the highest number have the ends of the map', () => {
    const patches = patchesOf([
      [0, 1],
      [1, 0],
    ])
    const raw = coloured({ width: 4, height: 6 }, { patches, range: { low: 0, high: 1 }, style })
    for (const [x, y, colour] of [
      [0, 0, dark],
      [1, 2, dark],
      [2, 0, bright],
      [3, 2, bright],
      [1, 3, bright],
      [2, 5, dark],
    ] as const) {
      expect([x, y, pixelAt(raw, x, y)]).toEqual([x, y, colour])
    }
  })

  test('between the middles of two patches run evenly when smooth, and stay beyond the outermost', () => {
    const patches = patchesOf([[0, 1]])
    const { data } = coloured(
      { width: 8, height: 1 },
      { patches, range: { low: 0, high: 1 }, style: { ...style, colormap: 'grey', interpolation: 'smooth' } },
    )
    // pixels lie 1/4 of a patch apart, the first 3/8 before the first middle
    expect([...data].filter((_, at) => at % 3 === 0)).toEqual([0, 0, 32, 96, 160, 224, 255, 255])
  })

  test('over a picture are its bytes mixed by alpha and rounded', () => {
    const picture = { ...black(2, 1), data: Uint8Array.from([10, 20, 30, 200, 100, 0]) }
    const mixed = overlay(picture, { patches: patchesOf([[0, 1]]), range: { low: 0, high: 1 }, style: { ...style, alpha: 0.25 } })
    expect([...mixed.data]).toEqual([25, 15, 44, 213, 133, 9])
  })

  test('with alpha 0 are the picture, with 1 the colours alone', () => {
    const picture = noisePicture(3, { width: 9, height: 7 })
    const colouring = { patches: patchesOf([[1, 5, 2]]), range: { low: 1, high: 5 } }
    expect(overlay(picture, { ...colouring, style: { ...style, alpha: 0 } }).data).toEqual(picture.data)
    expect(overlay(picture, { ...colouring, style: { ...style, alpha: 1 } })).toEqual(coloured(picture, { ...colouring, style }))
  })
})

describe('the range of colours', () => {
  const range = (values: number[], name: 'viridis' | 'coolwarm' = 'viridis', more: { cls?: number; low?: number; high?: number } = {}) => {
    const { cls, ...fixed } = more
    return rangeOf({ ...patchesOf([values]), ...(cls !== undefined && { cls }) }, name, fixed)
  }

  test('begins at 0 for activations that are mostly 0, and at the lowest where all are far from it', () => {
    expect(range([0, 2, 4])).toEqual({ low: 0, high: 4 })
    expect(range([1, 4])).toEqual({ low: 0, high: 4 })
    expect(range([30, 40])).toEqual({ low: 30, high: 40 })
    expect(range([-3, 1])).toEqual({ low: -3, high: 1 })
  })

  test('of a diverging map is symmetric: 0 is neutral', () => {
    expect(range([-3, 1], 'coolwarm')).toEqual({ low: -3, high: 3 })
    expect(range([2, 5], 'coolwarm')).toEqual({ low: -5, high: 5 })
  })

  test('leaves CLS out, unless the patches say nothing', () => {
    expect(range([0, 2], 'viridis', { cls: 50 })).toEqual({ low: 0, high: 2 })
    expect(range([0, 0], 'viridis', { cls: 50 })).toEqual({ low: 0, high: 50 })
  })

  test('is what was chosen; the other end is found', () => {
    expect(range([1, 2], 'viridis', { low: -1, high: 8 })).toEqual({ low: -1, high: 8 })
    expect(range([1, 4], 'viridis', { high: 8 })).toEqual({ low: 0, high: 8 })
  })

  test('is never empty', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ noNaN: true, min: -1e30, max: 1e30 }), { minLength: 1, maxLength: 5 }),
        fc.constantFrom('viridis' as const, 'coolwarm' as const),
        fc.option(fc.double({ noNaN: true, min: -1e30, max: 1e30 }), { nil: undefined }),
        (values, name, low) => {
          const found = range(values, name, low === undefined ? {} : { low })
          expect(found.high).toBeGreaterThan(found.low)
        },
      ),
    )
  })
})

describe('contours', () => {
  const line = (patches: PatchValues, interpolation: 'block' | 'smooth', size = 80) =>
    contoured(black(size, size), {
      patches,
      range: { low: 0, high: 1 },
      style: { ...style, colormap: 'grey', interpolation, levels: [0.5] },
    })
  /** Where a row of pixels is brightest. */
  const brightest = (picture: Pixels, y: number) => {
    const row = Array.from({ length: picture.width }, (_, x) => pixelAt(picture, x, y)[0]!)
    return row.indexOf(Math.max(...row))
  }

  test('run along the edges of blocks', () => {
    const picture = line(
      patchesOf([
        [0, 1],
        [0, 1],
      ]),
      'block',
    )
    expect([39, 40]).toContain(brightest(picture, 40))
    expect(pixelAt(picture, 40, 10)).toEqual([128, 128, 128])
    expect(pixelAt(picture, 20, 40)).toEqual([0, 0, 0])
    expect(pixelAt(picture, 79, 40)).toEqual([0, 0, 0])
  })

  test('run where the smooth field has the level: a quarter of the way when that is where it is', () => {
    const quarter = line(
      patchesOf([
        [0.25, 1.25],
        [0.25, 1.25],
      ]),
      'smooth',
    )
    // middles are at 20 and 60; 0.5 is a quarter of the way between them
    expect(Math.abs(brightest(quarter, 40) - 29.5)).toBeLessThanOrEqual(1)
  })

  test('of a peak are a closed ring around it', () => {
    const ring = line(
      patchesOf([
        [0, 0, 0],
        [0, 1, 0],
        [0, 0, 0],
      ]),
      'smooth',
      120,
    )
    expect(pixelAt(ring, 60, 60)).toEqual([0, 0, 0])
    for (let angle = 0; angle < 360; angle += 5) {
      const along = Array.from({ length: 60 }, (_, radius) => {
        const [x, y] = [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)].map((part) => Math.floor(60 + part * radius))
        return pixelAt(ring, x!, y!)[0]!
      })
      expect([angle, Math.max(...along) > 90]).toEqual([angle, true])
    }
  })

  test('are not drawn where nothing reaches the level or nothing falls below it', () => {
    for (const value of [0, 1]) {
      for (const interpolation of ['block', 'smooth'] as const) {
        expect(
          line(
            patchesOf([
              [value, value],
              [value, value],
            ]),
            interpolation,
          ),
        ).toEqual(black(80, 80))
      }
    }
  })
})

describe('a heatmap over what the model sees', () => {
  const base = (file: Uint8Array, more: Partial<HeatmapDrawing> = {}): HeatmapDrawing => ({
    kind: 'heatmap',
    file,
    view: squareView,
    patches: patchesOf([
      [0, 0],
      [0, 1],
    ]),
    style,
    size: 64,
    showCls: false,
    ...more,
  })

  test('lies where the model has its patches, whatever the shape of the picture', async () => {
    for (const [width, height] of [
      [60, 40],
      [40, 60],
      [301, 200],
      [31, 32],
    ] as const) {
      // what the crop cuts off is red, the middle square is black, and its lower right quarter is white
      const side = Math.min(width, height)
      const [left, top] = [(width - side) / 2, (height - side) / 2]
      const file = await viewOf(width, height, (x, y) => {
        if (x < left || y < top || x >= left + side || y >= top + side) return [255, 0, 0]
        return x >= left + side / 2 && y >= top + side / 2 ? [255, 255, 255] : [0, 0, 0]
      })
      const drawn = await drawHeatmap(base(file), limits)
      expect([drawn.width, drawn.height]).toEqual([64, 64])
      expect(pixelAt(drawn, 16, 16)).toEqual(dark.map((byte) => Math.round(byte / 2)))
      expect(pixelAt(drawn, 48, 48)).toEqual(bright.map((byte) => Math.round((255 + byte) / 2)))
    }
  })

  test('crops to the patches that reach the level, from the file itself', async () => {
    const file = await viewOf(400, 400, (x, y) => (x >= 200 && y >= 200 ? [x - 200, y - 200, 7] : [255, 255, 255]))
    const crop = await drawHeatmap(base(file, { style: { ...style, mode: 'crop' }, size: 200 }), limits)
    expect([crop.width, crop.height]).toEqual([200, 200])
    for (const [x, y] of [
      [20, 30],
      [100, 100],
      [190, 180],
    ] as const)
      expect(pixelAt(crop, x, y)).toEqual([x, y, 7])
  })

  test('crops to the highest patch where nothing reaches the level', async () => {
    const file = await viewOf(64, 64, (x, y) => (x >= 32 && y < 32 ? [9, 9, 9] : [200, 0, 0]))
    const patches = patchesOf([
      [-4, -1],
      [-3, -2],
    ])
    const crop = await drawHeatmap(
      base(file, { patches, range: { low: 0, high: 10 }, style: { ...style, mode: 'crop' }, size: 16 }),
      limits,
    )
    expect(pixelAt(crop, 8, 8)).toEqual([9, 9, 9])
  })

  test('has what the patches cover and not what fills no patch', async () => {
    // of 70 pixels, two patches of 32 cover 64
    const how = { ...squareView.how, resize: { kind: 'exact', height: 70, width: 70 } as const, crop: null }
    const file = await viewOf(70, 70, (x, y) => (x >= 64 || y >= 64 ? [255, 0, 0] : [0, 0, 0]))
    const view = { how, covered: { width: 64, height: 64 } }
    const drawn = await drawHeatmap(base(file, { view, style: { ...style, alpha: 0 } }), limits)
    expect(drawn.data.every((byte) => byte === 0)).toBe(true)
  })

  test('shows CLS in a square of its own, within the size', async () => {
    const file = await viewOf(64, 64, () => [0, 0, 0])
    const patches = {
      ...patchesOf([
        [0, 0],
        [0, 1],
      ]),
      cls: 2,
    }
    const drawn = await drawHeatmap(base(file, { patches, showCls: true, size: 200 }), limits)
    expect([drawn.width, drawn.height]).toEqual([200, 176])
    expect(pixelAt(drawn, 3, 3)).toEqual(bright)
    expect(pixelAt(drawn, 21, 3)).toEqual([255, 255, 255])
    expect(pixelAt(drawn, 30, 3)).toEqual(dark.map((byte) => Math.round(byte / 2)))
    const without = await drawHeatmap(base(file, { patches, showCls: false, size: 200 }), limits)
    expect([without.width, without.height]).toEqual([200, 200])
  })

  test('needs no picture for colours alone', async () => {
    const { file: _, ...drawing } = base(new Uint8Array(), {
      style: { ...style, mode: 'raw' },
      patches: patchesOf([[0, 1, 2]]),
      view: { how: squareView.how, covered: null },
    })
    const drawn = await drawHeatmap(drawing, limits)
    expect([drawn.width, drawn.height]).toEqual([64, 21])
  })

  test('is the same file each time, a PNG of the pixels drawn', async () => {
    const file = await viewOf(50, 50, (x, y) => [x, y, 0])
    const [once, again] = [await draw(base(file), limits), await draw(base(file), limits)]
    expect(Buffer.from(once).equals(again)).toBe(true)
    expect(Uint8Array.from((await decode(once, limits)).data)).toEqual((await drawHeatmap(base(file), limits)).data)
  })

  test('of grey models and of pictures with alpha shows what they see', async () => {
    const rgba = await sharp(Buffer.from([100, 50, 0, 0]), { raw: { width: 1, height: 1, channels: 4 } })
      .resize(32, 32)
      .png()
      .toBuffer()
    const plain = { ...style, alpha: 0 }
    expect(pixelAt(await drawHeatmap(base(rgba, { style: plain }), limits), 5, 5)).toHaveLength(3)
    const red = await viewOf(32, 32, () => [255, 0, 0])
    const grey = await drawHeatmap(base(red, { style: plain, view: { ...squareView, how: { ...squareView.how, mode: 'L' } } }), limits)
    expect(pixelAt(grey, 5, 5)).toEqual([76, 76, 76])
  })

  test.each([
    ['NaN', [0, Number.NaN, 0, 0], 'row 0, column 1 is NaN'],
    ['infinity', [0, 0, 0, Number.NEGATIVE_INFINITY], 'row 1, column 1 is -Infinity'],
  ])('refuses %s, which has no colour', async (_, values, message) => {
    const file = await viewOf(8, 8, () => [0, 0, 0])
    const patches = { rows: 2, columns: 2, values: Float32Array.from(values) }
    await expect(drawHeatmap(base(file, { patches }), limits)).rejects.toThrow(message)
  })

  test('refuses numbers that are not as many as patches, and pictures that are none', async () => {
    const file = await viewOf(8, 8, () => [0, 0, 0])
    await expect(drawHeatmap(base(file, { patches: { rows: 2, columns: 2, values: new Float32Array(3) } }), limits)).rejects.toMatchObject({
      code: 'SHAPE_MISMATCH',
    })
    await expect(drawHeatmap(base(Buffer.from('GIF89a')), limits)).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
  })
})

describe('against reference libraries', () => {
  interface Case {
    readonly rows: number
    readonly columns: number
    readonly height: number
    readonly width: number
    readonly values: number[]
    readonly pixels: number[]
    readonly contours: Record<string, { length: number; middle: [number, number] }> | null
  }
  const file = new URL('../../fixtures/heatmaps/heatmaps.json', import.meta.url)
  const { cases, levels } = JSON.parse(fs.readFileSync(file, 'utf8')) as { cases: Case[]; levels: number[] }
  const range = { low: 0, high: 1 }

  test.each(cases)(
    '$rows x $columns patches on $width x $height pixels are interpolated as PyTorch does',
    ({ values, pixels, ...size }) => {
      const patches = { ...size, values: Float32Array.from(values) }
      const field = shares(patches, range, { ...size, interpolation: 'smooth' })
      for (const [at, value] of field.entries()) expect(Math.abs(value - pixels[at]!)).toBeLessThan(1e-6)
    },
  )

  test.each(cases.filter(({ contours }) => contours))(
    'contours of $rows x $columns patches are the lines that contourpy finds',
    ({ values, contours, ...size }) => {
      const patches = { ...size, values: Float32Array.from(values) }
      for (const level of levels) {
        const { length, middle } = contours![String(level)]!
        let [total, x, y] = [0, 0, 0]
        for (const [x0, y0, x1, y1] of contourSegments({ patches, range, interpolation: 'smooth' }, size, level)) {
          const along = Math.hypot(x1 - x0, y1 - y0)
          total += along
          x += (along * (x0 + x1)) / 2
          y += (along * (y0 + y1)) / 2
        }
        expect(Math.abs(total - length)).toBeLessThan(1e-3 * Math.max(1, length))
        if (length === 0) continue
        expect(Math.hypot(x / total - middle[0], y / total - middle[1])).toBeLessThan(1e-2)
      }
    },
  )
})

test('every number has the colour of its place in the map', () => {
  fc.assert(
    fc.property(fc.array(fc.float({ noNaN: true, min: -100, max: 100 }), { minLength: 2, maxLength: 8 }), (values) => {
      const patches = patchesOf([values])
      const range = rangeOf(patches, 'turbo')
      const { data } = coloured({ width: values.length, height: 1 }, { patches, range, style: { ...style, colormap: 'turbo' } })
      const table = colormap('turbo')
      for (const [index, value] of values.entries()) {
        const share = Math.fround((Math.fround(value) - range.low) / (range.high - range.low))
        const step = Math.min(255, Math.max(0, Math.floor(share * 256)))
        expect([...data.subarray(index * 3, index * 3 + 3)]).toEqual([...table.subarray(step * 3, step * 3 + 3)])
      }
    }),
  )
})
