/**
 * Picture files to bytes, as Pillow opens them: embedded colour profiles, gamma and EXIF orientation are not applied, and of an animation
 * the first frame counts. `decode` is byte-equal to `Image.open(file).convert('RGB')`: alpha is dropped without compositing.
 * `decodeStored` is the picture before that conversion.
 *
 * libvips (through sharp) decodes. Where its colour conversions are not Pillow's, raw samples are taken from it and converted here.
 */

import sharp, { type Metadata, type Sharp } from 'sharp'
import { EngineError } from '../errors.js'
import { cmykToRgb, type Pixels } from './pixels.js'
import { type ImageFormat, sniffFormat } from './sniff.js'
import { type StoredPicture, storedModeOfPng } from './stored-picture.js'

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
  const file = await open(bytes, limits)
  return { ...sizeOf(file), channels: 3, data: await file.reading(() => rgb(file)) }
}

/** Decodes to RGB, or to RGBA where the file has transparency (that of a palette included). @throws what `decode` throws */
export async function decodeWithAlpha(bytes: Uint8Array, limits: ImageLimits): Promise<Pixels> {
  const file = await open(bytes, limits)
  const hasAlpha = file.header.hasAlpha && file.header.space !== 'cmyk'
  return { ...sizeOf(file), channels: hasAlpha ? 4 : 3, data: await file.reading(() => (hasAlpha ? rgba(file) : rgb(file))) }
}

/** Decodes to what Pillow would resize: bands as the file has them. @throws what `decode` throws */
export async function decodeStored(bytes: Uint8Array, limits: ImageLimits): Promise<StoredPicture> {
  const file = await open(bytes, limits)
  const picture = async (channels: number, read: () => Promise<Uint8Array>): Promise<Pixels> => ({
    ...sizeOf(file),
    channels,
    data: await file.reading(read),
  })
  if (file.header.space === 'cmyk') return { mode: 'CMYK', pixels: await picture(4, () => cmyk(file)) }
  const stored = file.format === 'png' ? storedModeOfPng(bytes) : { mode: file.header.hasAlpha ? ('RGBA' as const) : ('RGB' as const) }
  if (stored.mode === 'RGBA') return { mode: 'RGBA', pixels: await picture(4, () => rgba(file)) }
  return { ...stored, pixels: await picture(3, () => rgb(file)) }
}

/** What an upload is, after the same refusals as `decode`: the file is decoded to its end, so a truncated one is refused here. */
export async function inspectImage(bytes: Uint8Array, limits: ImageLimits): Promise<ImageInfo> {
  const file = await open(bytes, limits)
  await file.reading(() => rgb(file))
  return { format: file.format, ...sizeOf(file) }
}

/** What a file's header says, after the refusals that need no pixel: a file that is damaged further on passes. @throws what `decode` throws */
export async function inspectHeader(bytes: Uint8Array, limits: ImageLimits): Promise<ImageInfo> {
  const file = await open(bytes, limits)
  return { format: file.format, ...sizeOf(file) }
}

interface OpenedFile {
  readonly format: ImageFormat
  readonly header: Metadata
  readonly image: Sharp
  /** Turns the decoder's failures into refusals. */
  readonly reading: <T>(read: () => Promise<T>) => Promise<T>
}

const sizeOf = ({ header: { width, height } }: OpenedFile) => ({ width, height })

async function open(bytes: Uint8Array, limits: ImageLimits): Promise<OpenedFile> {
  const format = sniffFormat(bytes)
  const reading = <T>(read: () => Promise<T>) => refusing(format, read)
  // limitInputPixels is ours to check: sharp's own message names no numbers. Reading the header allocates no pixels.
  const options = { failOn: 'truncated', ignoreIcc: true, limitInputPixels: false } as const
  const header = await reading(() => sharp(bytes, options).metadata())
  const { width, height } = header
  if (width * height > limits.maxPixels) throw new EngineError('IMAGE_TOO_LARGE', { width, height, limit: limits.maxPixels })
  if (header.format !== format) {
    throw new EngineError('IMAGE_INVALID', { problem: `it starts like a ${format.toUpperCase()} and reads as ${header.format}.` })
  }
  return { format, header, image: sharp(bytes, options), reading }
}

async function rgb(file: OpenedFile): Promise<Uint8Array> {
  const { header, image } = file
  if (header.space === 'cmyk') return cmykToRgb(await cmyk(file))
  if (header.space === 'grey16') return header.hasAlpha ? highBytes(file, [0, 0, 0]) : rgbFromGrey16(file)
  return image.removeAlpha().toColourspace('srgb').raw().toBuffer()
}

/** Only for pictures with transparency. */
async function rgba(file: OpenedFile): Promise<Uint8Array> {
  const { header, image } = file
  if (header.space === 'grey16') return highBytes(file, [0, 0, 0, 1])
  if (header.space === 'rgb16') return highBytes(file, [0, 1, 2, 3])
  return image.ensureAlpha().toColourspace('srgb').raw().toBuffer()
}

async function cmyk({ image }: OpenedFile): Promise<Uint8Array> {
  return image.pipelineColourspace('cmyk').toColourspace('cmyk').raw().toBuffer()
}

/** Of 16-bit samples the high bytes, as Pillow reads every 16-bit picture but plain grey; `bands` of the file, in this order. */
async function highBytes({ header, image }: OpenedFile, bands: readonly number[]): Promise<Uint8Array> {
  const space = header.space as 'grey16' | 'rgb16'
  const samples = await sixteenBits(image.pipelineColourspace(space).toColourspace(space))
  const nBands = samples.length / (header.width * header.height)
  const bytes = new Uint8Array(header.width * header.height * bands.length)
  for (let pixel = 0, at = 0; at < bytes.length; pixel++) {
    for (const band of bands) bytes[at++] = samples[pixel * nBands + band]! >> 8
  }
  return bytes
}

/**
 * Pillow clips 16-bit grey at 255, which turns nearly every such picture white. Where that loses nothing it is done; elsewhere the
 * picture is refused, because a white picture would be answered with numbers that look right.
 */
async function rgbFromGrey16({ image }: OpenedFile): Promise<Uint8Array> {
  const samples = await sixteenBits(image.removeAlpha().pipelineColourspace('grey16').toColourspace('grey16'))
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

async function sixteenBits(image: Sharp): Promise<Uint16Array> {
  const raw = await image.raw({ depth: 'ushort' }).toBuffer()
  return new Uint16Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength))
}

async function refusing<T>(format: ImageFormat, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof EngineError) throw error
    const reason =
      (error instanceof Error ? error.message : String(error))
        .split('\n')[0]!
        .replace(/^\w+: (?=.)/, '')
        .replace(/^Input buffer has corrupt header:? ?/, '')
        .replace(/^\w+: (?=.)/, '') || 'its header cannot be read'
    throw new EngineError('IMAGE_INVALID', { problem: `the ${format.toUpperCase()} file is truncated or damaged (${reason}).` })
  }
}
