/**
 * numpy's arrays, scalars and dtypes as they are pickled whole: what training scripts store beside the weights (a best score, counts).
 *
 * @see numpy/_core/src/multiarray/methods.c (`array_reduce`, `array_setstate`), descriptor.c (`arraydescr_reduce`)
 */

import type { Tensor } from '../tensor.js'
import { type NumpyDType, parseNumpyDType, tensorFromNumpy } from './npy.js'
import { isPickleObject, makeRecord, PickleError, type PickleObject, type PickleValue } from './pickle-values.js'

/** An array that was pickled whole; without its data when it is not of plain numbers. */
export interface NumpyArray extends PickleObject {
  readonly kind: 'ndarray'
  array: Tensor | undefined
}

export interface NumpyDTypeObject extends PickleObject {
  readonly kind: 'numpy-dtype'
  readonly name: string
  /** Absent when it is not a type of plain numbers. */
  dtype: NumpyDType | undefined
}

export function makeNumpyDType(name: PickleValue | undefined): NumpyDTypeObject {
  if (typeof name !== 'string') throw new PickleError('the pickle has a numpy dtype without a name')
  return { kind: 'numpy-dtype', name, dtype: parseNumpyDType(name) }
}

export function buildNumpyDType(target: NumpyDTypeObject, state: PickleValue): NumpyDTypeObject {
  const byteOrder = Array.isArray(state) ? state[1] : undefined
  if (byteOrder === '>' && target.dtype !== undefined) target.dtype = { ...target.dtype, bigEndian: true }
  return target
}

export function buildNumpyArray(target: NumpyArray, state: PickleValue): NumpyArray {
  const [, shape, numpyDType, fortranOrder, bytes] = Array.isArray(state) ? state : []
  if (!isNumpyDType(numpyDType) || !Array.isArray(shape) || typeof fortranOrder !== 'boolean') {
    throw new PickleError('the pickle has a numpy array in an unknown form')
  }
  const { dtype } = numpyDType
  // Text and objects are pickled as other things than bytes, and are not needed.
  if (dtype !== undefined && bytes instanceof Uint8Array)
    target.array = numpyTensor({ dtype, shape: shape as number[], fortranOrder, bytes })
  return target
}

export function numpyScalar(numpyDType: PickleValue | undefined, bytes: PickleValue | undefined): PickleValue {
  if (!isNumpyDType(numpyDType)) throw new PickleError('the pickle has a numpy scalar without a dtype')
  const { name, dtype } = numpyDType
  if (dtype === undefined || !(bytes instanceof Uint8Array)) return makeRecord(`numpy.${name}`, [bytes ?? null])
  const { dtype: type, data } = numpyTensor({ dtype, shape: [], fortranOrder: false, bytes })
  const value = data[0]!
  if (type === 'bool') return value === 1
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value
}

function numpyTensor(array: Omit<Parameters<typeof tensorFromNumpy>[0], 'file'>): Tensor {
  try {
    return tensorFromNumpy({ file: 'array', ...array })
  } catch (error) {
    throw new PickleError(`the pickle has a numpy value that cannot be read: ${(error as Error).message}`)
  }
}

export function isNumpyDType(value: PickleValue | undefined): value is NumpyDTypeObject {
  return isPickleObject(value) && value.kind === 'numpy-dtype'
}

/** An array whose content `buildNumpyArray` sets later. */
export function makeNumpyArray(): NumpyArray {
  return { kind: 'ndarray', array: undefined }
}

export function isNumpyArray(value: PickleValue): value is NumpyArray {
  return isPickleObject(value) && value.kind === 'ndarray'
}
