/** Images in portions that run together. */

import { rowsOfTensor } from '../rows.js'
import type { Tensor } from '../tensor.js'

/** Views of some images each, in order. @param pixels  `[batch, ...]` */
export function* imageRuns(pixels: Tensor<'float32'>, most: number): Generator<Tensor<'float32'>> {
  const batch = pixels.shape[0]!
  for (let from = 0; from < batch; from += most) yield rowsOfTensor(pixels, from, Math.min(from + most, batch))
}
