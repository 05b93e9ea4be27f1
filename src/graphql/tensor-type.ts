/**
 * Tensors in GraphQL: written when `data` is selected, in the encoding that the operation was asked for.
 */

import { toJsonTensor } from '../engine/io/json-tensor.js'
import { isTensor, type Tensor } from '../engine/tensor.js'
import type { Builder } from './builder.js'

type TextEncoding = 'nested' | 'base64'

class PresentedTensor {
  readonly tensor: Tensor
  readonly encoding: TextEncoding
  #data: unknown

  constructor(tensor: Tensor, encoding: TextEncoding) {
    this.tensor = tensor
    this.encoding = encoding
  }

  /** Made once, however often it is selected. */
  get data(): unknown {
    this.#data ??= toJsonTensor(this.tensor, this.encoding).data
    return this.#data
  }
}

/** What a field costs that may be megabytes. */
const DATA_COST = 20

export function tensorType(builder: Builder) {
  return builder.objectType(PresentedTensor, {
    name: 'Tensor',
    description: 'Row-major.',
    fields: (t) => ({
      shape: t.intList({ resolve: ({ tensor }) => [...tensor.shape] }),
      dtype: t.string({ resolve: ({ tensor }) => tensor.dtype }),
      encoding: t.string({
        nullable: true,
        description: '"base64", or null for nested lists.',
        resolve: ({ encoding }) => (encoding === 'base64' ? encoding : null),
      }),
      data: t.field({ type: 'TensorData', complexity: { field: DATA_COST }, resolve: (presented) => presented.data }),
    }),
  })
}

/** An operation's output with its tensors as `Tensor` of the schema. */
export function presentTensors(value: unknown, encoding: TextEncoding): unknown {
  if (isTensor(value)) return new PresentedTensor(value, encoding)
  if (Array.isArray(value)) return value.map((item) => presentTensors(item, encoding))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, presentTensors(item, encoding)]))
}
