/**
 * A picture file to the numbers a model reads: decode, resize, centre crop, scale, normalise, with the reference's rounding at each step.
 */

import type { Tensor } from '../tensor.js'
import { decode, type ImageLimits } from './decode.js'
import { type Geometry, geometry } from './geometry.js'
import { type Pixels, toLuminance } from './pixels.js'
import type { Preprocessing } from './preprocessing.js'
import { resample } from './resample.js'

/**
 * @returns `[channel, height, width]`
 * @throws  IMAGE_INVALID, IMAGE_TOO_LARGE
 */
export async function preprocess(bytes: Uint8Array, how: Preprocessing, limits: ImageLimits): Promise<Tensor<'float32'>> {
  return normalize(fit(await decode(bytes, limits), how), how)
}

/** Resize and centre crop: the bytes that the model sees, before they become numbers. RGB in; RGB or L out, as `how.mode` says. */
export function fit(rgb: Pixels, how: Preprocessing): Pixels {
  const image = how.mode === 'L' ? toLuminance(rgb) : rgb
  const shape = geometry(image, how)
  const left = Math.max(0, shape.left)
  const top = Math.max(0, shape.top)
  const seen = resample(image, shape.resized, how.resample, {
    left,
    top,
    width: Math.min(shape.resized.width, shape.left + shape.output.width) - left,
    height: Math.min(shape.resized.height, shape.top + shape.output.height) - top,
  })
  return pad(seen, shape, how.resize?.kind === 'longestEdge' ? how.resize.fill : 0)
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
  const { width, height, channels, data } = image
  const plane = width * height
  const out = new Float32Array(channels * plane)
  for (let channel = 0; channel < channels; channel++) {
    const mean = Math.fround(how.mean[channel]!)
    const std = Math.fround(how.std[channel]!)
    const valueOfByte = Float32Array.from({ length: 256 }, (_, byte) => Math.fround(Math.fround(byte * how.rescale) - mean) / std)
    for (let pixel = 0; pixel < plane; pixel++) out[channel * plane + pixel] = valueOfByte[data[pixel * channels + channel]!]!
  }
  return { dtype: 'float32', shape: [channels, height, width], data: out }
}
