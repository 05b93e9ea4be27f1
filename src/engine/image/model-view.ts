/**
 * A picture as a model sees it, at a resolution for people: the rectangle that the patches cover, or a part of it, taken from the file
 * itself, so that a patch grid laid over it lies where the model has it.
 */

import type { ImageLimits } from './decode.js'
import { type Geometry, refuseThin } from './geometry.js'
import type { Pixels } from './pixels.js'
import { seen } from './preprocess.js'
import type { Preprocessing } from './preprocessing.js'
import type { Size } from './resample.js'

/** How a model sees pictures. */
export interface ModelView {
  readonly how: Preprocessing
  /** The pixels of the model's input that patches cover, from the top left; null: all of them. What does not fill a patch is left out. */
  readonly covered: Size | null
}

/** The whole picture, as it is in its file. */
export const wholePicture: ModelView = {
  how: { resize: null, resample: 'bicubic', crop: null, rescale: 1 / 255, mean: [0, 0, 0], std: [1, 1, 1], mode: 'RGB' },
  covered: null,
}

/** A rectangle, in shares of what is covered. */
export interface Region {
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
}

export const wholeRegion: Region = { left: 0, top: 0, width: 1, height: 1 }

/**
 * RGB, to the half pixel of the result where the model's own grid is none of whole pixels.
 *
 * @param size    of the longer side
 * @param region  of what is covered
 * @throws        IMAGE_INVALID, IMAGE_TOO_LARGE
 */
export async function viewedByModel(
  bytes: Uint8Array,
  { view, region, size }: { readonly view: ModelView; readonly region: Region; readonly size: number },
  limits: ImageLimits,
): Promise<Pixels> {
  const look = (shape: Geometry) => lookAt(shape, { covered: view.covered ?? shape.output, region, size })
  return inRgb(await seen(bytes, view.how, limits, look))
}

function lookAt(shape: Geometry, { covered, region, size }: { covered: Size; region: Region; size: number }): Geometry {
  const part = { width: region.width * covered.width, height: region.height * covered.height }
  const output = sizeWithin(part, size)
  const [across, down] = [output.width / part.width, output.height / part.height]
  const resized = { width: atLeastOne(shape.resized.width * across), height: atLeastOne(shape.resized.height * down) }
  refuseThin(shape.resized, resized)
  return {
    resized,
    output,
    left: Math.round((shape.left + region.left * covered.width) * across),
    top: Math.round((shape.top + region.top * covered.height) * down),
  }
}

/** Whole pixels of the same proportions whose longer side is `size`. */
export function sizeWithin({ width, height }: Size, size: number): Size {
  const scale = size / Math.max(width, height)
  return { width: atLeastOne(width * scale), height: atLeastOne(height * scale) }
}

const atLeastOne = (length: number) => Math.max(1, Math.round(length))

/** Of one channel three. */
function inRgb(pixels: Pixels): Pixels {
  if (pixels.channels === 3) return pixels
  const data = new Uint8Array(pixels.data.length * 3)
  for (let at = 0; at < pixels.data.length; at++) data.fill(pixels.data[at]!, at * 3, at * 3 + 3)
  return { ...pixels, channels: 3, data }
}
