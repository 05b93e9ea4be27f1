/**
 * Pictures while they are being augmented: one plane of floats for each colour, values from 0 (black) to 1, in arrays that are used again
 * for every picture.
 */

export interface Planes {
  readonly width: number
  readonly height: number
  /** One for L, three for RGB; each `[height, width]`. */
  readonly colors: readonly Float32Array[]
}

export function createPlanes(width: number, height: number, nColors: 1 | 3): Planes {
  return { width, height, colors: Array.from({ length: nColors }, () => new Float32Array(width * height)) }
}

/** Weights of ITU-R 601-2, as torchvision rounds them. */
export const luma = [0.2989, 0.587, 0.114] as const
