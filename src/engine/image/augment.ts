/**
 * Random augmentation of pictures for training, in this order: background, one resampling for crop, affine and flip, colours (jitter, channel
 * shuffle, grayscale), blur, noise, erasing, and then the model's own normalization. The same `Random` gives the same picture. A picture of
 * the output's size to which nothing happens comes out bit-equal to `normalize` of it.
 */

import type { Random } from '../random.js'
import { drawBackground, drawBackgroundKind } from './augment-background.js'
import { jitterColors, shuffleChannels, toGrayscale } from './augment-color.js'
import type { Augmentation } from './augment-config.js'
import { addNoise, blur, erase } from './augment-disturb.js'
import { drawMap, happens, within } from './augment-geometry.js'
import { createPlanes, type Planes } from './augment-planes.js'
import { warp } from './augment-warp.js'
import { geometry } from './geometry.js'
import type { Pixels } from './pixels.js'
import type { Preprocessing } from './preprocessing.js'
import type { Size } from './resample.js'

/**
 * Writes the augmented picture to `target` from `offset`: `[channel, height, width]`, normalised.
 * `picture` has the colours of the preprocessing's mode, and may have alpha: L, L with alpha, RGB or RGBA.
 */
export type Augmenter = (picture: Pixels, random: Random, target: Float32Array, offset: number) => void

export interface AugmenterOptions {
  readonly augmentation: Augmentation
  readonly how: Preprocessing
  readonly output: Size
  /** Pictures have been resized and cropped for the model already. Otherwise they are whole, and what it would see of them is the start. */
  readonly isFitted: boolean
}

/** An augmenter holds scratch memory of one picture, so one picture at a time. */
export function createAugmenter({ augmentation, how, output, isFitted }: AugmenterOptions): Augmenter {
  const planes = createPlanes(output.width, output.height, how.mode === 'L' ? 1 : 3)
  const { background, outside, colorJitter, channelShuffle, grayscale } = augmentation
  const nColors = planes.colors.length
  const mean = Array.from({ length: nColors }, (_, color) => how.mean[color]! / (255 * how.rescale))

  return (picture, random, target, offset) => {
    const kind = background ? drawBackgroundKind(background, random) : 'dropAlpha'
    drawBackground(planes, kind, random)
    const map = drawMap(augmentation, random, {
      source: picture,
      shown: isFitted ? { left: 0, top: 0, ...sizeOf(picture) } : shownOf(picture, how),
      output,
    })
    warp(picture, map, planes, { dropAlpha: kind === 'dropAlpha', outside })
    if (happens(colorJitter, random)) jitterColors(planes, colorJitter, random)
    if (happens(channelShuffle, random)) shuffleChannels(planes, random)
    if (happens(grayscale, random)) toGrayscale(planes)
    if (happens(augmentation.blur, random)) blur(planes, within(augmentation.blur.sigma, random))
    if (happens(augmentation.noise, random)) addNoise(planes, within(augmentation.noise.deviation, random), random)
    if (happens(augmentation.erase, random)) erase(planes, augmentation.erase, random, mean)
    normalizePlanes(planes, how, target, offset)
  }
}

const sizeOf = ({ width, height }: Size) => ({ width, height })

/** The part of a picture that the model's own preprocessing shows: what is left of its resize and crop, in the picture's coordinates. */
function shownOf(picture: Size, how: Preprocessing) {
  const { resized, output, left, top } = geometry(picture, how)
  const [across, down] = [picture.width / resized.width, picture.height / resized.height]
  return { left: left * across, top: top * down, width: output.width * across, height: output.height * down }
}

/** The arithmetic of `normalize` in preprocess.ts. */
function normalizePlanes({ colors }: Planes, how: Preprocessing, target: Float32Array, offset: number): void {
  const scale = how.rescale * 255
  colors.forEach((plane, color) => {
    const mean = Math.fround(how.mean[color]!)
    const std = Math.fround(how.std[color]!)
    const start = offset + color * plane.length
    for (let at = 0; at < plane.length; at++) target[start + at] = Math.fround(Math.fround(plane[at]! * scale) - mean) / std
  })
}
