/**
 * A smaller copy of a picture, for looking at: the whole picture in its own format, transparency kept. Never enlarged.
 */

import sharp from 'sharp'
import type { ImageLimits } from './decode.js'
import { inspectHeader } from './decode.js'
import type { ImageFormat } from './sniff.js'

export interface ThumbnailDrawing {
  readonly kind: 'thumbnail'
  readonly file: Uint8Array
  /** Pixels of the longer side. */
  readonly size: number
  readonly format: ImageFormat
}

/** @throws IMAGE_INVALID, IMAGE_TOO_LARGE */
export async function drawThumbnail({ file, size, format }: ThumbnailDrawing, limits: ImageLimits): Promise<Uint8Array> {
  await inspectHeader(file, limits)
  return sharp(file, { limitInputPixels: false, failOn: 'truncated' })
    .resize({ width: size, height: size, fit: 'inside', withoutEnlargement: true })
    .toFormat(format)
    .toBuffer()
}
