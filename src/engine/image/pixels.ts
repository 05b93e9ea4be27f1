/**
 * 8-bit pictures in memory, as Pillow holds them: rows from the top, channels interleaved.
 */

export interface Pixels {
  readonly width: number
  readonly height: number
  /** 3 for RGB, 1 for L, 4 for RGBA and CMYK. */
  readonly channels: number
  /** `[height, width, channels]`. */
  readonly data: Uint8Array
}

/** RGB to L by ITU-R 601-2 luma in 16-bit fixed point, as Pillow's `convert('L')`. Grey pixels keep their value. */
export function toLuminance(rgb: Pixels): Pixels {
  const nPixels = rgb.width * rgb.height
  const data = new Uint8Array(nPixels)
  for (let pixel = 0, at = 0; pixel < nPixels; pixel++, at += 3) {
    data[pixel] = (rgb.data[at]! * 19595 + rgb.data[at + 1]! * 38470 + rgb.data[at + 2]! * 7471 + 0x8000) >> 16
  }
  return { width: rgb.width, height: rgb.height, channels: 1, data }
}

/**
 * Raw CMYK to RGB, as Pillow: `255 - k`, less the ink's share of it, in its rounding division by 255.
 *
 * @param cmyk  four bytes a pixel, 0 = no ink (Adobe's inversion undone)
 */
export function cmykToRgb(cmyk: Uint8Array): Uint8Array {
  const nPixels = cmyk.length / 4
  const rgb = new Uint8Array(nPixels * 3)
  for (let pixel = 0; pixel < nPixels; pixel++) {
    const light = 255 - cmyk[pixel * 4 + 3]!
    for (let ink = 0; ink < 3; ink++) {
      const product = cmyk[pixel * 4 + ink]! * light + 128
      rgb[pixel * 3 + ink] = light - (((product >> 8) + product) >> 8)
    }
  }
  return rgb
}
