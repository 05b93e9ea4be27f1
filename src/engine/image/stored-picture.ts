/**
 * Pictures as their files hold them, for the libraries that resize before they convert to RGB: in which of Pillow's modes a PNG is, and what
 * each mode needs around the resize.
 */

import { premultiplied, unpremultiplied, withoutAlpha } from './alpha.js'
import { cmykToRgb, type Pixels } from './pixels.js'

/**
 * `RGB` (grey too: its bands are equal and stay so), `RGBA` (grey with alpha too), `CMYK`, or `indexed`: palettes and black and white, whose
 * `pixels` are RGB already and which Pillow resizes by nearest neighbour, whatever it is asked for.
 */
export type StoredPicture =
  | { readonly mode: 'RGB' | 'RGBA' | 'CMYK'; readonly pixels: Pixels; readonly palette?: undefined }
  | { readonly mode: 'indexed'; readonly pixels: Pixels; readonly palette: Palette }

/** RGB by index, one after the other. Black beyond its end. */
type Palette = Uint8Array

const blackAndWhite: Palette = new Uint8Array(3 * 256).fill(255, 3)

const COLOUR_TYPE = { grey: 0, palette: 3, greyAlpha: 4, rgba: 6 }

/** From the header of a PNG that has been found to be one. */
export function storedModeOfPng(bytes: Uint8Array): { mode: 'RGB' | 'RGBA' } | { mode: 'indexed'; palette: Palette } {
  const [depth, colourType] = [bytes[24], bytes[25]]
  if (colourType === COLOUR_TYPE.palette) return { mode: 'indexed', palette: paletteOf(bytes) }
  if (colourType === COLOUR_TYPE.grey && depth === 1) return { mode: 'indexed', palette: blackAndWhite }
  return { mode: colourType === COLOUR_TYPE.greyAlpha || colourType === COLOUR_TYPE.rgba ? 'RGBA' : 'RGB' }
}

function paletteOf(bytes: Uint8Array): Palette {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at)
    if (String.fromCharCode(...bytes.subarray(at + 4, at + 8)) === 'PLTE') return bytes.slice(at + 8, at + 8 + length)
    at += 12 + length
  }
  return new Uint8Array()
}

export interface AroundResize {
  readonly before: (pixels: Pixels) => Pixels
  readonly after: (pixels: Pixels) => Pixels
}

/** What Pillow does to the pixels around a resize that changes the size. */
export function aroundResize({ mode }: StoredPicture): AroundResize | undefined {
  return mode === 'RGBA' ? { before: premultiplied, after: unpremultiplied } : undefined
}

/** What a configuration's `fill` is in this picture's bands. One number for all is an index where there is a palette. */
export function fillOf({ mode, palette }: StoredPicture, fill: number | readonly number[]): readonly number[] {
  const [only, ...others] = typeof fill === 'number' ? [fill] : fill
  const colour = typeof fill === 'number' ? [fill, fill, fill] : fill
  const isOneNumber = others.every((value) => value === only)
  if (palette && isOneNumber) return [0, 1, 2].map((band) => palette[only! * 3 + band] ?? 0)
  if (mode === 'CMYK') return isOneNumber ? [only!, only!, only!, only!] : [...colour.map((value) => 255 - value), 0]
  return mode === 'RGBA' ? [...colour, 255] : colour
}

/** `Image.convert('RGB')` after everything else. */
export function convertedToRgb({ mode }: StoredPicture, pixels: Pixels): Pixels {
  if (mode === 'CMYK') return { ...pixels, channels: 3, data: cmykToRgb(pixels.data) }
  return mode === 'RGBA' ? withoutAlpha(pixels) : pixels
}
