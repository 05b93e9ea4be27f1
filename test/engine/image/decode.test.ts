import { deflateSync } from 'node:zlib'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { EngineError } from '../../../src/engine/errors.js'
import { decode, inspectImage } from '../../../src/engine/image/decode.js'
import { toLuminance } from '../../../src/engine/image/pixels.js'
import { limits, readFixture, readGolden, sha256 } from './golden.js'

interface Decoded {
  readonly width: number
  readonly height: number
  readonly rgb: string
  readonly luminance: string
  readonly first: readonly number[]
}

const goldens = Object.entries(readGolden<Record<string, Decoded>>('decoded.json'))

async function refusal(bytes: Uint8Array, maxPixels = limits.maxPixels): Promise<EngineError> {
  const error = await decode(bytes, { maxPixels }).catch((caught: unknown) => caught)
  expect(error).toBeInstanceOf(EngineError)
  const inspected = await inspectImage(bytes, { maxPixels }).catch((caught: unknown) => caught)
  expect((inspected as EngineError).message).toBe((error as EngineError).message)
  return error as EngineError
}

describe.each(goldens)('%s', (name, golden) => {
  test('decodes to the bytes that Pillow has, as RGB and as L', async () => {
    const image = await decode(readFixture('files', name), limits)
    expect([...image.data.subarray(0, 12)]).toEqual(golden.first)
    expect({ width: image.width, height: image.height, channels: image.channels }).toEqual({
      width: golden.width,
      height: golden.height,
      channels: 3,
    })
    expect(sha256(image.data)).toBe(golden.rgb)
    expect(sha256(toLuminance(image).data)).toBe(golden.luminance)
  })

  test('is described by its format and size', async () => {
    const format = name.split('-')[0]
    const { width, height } = golden
    expect(await inspectImage(readFixture('files', name), limits)).toEqual({ format, width, height })
  })
})

// Not the animation, whose first frame is whole in the first half, nor the tiny ones.
const cuttable = goldens.filter(([name, { width, height }]) => name !== 'png-animated.png' && width * height > 1000)

test.each(cuttable)('%s is refused when its second half is missing', async (name) => {
  const bytes = readFixture('files', name)
  const error = await refusal(bytes.subarray(0, bytes.length / 2))
  expect(error.code).toBe('IMAGE_INVALID')
  expect(error.message).toMatch(/truncated or damaged/)
})

describe('a file that is not a JPEG, PNG or WebP is refused by name', () => {
  const text = (content: string) => new TextEncoder().encode(content)
  test.each([
    ['a GIF', readFixture('refused', 'gif.gif')],
    ['a TIFF', readFixture('refused', 'tiff.tiff')],
    ['a BMP', readFixture('refused', 'bmp.bmp')],
    ['an AVIF', readFixture('refused', 'avif.avif')],
    ['an SVG', text('<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>')],
    ['an SVG', text('\ufeff<?xml version="1.0"?>\n<!-- drawn -->\n<svg width="10" height="10"/>')],
    ['an HTML page', text('<!DOCTYPE html><html></html>')],
    ['a PDF', text('%PDF-1.7')],
    ['a data: URL', text('data:image/png;base64,iVBORw0KGgo=')],
    ['a zip archive', text('PK\u0003\u0004')],
    ['empty', new Uint8Array()],
    ['none of the known picture formats', text('hello')],
  ])('%s', async (what, bytes) => {
    const error = await refusal(bytes)
    expect(error.code).toBe('IMAGE_INVALID')
    expect(error.message).toContain(what)
    expect(error.message).toContain('JPEG, PNG and WebP are accepted')
  })
})

test('random bytes after a right signature are refused', async () => {
  for (const name of ['jpeg-420.jpg', 'png-rgb.png', 'webp-lossy.webp']) {
    const bytes = Uint8Array.from(readFixture('files', name)).fill(0xa5, 16)
    expect((await refusal(bytes)).code).toBe('IMAGE_INVALID')
  }
})

test('damaged compressed data is refused', async () => {
  const bytes = Uint8Array.from(readFixture('files', 'png-rgb.png'))
  const idat = Buffer.from(bytes).indexOf('IDAT')
  bytes[idat + 200] = bytes[idat + 200]! ^ 0xff
  expect((await refusal(bytes)).message).toMatch(/truncated or damaged/)
})

test('16-bit grey that 8 bits cannot hold is refused with the reason', async () => {
  expect((await refusal(readFixture('refused', 'png-grey-16.png'))).message).toMatch(/16-bit grey/)
})

describe('the pixel limit', () => {
  test('refuses 16,000 x 16,000 by the header, without the memory that it would take', async () => {
    const before = process.memoryUsage.rss()
    const error = await refusal(readFixture('refused', 'png-16000.png'))
    expect(error.code).toBe('IMAGE_TOO_LARGE')
    expect(error.details).toEqual({ width: 16000, height: 16000, limit: limits.maxPixels })
    expect(process.memoryUsage.rss() - before).toBeLessThan(100 * 2 ** 20)
  })

  test('believes the header, however little data follows', async () => {
    const error = await refusal(pngWithHeader(60_000, 60_000))
    expect(error.code).toBe('IMAGE_TOO_LARGE')
  })

  test('does not make room for a picture whose data ends early', async () => {
    expect((await refusal(pngWithHeader(5_000, 5_000))).message).toMatch(/truncated or damaged/)
  })

  test('is met exactly', async () => {
    const bytes = new Uint8Array(
      await sharp({ create: { width: 20, height: 10, channels: 3, background: 'red' } })
        .png()
        .toBuffer(),
    )
    expect((await decode(bytes, { maxPixels: 200 })).width).toBe(20)
    expect((await refusal(bytes, 199)).code).toBe('IMAGE_TOO_LARGE')
  })
})

/** A PNG of one scanline whose header says otherwise. */
function pngWithHeader(width: number, height: number): Uint8Array {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 2], 8)
  const chunks = [chunk('IHDR', header), chunk('IDAT', deflateSync(Buffer.alloc(64))), chunk('IEND', Buffer.alloc(0))]
  return new Uint8Array(Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), ...chunks]))
}

function chunk(kind: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(kind), data])
  const framed = Buffer.alloc(body.length + 8)
  framed.writeUInt32BE(data.length, 0)
  framed.set(body, 4)
  framed.writeUInt32BE(crc32(body), body.length + 4)
  return framed
}

function crc32(bytes: Uint8Array): number {
  let crc = -1
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0)
  }
  return ~crc >>> 0
}
