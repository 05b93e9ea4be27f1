/**
 * Bilinear resampling of an 8-bit picture through an affine map, over a background: where the picture is transparent, or is not, the
 * background shows, in proportion: with one tap of four inside, by three quarters.
 */

import type { AffineMap } from './augment-geometry.js'
import type { Planes } from './augment-planes.js'
import type { Pixels } from './pixels.js'

export interface WarpOptions {
  /** Ignore the picture's alpha: its colours are shown as the file has them. */
  readonly dropAlpha: boolean
  /** Beyond the border: the background, or the edge continued. */
  readonly outside: 'background' | 'edge'
}

/** @param picture  L, L with alpha, RGB or RGBA; `target` holds the background, with one plane for each colour of the picture */
export function warp(picture: Pixels, map: AffineMap, target: Planes, { dropAlpha, outside }: WarpOptions): void {
  const nColors = target.colors.length
  const source = { ...picture, alphaAt: dropAlpha || picture.channels === nColors ? -1 : nColors, isEdge: outside === 'edge' }
  if (nColors === 3) warpRgb(source, map, target)
  else warpGrey(source, map, target)
}

interface Source extends Pixels {
  /** Where alpha is among a pixel's channels; -1 without. */
  readonly alphaAt: number
  readonly isEdge: boolean
}

const PER_BYTE = 1 / 255
const PER_ALPHA = PER_BYTE * PER_BYTE

// One algorithm, written out for three colours, where the time goes, and for one: a loop over colours inside costs twice the time.

function warpRgb({ data, channels, width, height, alphaAt, isEdge }: Source, map: AffineMap, target: Planes): void {
  const [red, green, blue] = target.colors as [Float32Array, Float32Array, Float32Array]
  const { xx, xy, x0, yx, yy, y0 } = map
  const rowBytes = width * channels
  for (let row = 0, at = 0; row < target.height; row++) {
    const rowX = xx * 0.5 + xy * (row + 0.5) + x0 - 0.5
    const rowY = yx * 0.5 + yy * (row + 0.5) + y0 - 0.5
    for (let column = 0; column < target.width; column++, at++) {
      const sourceX = rowX + xx * column
      const sourceY = rowY + yx * column
      // beyond one pixel outside nothing is seen
      if (!isEdge && !(sourceX > -1 && sourceY > -1 && sourceX < width && sourceY < height)) continue
      const left = Math.floor(sourceX)
      const top = Math.floor(sourceY)
      const toRight = sourceX - left
      const down = sourceY - top
      let w11 = toRight * down
      let w01 = toRight - w11
      let w10 = down - w11
      let w00 = 1 - toRight - w10
      let at00 = top * rowBytes + left * channels
      let at01 = at00 + channels
      let at10 = at00 + rowBytes
      let at11 = at10 + channels
      let cover = 1
      if (!(left >= 0 && top >= 0 && left + 1 < width && top + 1 < height)) {
        const nearLeft = clamp(left, width)
        const nearRight = clamp(left + 1, width)
        const nearTop = clamp(top, height)
        const nearBottom = clamp(top + 1, height)
        if (!isEdge) {
          if (nearLeft !== left) w00 = w10 = 0
          if (nearRight !== left + 1) w01 = w11 = 0
          if (nearTop !== top) w00 = w01 = 0
          if (nearBottom !== top + 1) w10 = w11 = 0
          cover = w00 + w01 + w10 + w11
        }
        at00 = nearTop * rowBytes + nearLeft * channels
        at01 = nearTop * rowBytes + nearRight * channels
        at10 = nearBottom * rowBytes + nearLeft * channels
        at11 = nearBottom * rowBytes + nearRight * channels
      }
      let unit = PER_BYTE
      if (alphaAt >= 0) {
        w00 *= data[at00 + alphaAt]!
        w01 *= data[at01 + alphaAt]!
        w10 *= data[at10 + alphaAt]!
        w11 *= data[at11 + alphaAt]!
        cover = (w00 + w01 + w10 + w11) * PER_BYTE
        unit = PER_ALPHA
      }
      const through = 1 - cover
      red[at] = (data[at00]! * w00 + data[at01]! * w01 + data[at10]! * w10 + data[at11]! * w11) * unit + through * red[at]!
      green[at] =
        (data[at00 + 1]! * w00 + data[at01 + 1]! * w01 + data[at10 + 1]! * w10 + data[at11 + 1]! * w11) * unit + through * green[at]!
      blue[at] =
        (data[at00 + 2]! * w00 + data[at01 + 2]! * w01 + data[at10 + 2]! * w10 + data[at11 + 2]! * w11) * unit + through * blue[at]!
    }
  }
}

function warpGrey({ data, channels, width, height, alphaAt, isEdge }: Source, map: AffineMap, target: Planes): void {
  const plane = target.colors[0]!
  const { xx, xy, x0, yx, yy, y0 } = map
  for (let row = 0, at = 0; row < target.height; row++) {
    const rowX = xx * 0.5 + xy * (row + 0.5) + x0 - 0.5
    const rowY = yx * 0.5 + yy * (row + 0.5) + y0 - 0.5
    for (let column = 0; column < target.width; column++, at++) {
      const sourceX = rowX + xx * column
      const sourceY = rowY + yx * column
      if (!isEdge && !(sourceX > -1 && sourceY > -1 && sourceX < width && sourceY < height)) continue
      const left = Math.floor(sourceX)
      const top = Math.floor(sourceY)
      const nearLeft = clamp(left, width)
      const nearRight = clamp(left + 1, width)
      const nearTop = clamp(top, height)
      const nearBottom = clamp(top + 1, height)
      const weightLeft = isEdge || nearLeft === left ? 1 - (sourceX - left) : 0
      const weightRight = isEdge || nearRight === left + 1 ? sourceX - left : 0
      const weightTop = isEdge || nearTop === top ? 1 - (sourceY - top) : 0
      const weightBottom = isEdge || nearBottom === top + 1 ? sourceY - top : 0
      const at00 = (nearTop * width + nearLeft) * channels
      const at01 = (nearTop * width + nearRight) * channels
      const at10 = (nearBottom * width + nearLeft) * channels
      const at11 = (nearBottom * width + nearRight) * channels
      let w00 = weightLeft * weightTop
      let w01 = weightRight * weightTop
      let w10 = weightLeft * weightBottom
      let w11 = weightRight * weightBottom
      let cover = isEdge ? 1 : w00 + w01 + w10 + w11
      let unit = PER_BYTE
      if (alphaAt >= 0) {
        w00 *= data[at00 + alphaAt]!
        w01 *= data[at01 + alphaAt]!
        w10 *= data[at10 + alphaAt]!
        w11 *= data[at11 + alphaAt]!
        cover = (w00 + w01 + w10 + w11) * PER_BYTE
        unit = PER_ALPHA
      }
      plane[at] = (data[at00]! * w00 + data[at01]! * w01 + data[at10]! * w10 + data[at11]! * w11) * unit + (1 - cover) * plane[at]!
    }
  }
}

function clamp(index: number, length: number): number {
  return index < 0 ? 0 : index < length ? index : length - 1
}
