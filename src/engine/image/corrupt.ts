/** Ways to spoil a prepared picture, so that there is something to patch back. Pictures are as a tower takes them: normalised, `[picture, channel, row, column]`. */

import { createRandom } from '../random.js'
import type { Tensor } from '../tensor.js'

export type Corruption =
  /** Normal noise added: `strength` is its standard deviation, in units of the normalised picture. Equal seeds, equal noise. */
  | { readonly kind: 'noise'; readonly strength: number; readonly seed: number }
  /** Blurred by a Gaussian of `radius` pixels (its standard deviation); beyond the edge the edge goes on. */
  | { readonly kind: 'blur'; readonly radius: number }
  /** Patches become the picture's mean, channel by channel. Rectangles of pixels, ends excluded. */
  | { readonly kind: 'mask'; readonly areas: readonly Area[] }
  /** Every picture becomes the mean of these. */
  | { readonly kind: 'mean'; readonly of: Tensor<'float32'> }

export interface Area {
  readonly top: number
  readonly left: number
  readonly bottom: number
  readonly right: number
}

export function corrupt(pictures: Tensor<'float32'>, corruption: Corruption): Tensor<'float32'> {
  const data = pictures.data.slice()
  const result: Tensor<'float32'> = { ...pictures, data }
  switch (corruption.kind) {
    case 'noise': {
      const random = createRandom(corruption.seed)
      for (let at = 0; at < data.length; at++) data[at] = data[at]! + corruption.strength * random.normal()
      return result
    }
    case 'blur':
      forEachPlane(result, (plane, size) => blur(plane, size, corruption.radius))
      return result
    case 'mask':
      forEachPlane(result, (plane, { width }) => {
        const mean = plane.reduce((sum, value) => sum + value, 0) / plane.length
        for (const { top, left, bottom, right } of corruption.areas) {
          for (let row = top; row < bottom; row++) plane.fill(mean, row * width + left, row * width + right)
        }
      })
      return result
    case 'mean': {
      const mean = meanOf(corruption.of)
      for (let at = 0; at < data.length; at += mean.length) data.set(mean, at)
      return result
    }
    default:
      return corruption satisfies never
  }
}

interface Size {
  readonly height: number
  readonly width: number
}

function forEachPlane({ shape, data }: Tensor<'float32'>, change: (plane: Float32Array, size: Size) => void): void {
  const [height, width] = shape.slice(-2) as [number, number]
  for (let at = 0; at < data.length; at += height * width) change(data.subarray(at, at + height * width), { height, width })
}

/** Along rows, then along columns: a Gaussian is the product of the two. */
function blur(plane: Float32Array, { height, width }: Size, radius: number): void {
  const reach = Math.ceil(3 * radius)
  const weights = Array.from({ length: 2 * reach + 1 }, (_, at) => Math.exp(-((at - reach) ** 2) / (2 * radius * radius)))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const along = (length: number, place: (index: number) => number) => {
    const line = Float64Array.from({ length }, (_, index) => plane[place(index)]!)
    for (let index = 0; index < length; index++) {
      let sum = 0
      for (let at = -reach; at <= reach; at++) sum += weights[at + reach]! * line[Math.min(length - 1, Math.max(0, index + at))]!
      plane[place(index)] = sum / total
    }
  }
  for (let row = 0; row < height; row++) along(width, (column) => row * width + column)
  for (let column = 0; column < width; column++) along(height, (row) => row * width + column)
}

function meanOf({ shape, data }: Tensor<'float32'>): Float32Array {
  const [nPictures] = shape as [number]
  const length = data.length / nPictures
  const sum = new Float64Array(length)
  for (const [at, value] of data.entries()) sum[at % length]! += value
  return Float32Array.from(sum, (value) => value / nPictures)
}
