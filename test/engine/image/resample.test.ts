import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ResampleFilter } from '../../../src/engine/image/preprocessing.js'
import { resample } from '../../../src/engine/image/resample.js'
import { noise, readGolden, sha256 } from './golden.js'

interface Resampled {
  readonly seed: number
  readonly width: number
  readonly height: number
  readonly channels: number
  readonly filter: ResampleFilter
  readonly to: readonly [number, number]
  readonly sha256: string
}

const goldens = readGolden<Resampled[]>('resampled.json')
const filters = ['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos'] as const

function picture(width: number, height: number, { channels, seed }: { channels: number; seed: number }) {
  return { width, height, channels, data: noise(width * height * channels, seed) }
}

describe.each(filters)('resampling with %s', (filter) => {
  test('is equal to Pillow in every byte, up and down, RGB and L', () => {
    const cases = goldens.filter((golden) => golden.filter === filter)
    expect(cases.length).toBeGreaterThan(100)
    const wrong = cases.filter(({ width, height, to, sha256: expected, ...golden }) => {
      const result = resample(picture(width, height, golden), { width: to[0], height: to[1] }, filter)
      return sha256(result.data) !== expected
    })
    expect(wrong.map(({ width, height, channels, to }) => `${width}x${height}x${channels} to ${to.join('x')}`)).toEqual([])
  })

  test('gives a window the bytes that it has in the whole result', () => {
    const side = fc.integer({ min: 1, max: 40 })
    const shape = fc.record({ width: side, height: side, toWidth: side, toHeight: side, a: side, b: side, c: side, d: side })
    fc.assert(
      fc.property(shape, fc.constantFrom(1, 3), ({ width, height, toWidth, toHeight, a, b, c, d }, channels) => {
        const image = picture(width, height, { channels, seed: 5 })
        const size = { width: toWidth, height: toHeight }
        const whole = resample(image, size, filter)
        const left = a % toWidth
        const top = b % toHeight
        const window = { left, top, width: 1 + (c % (toWidth - left)), height: 1 + (d % (toHeight - top)) }
        const part = resample(image, size, filter, window)
        for (let y = 0; y < window.height; y++) {
          const start = ((top + y) * toWidth + left) * channels
          const row = whole.data.slice(start, start + window.width * channels)
          expect(part.data.slice(y * row.length, (y + 1) * row.length)).toEqual(row)
        }
      }),
    )
  })

  test('keeps a flat picture flat and a picture of the same size as it is', () => {
    const flat = { width: 13, height: 9, channels: 3, data: new Uint8Array(13 * 9 * 3).fill(201) }
    expect(new Set(resample(flat, { width: 30, height: 4 }, filter).data)).toEqual(new Set([201]))
    const image = picture(13, 9, { channels: 3, seed: 2 })
    expect(resample(image, { width: 13, height: 9 }, filter).data).toEqual(image.data)
  })
})

test('a strip of a million columns costs no table of a million weights a column', () => {
  const strip = picture(1_000_000, 1, { channels: 1, seed: 3 })
  const { data } = resample(strip, { width: 224, height: 224 }, 'bicubic')
  expect(data.length).toBe(224 * 224)
  expect(Math.abs(data.reduce((sum, value) => sum + value, 0) / data.length - 127.5)).toBeLessThan(3)
})

test('a strip enlarged to a height of millions is computed only where it is seen', () => {
  const strip = picture(1, 20_000, { channels: 3, seed: 3 })
  const size = { width: 224, height: 224 * 20_000 }
  const { data } = resample(strip, size, 'bicubic', { left: 0, top: 2_000_000, width: 224, height: 224 })
  expect(data.length).toBe(224 * 224 * 3)
})
