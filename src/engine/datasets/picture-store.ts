/**
 * Decoded pictures, 8 bits a colour, kept in memory under a budget: each is decoded once if all of them fit. What does not fit is decoded
 * each time; nothing is dropped for something else, because an epoch comes back to every picture and would find each one just dropped.
 */

import { EngineError } from '../errors.js'
import { premultiplied, unpremultiplied } from '../image/alpha.js'
import { decode, decodeWithAlpha, type ImageLimits } from '../image/decode.js'
import { type Pixels, toLuminance } from '../image/pixels.js'
import { fitted, seen } from '../image/preprocess.js'
import type { Preprocessing } from '../image/preprocessing.js'
import { resample } from '../image/resample.js'
import type { PictureSource } from './dataset.js'
import { bytesOf, reasonOf } from './examine.js'

/**
 * How pictures are held. `exact`: as the model sees them, after its own preprocessing. `whole`: all of the picture, for crops and turns, its
 * shorter side reduced to `side`; with its alpha, if that is wanted.
 */
export type HeldAs = { readonly as: 'exact' } | { readonly as: 'whole'; readonly side: number; readonly withAlpha: boolean }

export interface PictureStoreOptions {
  readonly how: Preprocessing
  readonly held: HeldAs
  readonly cacheBytes: number
  readonly limits: ImageLimits
}

export interface PictureStore {
  /** The picture at once where it is in memory. @throws DATASET_INVALID naming the item when its file cannot be read (any more) */
  get(source: PictureSource, name: string): Pixels | Promise<Pixels>
  /** Of decoded pictures. */
  readonly bytes: number
}

/** A picture that is held counts a little more than its pixels. */
const BYTES_PER_ENTRY = 400

export function createPictureStore({ how, held, cacheBytes, limits }: PictureStoreOptions): PictureStore {
  // by source object: a data set's items are the same objects each time
  const kept = new Map<PictureSource | string, Pixels>()
  let bytes = 0
  const keep = (key: string | PictureSource, picture: Pixels): Pixels => {
    const size = picture.data.byteLength + BYTES_PER_ENTRY
    if (bytes + size > cacheBytes || kept.has(key)) return picture
    // a view into a larger buffer would keep all of that alive
    const data = picture.data.byteLength === picture.data.buffer.byteLength ? picture.data : Uint8Array.from(picture.data)
    bytes += size
    kept.set(key, { ...picture, data })
    return picture
  }
  const read = async (source: Exclude<PictureSource, { kind: 'drawn' }>): Promise<Pixels> => {
    const file = await bytesOf(source)
    if (held.as === 'exact') return seen(file, how, limits)
    return reduced(inMode(await (held.withAlpha ? decodeWithAlpha(file, limits) : decode(file, limits)), how), held.side)
  }
  return {
    get bytes() {
      return bytes
    },
    get: (source, name) => {
      // drawing is quicker than what holding all of them would cost
      if (source.kind === 'drawn')
        return held.as === 'exact' ? fitted(drawnInMode(source.draw(), how), how) : drawnInMode(source.draw(), how)
      const key = source.kind === 'file' ? source.path : source
      const known = kept.get(key)
      if (known !== undefined) return known
      return read(source).then(
        (picture) => keep(key, picture),
        (error: Error) => {
          if (error instanceof EngineError || 'code' in error) {
            throw new EngineError('DATASET_INVALID', { dataset: 'of this run', problem: `${name} cannot be read (${reasonOf(error)}).` })
          }
          throw error
        },
      )
    },
  }
}

/** RGB or RGBA to L or L with alpha, where the model has one channel. */
function inMode(picture: Pixels, { mode }: Preprocessing): Pixels {
  if (mode === 'RGB') return picture
  if (picture.channels === 3) return toLuminance(picture)
  const nPixels = picture.width * picture.height
  const rgb = new Uint8Array(nPixels * 3)
  for (let pixel = 0; pixel < nPixels; pixel++) rgb.set(picture.data.subarray(pixel * 4, pixel * 4 + 3), pixel * 3)
  const grey = toLuminance({ ...picture, channels: 3, data: rgb })
  const data = new Uint8Array(nPixels * 2)
  for (let pixel = 0; pixel < nPixels; pixel++) {
    data[pixel * 2] = grey.data[pixel]!
    data[pixel * 2 + 1] = picture.data[pixel * 4 + 3]!
  }
  return { ...picture, channels: 2, data }
}

/** A generated picture has one channel or three; a model of three channels sees grey in all of them. */
function drawnInMode(picture: Pixels, { mode }: Preprocessing): Pixels {
  const wanted = mode === 'L' ? 1 : 3
  if (picture.channels === wanted) return picture
  if (wanted === 1) return toLuminance(picture)
  const data = new Uint8Array(picture.data.length * 3)
  picture.data.forEach((value, pixel) => {
    data.fill(value, pixel * 3, pixel * 3 + 3)
  })
  return { ...picture, channels: 3, data }
}

/** Bilinear sampling of a picture much larger than the output would skip pixels: it is reduced once, as Pillow does, colours weighted by alpha. */
function reduced(picture: Pixels, side: number): Pixels {
  const shorter = Math.min(picture.width, picture.height)
  if (shorter <= side) return picture
  const size = {
    width: Math.max(1, Math.round((picture.width * side) / shorter)),
    height: Math.max(1, Math.round((picture.height * side) / shorter)),
  }
  if (picture.channels === 4) return unpremultiplied(resample(premultiplied(picture), size, 'bicubic'))
  return resample(picture, size, 'bicubic')
}
