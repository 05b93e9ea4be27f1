/** Tensors of every dtype, small shapes (scalars and empty ones too) and any values, for property tests. */

import fc from 'fast-check'
import { allocate, type DType, elementCount, type Tensor } from '../../../src/engine/tensor.js'

const element: Record<DType, fc.Arbitrary<number | bigint>> = {
  float32: fc.float(),
  float64: fc.double(),
  int64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  int32: fc.integer(),
  uint8: fc.nat(255),
  bool: fc.nat(1),
}

const shape = fc.array(fc.nat(4), { maxLength: 4 })

export const arbitraryTensor: fc.Arbitrary<Tensor> = fc
  .record({ dtype: fc.constantFrom(...(Object.keys(element) as DType[])), shape })
  .chain(({ dtype, shape }) => {
    const count = elementCount(shape)
    return fc.array(element[dtype], { minLength: count, maxLength: count }).map((values) => {
      const data = allocate(dtype, count)
      for (const [i, value] of values.entries()) data[i] = value
      return { dtype, shape, data }
    })
  })

/** Names such as hook points have, and names that nobody should give. */
const name = fc.oneof(
  fc.constantFrom('blocks.0.hook_resid_post', 'hook_embed', 'a/b', '__proto__', 'constructor', 'ünïcödé', 'with "quotes"\n', ''),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
)

export const arbitraryTensors: fc.Arbitrary<Map<string, Tensor>> = fc
  .uniqueArray(fc.tuple(name, arbitraryTensor), { maxLength: 5, selector: ([name]) => name })
  .map((entries) => new Map(entries))
