/**
 * A picture file to the numbers a model reads: decode, resize, centre crop, scale, normalise, with the reference's rounding at each step.
 */

import type { Tensor } from '../tensor.js'
import { decode, decodeStored, type ImageLimits } from './decode.js'
import { type Geometry, geometry } from './geometry.js'
import { type Pixels, toLuminance } from './pixels.js'
import type { Preprocessing } from './preprocessing.js'
import { resample } from './resample.js'
import { type AroundResize, aroundResize, convertedToRgb, fillOf, type StoredPicture } from './stored-picture.js'

/**
 * @returns `[channel, height, width]`
 * @throws  IMAGE_INVALID, IMAGE_TOO_LARGE
 */
export async function preprocess(bytes: Uint8Array, how: Preprocessing, limits: ImageLimits): Promise<Tensor<'float32'>> {
  return normalize(await seen(bytes, how, limits), how)
}

/**
 * The bytes that the model sees, RGB or L as `how.mode` says.
 *
 * @param look  what to show instead of just that: a part of it, or the same at another resolution
 * @throws      IMAGE_INVALID, IMAGE_TOO_LARGE
 */
export async function seen(bytes: Uint8Array, how: Preprocessing, limits: ImageLimits, look: Look = (shape) => shape): Promise<Pixels> {
  if (how.conversion === undefined) return fit(inMode(await decode(bytes, limits), how), { how, look })
  const stored = await decodeStored(bytes, limits)
  return inMode(convertedToRgb(stored, fitStored(stored, { how, look })), how)
}

/** From what the model sees of a picture to what is to be seen of it. */
export type Look = (shape: Geometry) => Geometry

interface Fitting {
  readonly how: Preprocessing
  readonly look: Look
  /** Done to the pixels before the resize, and to what is seen of them after it. */
  readonly around?: AroundResize | undefined
}

function inMode(rgb: Pixels, { mode }: Preprocessing): Pixels {
  return mode === 'L' ? toLuminance(rgb) : rgb
}

/** A picture in the bands that its file has, which some need something done to them around the resize. */
function fitStored(stored: StoredPicture, { how, look }: Fitting): Pixels {
  const { pixels, mode } = stored
  const { resized } = look(geometry(pixels, how))
  const isResized = resized.width !== pixels.width || resized.height !== pixels.height
  const resize = how.resize?.kind === 'longestEdge' ? { ...how.resize, fill: fillOf(stored, how.resize.fill) } : how.resize
  const resample = mode === 'indexed' ? 'nearest' : how.resample
  return fit(pixels, { how: { ...how, resize, resample }, look, around: isResized ? aroundResize(stored) : undefined })
}

/** The part of a picture in the model's mode that it sees, resized. @throws IMAGE_INVALID when it is too thin */
export function fitted(image: Pixels, how: Preprocessing): Pixels {
  return fit(image, { how, look: (shape) => shape })
}

/** Resize and centre crop. */
function fit(image: Pixels, { how, look, around }: Fitting): Pixels {
  const shape = look(geometry(image, how))
  const left = Math.max(0, shape.left)
  const top = Math.max(0, shape.top)
  const window = {
    left,
    top,
    width: Math.min(shape.resized.width, shape.left + shape.output.width) - left,
    height: Math.min(shape.resized.height, shape.top + shape.output.height) - top,
  }
  const fill = how.resize?.kind === 'longestEdge' ? how.resize.fill : 0
  // a part that lies in the padding
  if (window.width <= 0 || window.height <= 0) return pad({ ...image, width: 0, height: 0, data: new Uint8Array() }, shape, fill)
  const visible = resample(around?.before(image) ?? image, shape.resized, how.resample, window)
  return pad(around?.after(visible) ?? visible, shape, fill)
}

function pad(image: Pixels, { output, left, top }: Geometry, fill: number | readonly number[]): Pixels {
  if (image.width === output.width && image.height === output.height) return image
  const { channels } = image
  const data = new Uint8Array(output.width * output.height * channels)
  for (let at = 0; at < data.length; at++) data[at] = typeof fill === 'number' ? fill : fill[at % channels]!
  for (let y = 0; y < image.height; y++) {
    const row = image.data.subarray(y * image.width * channels, (y + 1) * image.width * channels)
    data.set(row, ((y + Math.max(0, -top)) * output.width + Math.max(0, -left)) * channels)
  }
  return { ...output, channels, data }
}

/**
 * Bytes to numbers: `byte x rescale` in float64 and then rounded, `- mean` and `/ std` in float32, each rounded: what numpy (transformers)
 * and torch (torchvision's `x / 255`) both come to, for every byte. There are 256 results a channel, so they are computed once.
 */
export function normalize(image: Pixels, how: Preprocessing): Tensor<'float32'> {
  const { width, height, channels } = image
  const data = new Float32Array(channels * width * height)
  writeNormalized(image, how, data, 0)
  return { dtype: 'float32', shape: [channels, height, width], data }
}

/** `normalize`, into a part of a larger array. */
export function writeNormalized(image: Pixels, how: Preprocessing, target: Float32Array, offset: number): void {
  const { width, height, channels, data } = image
  const plane = width * height
  for (let channel = 0; channel < channels; channel++) {
    const mean = Math.fround(how.mean[channel]!)
    const std = Math.fround(how.std[channel]!)
    const valueOfByte = Float32Array.from({ length: 256 }, (_, byte) => Math.fround(Math.fround(byte * how.rescale) - mean) / std)
    const start = offset + channel * plane
    for (let pixel = 0; pixel < plane; pixel++) target[start + pixel] = valueOfByte[data[pixel * channels + channel]!]!
  }
}
