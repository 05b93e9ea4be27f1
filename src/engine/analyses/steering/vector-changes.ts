/** How vectors along the last axis changed from one tensor to another: in length, in direction. Computed in float64. */

import { invariant } from '../../errors.js'
import { float32, type Tensor } from '../../tensor.js'

export interface VectorChanges {
  /** |after - before|, over every axis but the last. */
  readonly size: Tensor<'float32'>
  /** The same divided by |before|: 0 where nothing changed. */
  readonly relative: Tensor<'float32'>
  /** Between after and before: 1 where nothing changed, 0 where one of them is zero and the other is not. */
  readonly cosine: Tensor<'float32'>
}

export function vectorChanges(before: Tensor<'float32'>, after: Tensor<'float32'>): VectorChanges {
  invariant(before.shape.join() === after.shape.join(), 'what changed keeps its shape')
  const shape = before.shape.slice(0, -1)
  const width = before.shape.at(-1)!
  const nVectors = before.data.length / width
  const [size, relative, cosine] = [0, 1, 2].map(() => new Float32Array(nVectors)) as [Float32Array, Float32Array, Float32Array]
  for (let vector = 0; vector < nVectors; vector++) {
    let [ofBefore, ofAfter, ofBoth, ofChange] = [0, 0, 0, 0]
    for (let at = vector * width; at < (vector + 1) * width; at++) {
      const [was, is] = [before.data[at]!, after.data[at]!]
      ofBefore += was * was
      ofAfter += is * is
      ofBoth += was * is
      ofChange += (is - was) ** 2
    }
    size[vector] = Math.sqrt(ofChange)
    relative[vector] = share(Math.sqrt(ofChange), Math.sqrt(ofBefore))
    cosine[vector] = ofChange === 0 ? 1 : ofBefore === 0 || ofAfter === 0 ? 0 : ofBoth / Math.sqrt(ofBefore * ofAfter)
  }
  return { size: float32(shape, size), relative: float32(shape, relative), cosine: float32(shape, cosine) }
}

/** Of sizes that were measured elsewhere. */
export function relativeTo(size: Tensor<'float32'>, before: Tensor<'float32'>): Tensor<'float32'> {
  return float32(
    size.shape,
    size.data.map((value, at) => share(value, before.data[at]!)),
  )
}

const share = (change: number, of: number) => (change === 0 ? 0 : change / of)
