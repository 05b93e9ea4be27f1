/**
 * Pictures put beside each other on white.
 */

import type { Pixels } from './pixels.js'
import type { Size } from './resample.js'

/** RGB. */
export function whiteCanvas({ width, height }: Size): Pixels {
  return { width, height, channels: 3, data: new Uint8Array(width * height * 3).fill(255) }
}

/** Copies `picture` (RGB) to where its top left is; all of it must be inside. */
export function place(canvas: Pixels, picture: Pixels, { left, top }: { readonly left: number; readonly top: number }): void {
  for (let y = 0; y < picture.height; y++) {
    const row = picture.data.subarray(y * picture.width * 3, (y + 1) * picture.width * 3)
    canvas.data.set(row, ((top + y) * canvas.width + left) * 3)
  }
}

export function fillRectangle(
  canvas: Pixels,
  { left, top, width, height }: Size & { readonly left: number; readonly top: number },
  colour: readonly number[],
): void {
  for (let y = top; y < top + height; y++) {
    for (let x = left; x < left + width; x++) canvas.data.set(colour, (y * canvas.width + x) * 3)
  }
}
