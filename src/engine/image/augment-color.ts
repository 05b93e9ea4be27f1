/**
 * Colours of a picture changed in place: the formulas of torchvision on float tensors (`adjust_brightness` and its like), which clamp to
 * 0..1 after each. Pictures of one colour have no saturation and no hue to change.
 */

import type { Random } from '../random.js'
import type { ColorJitterStep } from './augment-config.js'
import { within } from './augment-geometry.js'
import { luma, type Planes } from './augment-planes.js'

/** Every value times `factor`. */
export function adjustBrightness({ colors }: Planes, factor: number): void {
  for (const plane of colors) {
    for (let at = 0; at < plane.length; at++) plane[at] = clamped(plane[at]! * factor)
  }
}

/** Away from the picture's mean luminance by `factor`. */
export function adjustContrast(planes: Planes, factor: number): void {
  const ground = (1 - factor) * meanLuminance(planes)
  for (const plane of planes.colors) {
    for (let at = 0; at < plane.length; at++) plane[at] = clamped(plane[at]! * factor + ground)
  }
}

/** Away from each pixel's luminance by `factor`. */
export function adjustSaturation({ colors }: Planes, factor: number): void {
  const [red, green, blue] = colors
  if (!red || !green || !blue) return
  for (let at = 0; at < red.length; at++) {
    const ground = (1 - factor) * (luma[0] * red[at]! + luma[1] * green[at]! + luma[2] * blue[at]!)
    red[at] = clamped(red[at]! * factor + ground)
    green[at] = clamped(green[at]! * factor + ground)
    blue[at] = clamped(blue[at]! * factor + ground)
  }
}

/** Hue turned by `turns` of the whole circle, saturation and value (HSV) as they were. */
export function adjustHue({ colors }: Planes, turns: number): void {
  const [red, green, blue] = colors
  if (!red || !green || !blue || turns === 0) return
  for (let at = 0; at < red.length; at++) {
    const r = red[at]!
    const g = green[at]!
    const b = blue[at]!
    const value = Math.max(r, g, b)
    const chroma = value - Math.min(r, g, b)
    if (chroma === 0) continue
    // in sixths of a turn, from red
    let sector = value === r ? (g - b) / chroma : value === g ? 2 + (b - r) / chroma : 4 + (r - g) / chroma
    sector += turns * 6
    sector -= 6 * Math.floor(sector / 6)
    red[at] = channelOf(sector + 5, value, chroma)
    green[at] = channelOf(sector + 3, value, chroma)
    blue[at] = channelOf(sector + 1, value, chroma)
  }
}

/** One channel of HSV, by its distance from where it is lowest. */
function channelOf(position: number, value: number, chroma: number): number {
  const along = position >= 6 ? position - 6 : position
  return value - chroma * Math.max(0, Math.min(along, 4 - along, 1))
}

/** Every pixel's luminance in its three colours. */
export function toGrayscale({ colors }: Planes): void {
  const [red, green, blue] = colors
  if (!red || !green || !blue) return
  for (let at = 0; at < red.length; at++) {
    const grey = luma[0] * red[at]! + luma[1] * green[at]! + luma[2] * blue[at]!
    red[at] = grey
    green[at] = grey
    blue[at] = grey
  }
}

/** The colours in a random order. Draws the same whatever the number of colours. */
export function shuffleChannels({ colors, width, height }: Planes, random: Random): void {
  const order = random.permutation(3)
  if (colors.length !== 3) return
  const copies = colors.map((plane) => plane.slice(0, width * height))
  for (let channel = 0; channel < 3; channel++) colors[channel]!.set(copies[order[channel]!]!)
}

/** Draws a factor for each of the four adjustments and does them in a random order. */
export function jitterColors(planes: Planes, step: ColorJitterStep, random: Random): void {
  const brightness = within(step.brightness, random)
  const contrast = within(step.contrast, random)
  const saturation = within(step.saturation, random)
  const hue = within(step.hue, random)
  for (const adjustment of random.permutation(4)) {
    if (adjustment === 0 && brightness !== 1) adjustBrightness(planes, brightness)
    if (adjustment === 1 && contrast !== 1) adjustContrast(planes, contrast)
    if (adjustment === 2 && saturation !== 1) adjustSaturation(planes, saturation)
    if (adjustment === 3 && hue !== 0) adjustHue(planes, hue)
  }
}

function meanLuminance({ colors }: Planes): number {
  const weights = colors.length === 3 ? luma : [1]
  let sum = 0
  colors.forEach((plane, color) => {
    let ofPlane = 0
    for (let at = 0; at < plane.length; at++) ofPlane += plane[at]!
    sum += weights[color]! * ofPlane
  })
  return sum / colors[0]!.length
}

function clamped(value: number): number {
  return value < 0 ? 0 : value > 1 ? 1 : value
}
