/**
 * What the kernels are written with. Floats and truth values are tensors of TensorFlow.js; whole numbers (indices, shapes) stay in host memory as our
 * own tensors, since TensorFlow.js has no int64, and operators on whole numbers alone are the reference backend's.
 */

import type { Tensor as TfTensor } from '@tensorflow/tfjs-core'
import { invariant } from '../../errors.js'
import type { Attribute } from '../../graph/graph.js'
import type { DType, Tensor } from '../../tensor.js'
import { wholeNumbers } from '../reference/kernel.js'
import type { Tf } from './library.js'

export type Value = TfTensor | Tensor

export interface TfCall {
  readonly tf: Tf
  /** Undefined: an absent optional input. */
  readonly inputs: readonly (Value | undefined)[]
  readonly nOutputs: number
  /** With defaults filled in. */
  readonly attributes: Readonly<Record<string, Attribute>>
}

export type TfKernel = (call: TfCall) => readonly Value[]

/** Whether the value is in host memory. */
export function isHost(value: Value): value is Tensor {
  return 'data' in value && typeof value.data !== 'function'
}

/** A float or truth value as TensorFlow.js has it; whole numbers from the host become floats. */
export function device(tf: Tf, value: Value | undefined): TfTensor {
  invariant(value !== undefined, 'a required input is there')
  if (!isHost(value)) return value
  const numbers = value.data instanceof BigInt64Array ? Float32Array.from(value.data, Number) : value.data
  if (value.dtype === 'bool') return tf.tensor(numbers as Uint8Array, [...value.shape], 'bool')
  const floats = numbers instanceof Float32Array ? numbers : Float32Array.from(numbers as ArrayLike<number>)
  return tf.tensor(floats, [...value.shape], 'float32')
}

/** A value in host memory: read back where it is not. */
export function host(value: Value): Tensor {
  if (isHost(value)) return value
  const data = value.dataSync()
  const shape = value.shape
  if (value.dtype === 'bool') return { dtype: 'bool', shape, data: Uint8Array.from(data) }
  if (value.dtype === 'int32') return { dtype: 'int32', shape, data: Int32Array.from(data) }
  return { dtype: 'float32', shape, data: Float32Array.from(data) }
}

/** What TensorFlow.js found as int32, as the operators say it. */
export function int64Of(found: TfTensor): Tensor<'int64'> {
  return { dtype: 'int64', shape: found.shape, data: BigInt64Array.from(found.dataSync(), BigInt) }
}

export function dtypeOf(value: Value): DType {
  return value.dtype as DType
}

/** The whole numbers of an input that is in host memory. */
export function wholes(value: Value): number[] {
  return wholeNumbers(host(value))
}

/** Indices along an axis, from its beginning. */
export function indices(tf: Tf, values: ArrayLike<number>, shape: readonly number[]): TfTensor {
  return tf.tensor(Int32Array.from(values), [...shape], 'int32')
}
