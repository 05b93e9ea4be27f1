/**
 * Pillow's arithmetic with transparency, bit for bit, on bytes of RGBA.
 * @see Pillow src/libImaging/Convert.c (rgbA2rgba, rgba2rgbA)
 */

import type { Pixels } from './pixels.js'

/** The colours of `rgba` without their alpha. */
export function withoutAlpha({ width, height, data }: Pixels): Pixels {
  const rgb = new Uint8Array(width * height * 3)
  for (let from = 0, to = 0; to < rgb.length; from += 4) {
    for (let band = 0; band < 3; band++) rgb[to++] = data[from + band]!
  }
  return { width, height, channels: 3, data: rgb }
}

/** Mode RGBa: colours weighted by alpha, so that a resize mixes no colour of what cannot be seen. */
export function premultiplied(rgba: Pixels): Pixels {
  return eachColour(rgba, (value, alpha) => divided255(value * alpha + 128))
}

/** Back to RGBA, rounded down. */
export function unpremultiplied(rgba: Pixels): Pixels {
  return eachColour(rgba, (value, alpha) => (alpha === 0 || alpha === 255 ? value : Math.min(255, Math.trunc((255 * value) / alpha))))
}

/** Division by 255 of a number that half of 255 was added to, as Pillow rounds it. */
function divided255(value: number): number {
  return ((value >> 8) + value) >> 8
}

function eachColour(rgba: Pixels, change: (value: number, alpha: number) => number): Pixels {
  const data = Uint8Array.from(rgba.data)
  for (let at = 0; at < data.length; at += 4) {
    for (let band = 0; band < 3; band++) data[at + band] = change(data[at + band]!, data[at + 3]!)
  }
  return { ...rgba, data }
}
