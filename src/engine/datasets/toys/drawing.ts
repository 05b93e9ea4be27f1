/**
 * Small one-channel pictures, drawn pixel by pixel. Rows from the top; what would be outside is left out.
 */

import type { Pixels } from '../../image/pixels.js'

export function blank(side: number, value = 0): Pixels {
  return { width: side, height: side, channels: 1, data: new Uint8Array(side * side).fill(value) }
}

export function set({ width, height, data }: Pixels, row: number, column: number, value: number): void {
  if (row >= 0 && row < height && column >= 0 && column < width) data[row * width + column] = value
}

/** Rows and columns exchanged. */
export function transposed({ width, height, channels, data }: Pixels): Pixels {
  const turned = new Uint8Array(data.length)
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) turned[column * height + row] = data[row * width + column]!
  }
  return { width: height, height: width, channels, data: turned }
}
