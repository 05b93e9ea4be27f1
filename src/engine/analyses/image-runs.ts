/** Images in portions that run together. */

import { elementCount, type Tensor } from '../tensor.js'

/** Views of some images each, in order. @param pixels  `[batch, ...]` */
export function* imageRuns({ shape, data }: Tensor<'float32'>, most: number): Generator<Tensor<'float32'>> {
  const [batch, ...rest] = shape as [number, ...number[]]
  const length = elementCount(rest)
  for (let from = 0; from < batch; from += most) {
    const to = Math.min(from + most, batch)
    yield { dtype: 'float32', shape: [to - from, ...rest], data: data.subarray(from * length, to * length) }
  }
}
