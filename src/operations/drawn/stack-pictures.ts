/** Prepared pictures as the one tensor that analyses take. */

import { elementCount, type Tensor } from '../../engine/tensor.js'

/** @param pictures  `[channel, height, width]`, at least one. @returns `[batch, channel, height, width]` */
export function stackPictures(pictures: readonly Tensor<'float32'>[]): Tensor<'float32'> {
  const { shape } = pictures[0]!
  const length = elementCount(shape)
  const data = new Float32Array(pictures.length * length)
  for (const [index, picture] of pictures.entries()) data.set(picture.data, index * length)
  return { dtype: 'float32', shape: [pictures.length, ...shape], data }
}
