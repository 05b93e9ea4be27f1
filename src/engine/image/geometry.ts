/**
 * Which size a picture is resized to, and which rectangle of that the model sees: the rounding rules of transformers, torchvision,
 * open_clip and timm, without touching a pixel.
 */

import { EngineError } from '../errors.js'
import type { Preprocessing, Resize } from './preprocessing.js'
import type { Size } from './resample.js'

export interface Geometry {
  readonly resized: Size
  /** Size of what the model sees. */
  readonly output: Size
  /** Where the output starts in the resized picture; negative where padding comes before it. */
  readonly left: number
  readonly top: number
}

/** As Pillow: a longer side cannot be held in one row of memory. */
const MAX_SIDE = 2 ** 29 - 1

/** @throws IMAGE_INVALID when the picture is so thin that nothing, or too much, is left of it */
export function geometry(picture: Size, how: Preprocessing): Geometry {
  const resized = resizedSize(picture, how.resize)
  refuseThin(picture, resized)
  const output = how.crop ?? (how.resize?.kind === 'longestEdge' ? how.resize : resized)
  const offset = how.cropRounding === 'halfToEven' ? offsetHalfToEven : offsetFloor
  return {
    resized,
    output: { width: output.width, height: output.height },
    left: offset(resized.width - output.width),
    top: offset(resized.height - output.height),
  }
}

/** @throws IMAGE_INVALID */
export function refuseThin(picture: Size, resized: Size): void {
  if (Math.min(resized.width, resized.height) >= 1 && Math.max(resized.width, resized.height) <= MAX_SIDE) return
  const problem = `its ${picture.width} x ${picture.height} pixels would be resized to ${resized.width} x ${resized.height}; crop it first.`
  throw new EngineError('IMAGE_INVALID', { problem })
}

function resizedSize(picture: Size, resize: Resize): Size {
  switch (resize?.kind) {
    case undefined:
      return picture
    case 'exact':
      return { width: resize.width, height: resize.height }
    case 'shortestEdge': {
      const isPortrait = picture.width <= picture.height
      const [short, long] = isPortrait ? [picture.width, picture.height] : [picture.height, picture.width]
      const newLong = Math.trunc((resize.size * long) / short)
      return isPortrait ? { width: resize.size, height: newLong } : { width: newLong, height: resize.size }
    }
    case 'cover':
      return scaledBy(picture, Math.min(picture.height / resize.height, picture.width / resize.width))
    case 'longestEdge':
      return scaledBy(picture, Math.max(picture.height / resize.height, picture.width / resize.width))
  }
}

function scaledBy(picture: Size, ratio: number): Size {
  return { width: roundHalfToEven(picture.width / ratio), height: roundHalfToEven(picture.height / ratio) }
}

/** Python's `round`. */
export function roundHalfToEven(value: number): number {
  const rounded = Math.round(value)
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded
}

function offsetFloor(margin: number): number {
  return Math.floor(margin / 2)
}

function offsetHalfToEven(margin: number): number {
  return margin >= 0 ? roundHalfToEven(margin / 2) : Math.ceil(margin / 2)
}
