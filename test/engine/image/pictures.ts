/** Pictures and patches made for a test. */

import sharp from 'sharp'
import type { ModelView } from '../../../src/engine/image/model-view.js'
import type { PatchValues } from '../../../src/engine/image/patch-values.js'
import type { Pixels } from '../../../src/engine/image/pixels.js'

export function patchesOf(rows: readonly (readonly number[])[]): PatchValues {
  return { rows: rows.length, columns: rows[0]!.length, values: Float32Array.from(rows.flat()) }
}

export function pixelAt({ width, channels, data }: Pixels, x: number, y: number): number[] {
  return [...data.subarray((y * width + x) * channels, (y * width + x + 1) * channels)]
}

export function noisePicture(seed: number, { width, height }: { width: number; height: number }): Pixels {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, at) => (at * 37 * seed + ((at * at) % 251)) % 256)
  return { width, height, channels: 3, data }
}

/** A PNG whose pixels a function says. */
export async function viewOf(width: number, height: number, colour: (x: number, y: number) => readonly number[]): Promise<Buffer> {
  const data = Buffer.from(Array.from({ length: width * height }, (_, at) => colour(at % width, Math.floor(at / width))).flat())
  return sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer()
}

/** A model that sees the middle square as 32 x 32 pixels. */
export const squareView: ModelView = {
  how: {
    resize: { kind: 'shortestEdge', size: 32 },
    resample: 'bilinear',
    crop: { height: 32, width: 32 },
    rescale: 1 / 255,
    mean: [0, 0, 0],
    std: [1, 1, 1],
    mode: 'RGB',
  },
  covered: { width: 32, height: 32 },
}
