/** Zeros in the place of tokens: what a hook point is worth is how much worse the model gets without it. */

import { type Tensor, tensor } from '../tensor.js'

/** @param value  `[batch, token, ...]`, or `[batch, ...]` of a pooled value, whose one token is all of it */
export function withoutTokens(value: Tensor, { from, to, length }: { from: number; to: number; length: number }): Tensor<'float32'> {
  const nImages = value.shape[0]!
  const width = value.data.length / nImages / length
  const data = Float32Array.from(value.data as Float32Array)
  for (let image = 0; image < nImages; image++) data.fill(0, (image * length + from) * width, (image * length + to) * width)
  return tensor('float32', value.shape, data)
}
