/**
 * The tensors of a torch checkpoint before their bytes are read: views of storages, as the pickle describes them. Every description is
 * checked when it is made, so that reading can rely on it.
 *
 * @see torch/_utils.py (`_rebuild_tensor_v2`), torch/serialization.py (`persistent_id`)
 */

import { strides as contiguousStrides } from '../tensor.js'
import { checkedElementCount, elementTypes, type StoredType } from './element-types.js'
import { isCount, isGlobal, isPickleObject, listOf, PickleError, type PickleObject, type PickleValue } from './pickle-values.js'
import { quoted } from './refusals.js'

/** A block of bytes of the checkpoint, `data/<key>`. */
export interface TorchStorage extends PickleObject {
  readonly kind: 'storage'
  readonly key: string
  readonly bytes: number
  /** Absent for an untyped storage: then the tensor says it. */
  readonly dtype: StoredType | undefined
}

/** A tensor that has not been read: a view of a storage. Offset and strides count elements. */
export interface TorchTensor extends PickleObject {
  readonly kind: 'tensor'
  readonly dtype: StoredType
  readonly shape: readonly number[]
  readonly strides: readonly number[]
  readonly offset: number
  readonly storage: TorchStorage
}

export interface TorchDType extends PickleObject {
  readonly kind: 'torch-dtype'
  readonly name: string
}

const storageTypes: Readonly<Record<string, StoredType>> = {
  DoubleStorage: 'float64',
  FloatStorage: 'float32',
  HalfStorage: 'float16',
  BFloat16Storage: 'bfloat16',
  LongStorage: 'int64',
  IntStorage: 'int32',
  ShortStorage: 'int16',
  CharStorage: 'int8',
  ByteStorage: 'uint8',
  BoolStorage: 'bool',
  ComplexFloatStorage: 'complex64',
  ComplexDoubleStorage: 'complex128',
}

const dtypeAliases: Readonly<Record<string, StoredType>> = {
  double: 'float64',
  float: 'float32',
  half: 'float16',
  long: 'int64',
  int: 'int32',
  short: 'int16',
}

export function isTorchTensor(value: PickleValue | undefined): value is TorchTensor {
  return isPickleObject(value) && value.kind === 'tensor'
}

/** The dtype that a name such as `torch.float16` means. */
export function torchDType(path: string): TorchDType | undefined {
  const name = path.startsWith('torch.') ? path.slice('torch.'.length) : ''
  const type = Object.hasOwn(dtypeAliases, name) ? dtypeAliases[name] : name
  return type !== undefined && Object.hasOwn(elementTypes, type) ? { kind: 'torch-dtype', name: type } : undefined
}

/** The element type of a storage class such as `torch.FloatStorage`. */
export function storageType(path: string): StoredType | undefined {
  const name = path.startsWith('torch.') ? path.slice('torch.'.length) : ''
  return Object.hasOwn(storageTypes, name) ? storageTypes[name] : undefined
}

/** A storage from its persistent id, `('storage', type, key, location, numel)`; numel counts bytes when the type is untyped. */
export function makeStorage(id: PickleValue): TorchStorage {
  const [tag, type, key, , numel] = Array.isArray(id) ? id : []
  if (tag !== 'storage' || !isGlobal(type) || typeof key !== 'string' || !isCount(numel)) {
    throw new PickleError('the pickle refers to a storage in an unknown way')
  }
  const dtype = storageType(type.path)
  if (dtype === undefined && !type.path.endsWith('.UntypedStorage'))
    throw new PickleError(`the pickle has a storage of the unknown type ${quoted(type.path)}`)
  const bytes = numel * (dtype === undefined ? 1 : elementTypes[dtype].bytes)
  if (!Number.isSafeInteger(bytes)) throw new PickleError('the pickle has a storage of impossible size')
  return { kind: 'storage', key, bytes, dtype }
}

export interface TensorArguments {
  readonly storage: PickleValue | undefined
  readonly offset: PickleValue | undefined
  readonly shape: PickleValue | undefined
  readonly strides: PickleValue | undefined
  readonly dtype?: PickleValue | undefined
  readonly metadata?: PickleValue | undefined
}

const maxRank = 64

/** A tensor from the arguments of torch's rebuilding functions. @throws PickleError when it does not lie within its storage */
export function makeTensor({ storage: from, offset, shape, strides, dtype: given, metadata }: TensorArguments): TorchTensor {
  if (!isPickleObject(from) || from.kind !== 'storage') throw new PickleError('the pickle has a tensor without a storage')
  const storage = from as TorchStorage
  const dtype = isPickleObject(given) && given.kind === 'torch-dtype' ? ((given as TorchDType).name as StoredType) : storage.dtype
  if (dtype === undefined) throw new PickleError('the pickle has a tensor of no dtype')
  // A conjugated or negated view: its elements are not those in the storage.
  if (metadata instanceof Map && [...metadata.values()].some((value) => value === true)) {
    throw new PickleError('the pickle has a lazily negated or conjugated tensor; save it after tensor.resolve_neg().resolve_conj()')
  }
  const lengths = listOf(shape)
  const steps = listOf(strides)
  const count = lengths.length <= maxRank && lengths.length === steps.length ? checkedElementCount(lengths) : undefined
  if (count === undefined || !steps.every(isCount) || !isCount(offset))
    throw new PickleError('the pickle has a tensor with an impossible shape')
  const tensor: TorchTensor = { kind: 'tensor', dtype, shape: lengths as number[], strides: steps, offset, storage }
  if (count > 0 && (lastElement(tensor) + 1) * elementTypes[dtype].bytes > storage.bytes) {
    throw new PickleError(`the pickle has a tensor of shape [${lengths.join(', ')}] that reaches beyond its storage`)
  }
  return tensor
}

/** The largest index into its storage that a tensor with elements uses. */
export function lastElement({ shape, strides, offset }: TorchTensor): number {
  return shape.reduce((last, length, axis) => last + (length - 1) * strides[axis]!, offset)
}

/** True when the elements lie in the storage one after another in row-major order. */
export function isContiguous({ shape, strides }: TorchTensor): boolean {
  const expected = contiguousStrides(shape)
  return shape.every((length, axis) => length === 1 || strides[axis] === expected[axis])
}

export function requireTensor(value: PickleValue | undefined): TorchTensor {
  if (!isTorchTensor(value)) throw new PickleError('the pickle has a parameter that is not a tensor')
  return value
}
