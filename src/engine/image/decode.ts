/**
 * Picture files to RGB bytes, byte-equal to Pillow's `Image.open(file).convert('RGB')`: alpha is dropped without compositing, embedded
 * colour profiles, gamma and EXIF orientation are not applied, and of an animation the first frame counts. (transformers' newest image
 * processors composite alpha on white before they resize; open_clip, timm, torchvision and transformers until then do not.)
 *
 * libvips (through sharp) decodes. Where its colour conversions are not Pillow's, raw samples are taken from it and converted here.
 */

import sharp, { type Sharp } from 'sharp'
import { EngineError } from '../errors.js'
import { cmykToRgb, type Pixels } from './pixels.js'
import { type ImageFormat, sniffFormat } from './sniff.js'

export interface ImageLimits {
  /** Width x height; checked against the header before any pixel is decoded. */
  readonly maxPixels: number
}

export interface ImageInfo {
  readonly format: ImageFormat
  readonly width: number
  readonly height: number
}

/**
 * Decodes a JPEG, PNG or WebP to RGB.
 *
 * @throws IMAGE_INVALID   for any other format, for truncated and damaged files, and for 16-bit grey that does not fit 8 bits
 * @throws IMAGE_TOO_LARGE when the header says more than `limits.maxPixels`
 */
export async function decode(bytes: Uint8Array, limits: ImageLimits): Promise<Pixels> {
  return (await open(bytes, limits)).pixels
}

/** What an upload is, after the same refusals as `decode`: the file is decoded to its end, so a truncated one is refused here. */
export async function inspectImage(bytes: Uint8Array, limits: ImageLimits): Promise<ImageInfo> {
  const { format, pixels } = await open(bytes, limits)
  return { format, width: pixels.width, height: pixels.height }
}

async function open(bytes: Uint8Array, limits: ImageLimits): Promise<{ format: ImageFormat; pixels: Pixels }> {
  const format = sniffFormat(bytes)
  // limitInputPixels is ours to check: sharp's own message names no numbers. Reading the header allocates no pixels.
  const options = { failOn: 'truncated', ignoreIcc: true, limitInputPixels: false } as const
  const header = await reading(format, () => sharp(bytes, options).metadata())
  const { width, height } = header
  if (width * height > limits.maxPixels) throw new EngineError('IMAGE_TOO_LARGE', { width, height, limit: limits.maxPixels })
  if (header.format !== format) {
    throw new EngineError('IMAGE_INVALID', { problem: `it starts like a ${format.toUpperCase()} and reads as ${header.format}.` })
  }
  const image = sharp(bytes, options)
  const data = await reading(format, () => {
    if (header.space === 'cmyk') return rgbFromCmyk(image)
    if (header.space === 'grey16') return rgbFromGrey16(image)
    return image.removeAlpha().toColourspace('srgb').raw().toBuffer()
  })
  return { format, pixels: { width, height, channels: 3, data } }
}

async function rgbFromCmyk(image: Sharp): Promise<Uint8Array> {
  return cmykToRgb(await image.pipelineColourspace('cmyk').toColourspace('cmyk').raw().toBuffer())
}

/**
 * Pillow clips 16-bit grey at 255, which turns nearly every such picture white. Where that loses nothing it is done; elsewhere the
 * picture is refused, because a white picture would be answered with numbers that look right.
 */
async function rgbFromGrey16(image: Sharp): Promise<Uint8Array> {
  const raw = await image.removeAlpha().pipelineColourspace('grey16').toColourspace('grey16').raw({ depth: 'ushort' }).toBuffer()
  const samples = new Uint16Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength))
  const rgb = new Uint8Array(samples.length * 3)
  for (let pixel = 0; pixel < samples.length; pixel++) {
    const value = samples[pixel]!
    if (value > 255) {
      const problem = 'it is 16-bit grey, which Pillow would clip at 255 into a nearly white picture. Convert it to 8 bits first.'
      throw new EngineError('IMAGE_INVALID', { problem })
    }
    rgb.fill(value, pixel * 3, pixel * 3 + 3)
  }
  return rgb
}

/** Turns the decoder's failures into refusals. */
async function reading<T>(format: ImageFormat, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof EngineError) throw error
    const reason = (error instanceof Error ? error.message : String(error))
      .split('\n')[0]!
      .replace(/^Input buffer has corrupt header: /, '')
      .replace(/^\w+: /, '')
    throw new EngineError('IMAGE_INVALID', { problem: `the ${format.toUpperCase()} file is truncated or damaged (${reason}).` })
  }
}
