/**
 * Where each pixel of an augmented picture comes from: crop, affine and flip composed into one map, so that a picture is resampled once.
 * The affine map is torchvision's (`F.affine`): about the centre, shear first, then rotation and scale, then translation.
 */

import type { Random } from '../random.js'
import type { Interval } from '../strict-fields.js'
import type { AffineStep, Augmentation, ResizedCropStep } from './augment-config.js'
import type { Size } from './resample.js'

/** `x' = xx x + xy y + x0`, `y' = yx x + yy y + y0`. Coordinates are continuous: the first pixel covers 0 to 1, its centre is at 0.5. */
export interface AffineMap {
  readonly xx: number
  readonly xy: number
  readonly x0: number
  readonly yx: number
  readonly yy: number
  readonly y0: number
}

/** A part of a picture; it may reach beyond it. */
export interface Rectangle extends Size {
  readonly left: number
  readonly top: number
}

/** Parameters of one affine transformation. */
export interface AffineParameters {
  /** Degrees, clockwise. */
  readonly rotate: number
  /** Pixels. */
  readonly translate: readonly [number, number]
  readonly scale: number
  readonly aspect: number
  /** Degrees. */
  readonly shear: number
}

/** First `first`, then `then`. */
export function composed(first: AffineMap, then: AffineMap): AffineMap {
  return {
    xx: then.xx * first.xx + then.xy * first.yx,
    xy: then.xx * first.xy + then.xy * first.yy,
    x0: then.xx * first.x0 + then.xy * first.y0 + then.x0,
    yx: then.yx * first.xx + then.yy * first.yx,
    yy: then.yx * first.xy + then.yy * first.yy,
    y0: then.yx * first.x0 + then.yy * first.y0 + then.y0,
  }
}

/** From the output's coordinates to those of the rectangle of the source that fills it. */
export function fromRectangle({ left, top, width, height }: Rectangle, output: Size): AffineMap {
  return { xx: width / output.width, xy: 0, x0: left, yx: 0, yy: height / output.height, y0: top }
}

export function flipped({ width }: Size): AffineMap {
  return { xx: -1, xy: 0, x0: width, yx: 0, yy: 1, y0: 0 }
}

/** From the coordinates of the transformed picture back to those of the original, both of this size. */
export function inverseAffine({ rotate, translate, scale, aspect, shear }: AffineParameters, { width, height }: Size): AffineMap {
  const turn = (rotate * Math.PI) / 180
  const slope = Math.tan((shear * Math.PI) / 180)
  const [wide, high] = [scale * Math.sqrt(aspect), scale / Math.sqrt(aspect)]
  // rotation of a shear along x, of a stretch
  const [a, b] = [Math.cos(turn) * wide, (-Math.cos(turn) * slope - Math.sin(turn)) * high]
  const [c, d] = [Math.sin(turn) * wide, (-Math.sin(turn) * slope + Math.cos(turn)) * high]
  const determinant = a * d - b * c
  const [xx, xy, yx, yy] = [d / determinant, -b / determinant, -c / determinant, a / determinant]
  const [centerX, centerY] = [width / 2, height / 2]
  const [toX, toY] = [centerX + translate[0], centerY + translate[1]]
  return { xx, xy, x0: centerX - xx * toX - xy * toY, yx, yy, y0: centerY - yx * toX - yy * toY }
}

/**
 * Draws a map from the output to the source.
 *
 * @param shown  the part of the source that the output shows when there is no random crop
 */
export function drawMap(augmentation: Augmentation, random: Random, sizes: { source: Size; shown: Rectangle; output: Size }): AffineMap {
  const { source, shown, output } = sizes
  const { resizedCrop, affine, flip } = augmentation
  const rectangle = happens(resizedCrop, random) ? drawRectangle(resizedCrop, random, source) : shown
  let map = fromRectangle(rectangle, output)
  if (happens(affine, random)) map = composed(inverseAffine(drawAffine(affine, random, output), output), map)
  if (happens(flip, random)) map = composed(flipped(output), map)
  return map
}

/** Draws once for a step that is configured, whatever comes of it. */
export function happens<T extends { readonly probability: number }>(step: T | null, random: Random): step is T {
  return step !== null && random.uniform() < step.probability
}

export function within([low, high]: Interval, random: Random): number {
  return low + (high - low) * random.uniform()
}

function withinLogarithm([low, high]: Interval, random: Random): number {
  return Math.exp(within([Math.log(low), Math.log(high)], random))
}

const MAX_TRIES = 10

/** As torchvision's RandomResizedCrop, without rounding to whole pixels: after ten tries the largest centred part of an allowed ratio. */
function drawRectangle({ scale, ratio }: ResizedCropStep, random: Random, source: Size): Rectangle {
  const drawn = drawInside({ area: scale, ratio }, random, source)
  if (drawn) return drawn
  const allowed = Math.min(Math.max(source.width / source.height, ratio[0]), ratio[1])
  const width = Math.min(source.width, source.height * allowed)
  const height = Math.min(source.height, source.width / allowed)
  return { width, height, left: (source.width - width) / 2, top: (source.height - height) / 2 }
}

/** A random rectangle inside the source; undefined when ten were too wide or too high. */
export function drawInside(how: { area: Interval; ratio: Interval }, random: Random, source: Size): Rectangle | undefined {
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    const area = source.width * source.height * within(how.area, random)
    const ratio = withinLogarithm(how.ratio, random)
    const [width, height] = [Math.sqrt(area * ratio), Math.sqrt(area / ratio)]
    if (width > source.width || height > source.height) continue
    return { width, height, left: (source.width - width) * random.uniform(), top: (source.height - height) * random.uniform() }
  }
  return undefined
}

function drawAffine(step: AffineStep, random: Random, { width, height }: Size): AffineParameters {
  const [acrossX, acrossY] = step.translate as [number, number]
  return {
    rotate: within(step.rotate, random),
    translate: [within([-acrossX, acrossX], random) * width, within([-acrossY, acrossY], random) * height],
    scale: within(step.scale, random),
    aspect: withinLogarithm(step.aspect, random),
    shear: within(step.shear, random),
  }
}
