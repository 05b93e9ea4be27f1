/**
 * What the names in a torch checkpoint mean: one table of the globals that build tensors and plain data, and the policy that refuses every
 * other. The functions here imitate what torch's would construct; none of torch's, and nothing else, is ever called.
 *
 * @see torch/_utils.py (`_rebuild_*`), torch/_weights_only_unpickler.py (torch's own allow-list)
 */

import { EngineError } from '../errors.js'
import { strides as contiguousStrides, type Tensor } from '../tensor.js'
import { checkedElementCount, elementTypes, type StoredType } from './element-types.js'
import { type NumpyDType, parseNumpyDType, tensorFromNumpy } from './npy.js'
import { PickleError, type PicklePolicy } from './pickle.js'
import {
  isPickleObject,
  isRecord,
  type PickleGlobal,
  type PickleMap,
  type PickleObject,
  type PickleRecord,
  type PickleValue,
} from './pickle-values.js'
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

interface TorchDType extends PickleObject {
  readonly kind: 'torch-dtype'
  readonly name: string
}

/** An array that was pickled whole; without its data when it is not of plain numbers. */
export interface NumpyArray extends PickleObject {
  readonly kind: 'ndarray'
  array: Tensor | undefined
}

interface NumpyDTypeObject extends PickleObject {
  readonly kind: 'numpy-dtype'
  readonly name: string
  /** Absent when it is not a type of plain numbers. */
  dtype: NumpyDType | undefined
}

export interface TorchPolicyOptions {
  /** How errors call the file. */
  readonly file: string
  /** Read objects of unknown classes as inert records `{ class, args, state }`, instead of refusing the file. */
  readonly opaqueGlobals: boolean
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

type Construct = (args: readonly PickleValue[], callee: PickleGlobal, keywords?: PickleMap) => PickleValue

const record: Construct = (args, callee, keywords) => makeRecord(callee.path, keywords === undefined ? args : [...args, keywords])
const map: Construct = ([items]) => new Map(pairs(items ?? []))
const first: Construct = ([value]) => value ?? null
const sameList: Construct = ([items]) => (items === undefined ? [] : (listOf(items) as PickleValue[]))

/** Every global that a checkpoint may construct something from. */
const constructors: Readonly<Record<string, Construct>> = {
  'torch._utils._rebuild_tensor': ([storage, offset, shape, strides]) => makeTensor({ storage, offset, shape, strides }),
  'torch._utils._rebuild_tensor_v2': ([storage, offset, shape, strides, , , metadata]) =>
    makeTensor({ storage, offset, shape, strides, metadata }),
  'torch._utils._rebuild_tensor_v3': ([storage, offset, shape, strides, , , dtype, metadata]) =>
    makeTensor({ storage, offset, shape, strides, dtype, metadata }),
  // A parameter is its tensor; what else it carries (requires_grad, hooks, attributes) is no weight.
  'torch._utils._rebuild_parameter': ([tensor]) => requireTensor(tensor),
  'torch._utils._rebuild_parameter_with_state': ([tensor]) => requireTensor(tensor),
  'torch._tensor._rebuild_from_type_v2': ([rebuild, , args]) => {
    if (!isGlobal(rebuild) || !/^torch\._utils\._rebuild_(tensor|parameter)/.test(rebuild.path)) {
      throw new PickleError('a tensor subclass is rebuilt by something other than a tensor function')
    }
    return constructors[rebuild.path]!(listOf(args), rebuild)
  },
  'torch.Size': sameList,
  'torch.device': (args) => args.map((arg) => (typeof arg === 'string' || typeof arg === 'number' ? arg : '?')).join(':'),
  'torch.torch_version.TorchVersion': first,

  'collections.OrderedDict': map,
  'collections.Counter': map,
  // A defaultdict is constructed from the factory of its defaults, which is of no use here.
  'collections.defaultdict': ([, items]) => new Map(pairs(items ?? [])),
  'collections.deque': sameList,
  'builtins.dict': map,
  'builtins.list': sameList,
  'builtins.tuple': sameList,
  'builtins.set': ([items]) => new Set(listOf(items ?? [])),
  'builtins.frozenset': ([items]) => new Set(listOf(items ?? [])),
  'builtins.bytearray': ([value, encoding]) => (typeof encoding === 'string' ? encodeLatin1(value, encoding) : (value ?? new Uint8Array())),
  'builtins.complex': record,
  'builtins.slice': record,
  'builtins.range': record,
  // How bytes are written in protocol 2.
  '_codecs.encode': ([value, encoding]) => encodeLatin1(value, encoding),

  'numpy.dtype': ([name]) => makeNumpyDType(name),
  'numpy._core.multiarray.scalar': ([dtype, bytes]) => numpyScalar(dtype, bytes),
  'numpy._core.multiarray._reconstruct': () => ({ kind: 'ndarray', array: undefined }) satisfies NumpyArray,

  // Plain containers of settings that training scripts store beside the weights.
  'argparse.Namespace': record,
  'types.SimpleNamespace': record,
  'pathlib.Path': record,
  'pathlib.PurePath': record,
  'pathlib.PosixPath': record,
  'pathlib.PurePosixPath': record,
  'pathlib.WindowsPath': record,
  'pathlib.PureWindowsPath': record,
  'pathlib._local.PosixPath': record,
  'pathlib._local.WindowsPath': record,
  'datetime.datetime': record,
  'datetime.date': record,
  'datetime.timedelta': record,
}

/** Names that are only referred to: types, as arguments. */
const references = new Set([
  'torch.Tensor',
  'torch.nn.parameter.Parameter',
  'torch.nn.Parameter',
  'torch.storage.UntypedStorage',
  'torch.UntypedStorage',
  'torch.storage.TypedStorage',
  'numpy.ndarray',
  'builtins.object',
  'builtins.int',
  'builtins.float',
  'builtins.str',
  'builtins.bool',
  'builtins.bytes',
])

/** What a pickle refers to only in order to do something. Refused even where unknown classes are read as records. */
const acting =
  /^(os|posix|nt|sys|subprocess|shutil|socket|runpy|importlib|ctypes|pty|code|operator|webbrowser|pip|commands)\.|^builtins\.(eval|exec|compile|__import__|open|input|breakpoint)$/

/** Older names of the same things: Python 2's modules, numpy's before version 2. */
const renamedModules: Readonly<Record<string, string>> = {
  __builtin__: 'builtins',
  copy_reg: 'copyreg',
  'numpy.core.multiarray': 'numpy._core.multiarray',
}

/** The policy by which the pickle of a torch checkpoint is read. Its functions throw FILE_UNSAFE or PickleError. */
export function torchPolicy({ file, opaqueGlobals }: TorchPolicyOptions): PicklePolicy {
  const unsafe = (path: string) =>
    new EngineError('FILE_UNSAFE', {
      file,
      problem: `it refers to ${quoted(path)}, and only tensors and plain data are read from a checkpoint (in Python, loading it runs code)`,
      instead:
        'If you trust where it came from, load it in Python and save only its tensors, as safetensors: ' +
        'safetensors.torch.save_file(model.state_dict(), "model.safetensors").',
    })

  // What is constructed may copy its arguments, and one argument can be passed again and again.
  let charged = 0
  const charge = (values: readonly PickleValue[]) => {
    for (const value of values) charged += sizeOf(value)
    if (charged > maxConstructed) throw new PickleError('the pickle constructs too much data')
  }

  return {
    global(module, name) {
      const path = `${renamedModules[module] ?? module}.${name}`
      const dtype = torchDType(path)
      if (dtype !== undefined) return dtype
      const known = Object.hasOwn(constructors, path) || references.has(path) || storageType(path) !== undefined
      if (!known && (!opaqueGlobals || acting.test(path))) throw unsafe(path)
      return { kind: 'global', path } satisfies PickleGlobal
    },
    call(callee, args, keywords) {
      if (!isGlobal(callee)) throw new PickleError('the pickle calls something that is not a name')
      charge(args)
      const construct = Object.hasOwn(constructors, callee.path) ? constructors[callee.path] : undefined
      if (construct !== undefined) return construct(args, callee, keywords)
      if (!opaqueGlobals) throw unsafe(callee.path)
      // Protocols 0 and 1 construct every object through this function, of the class in its first argument.
      if (callee.path === 'copyreg._reconstructor' && isGlobal(args[0])) return makeRecord(args[0].path, [])
      return record(args, callee, keywords)
    },
    build(target, state) {
      if (Array.isArray(state)) charge(state)
      if (isRecord(target)) {
        target.state = state
        return target
      }
      if (isPickleObject(target) && target.kind === 'numpy-dtype') return buildNumpyDType(target as NumpyDTypeObject, state)
      if (isPickleObject(target) && target.kind === 'ndarray') return buildNumpyArray(target as NumpyArray, state)
      // A state dict carries its modules' version numbers as an attribute; a version is a str with attributes.
      if (target instanceof Map || typeof target === 'string') return target
      throw new PickleError('the pickle sets the state of something that has none')
    },
    persistent: makeStorage,
  }
}

/** Bytes in all that constructors may be given, counted as what a copy of their arguments would take. */
const maxConstructed = 2 ** 27
const bytesPerItem = 32

function sizeOf(value: PickleValue): number {
  if (typeof value === 'string') return value.length
  if (value instanceof Uint8Array) return value.byteLength
  return bytesPerItem * (Array.isArray(value) ? value.length : value instanceof Map || value instanceof Set ? value.size : 1)
}

export function isTorchTensor(value: PickleValue | undefined): value is TorchTensor {
  return isPickleObject(value) && value.kind === 'tensor'
}

function isGlobal(value: PickleValue | undefined): value is PickleGlobal {
  return isPickleObject(value) && value.kind === 'global'
}

function makeRecord(className: string, args: readonly PickleValue[]): PickleRecord {
  return { kind: 'record', class: className, args, state: null }
}

// --- torch

function torchDType(path: string): TorchDType | undefined {
  const name = path.startsWith('torch.') ? path.slice('torch.'.length) : ''
  const type = Object.hasOwn(dtypeAliases, name) ? dtypeAliases[name] : name
  return type !== undefined && Object.hasOwn(elementTypes, type) ? { kind: 'torch-dtype', name: type } : undefined
}

function storageType(path: string): StoredType | undefined {
  const name = path.startsWith('torch.') ? path.slice('torch.'.length) : ''
  return Object.hasOwn(storageTypes, name) ? storageTypes[name] : undefined
}

/** `('storage', type, key, location, numel)`; numel counts bytes when the type is untyped. */
function makeStorage(id: PickleValue): TorchStorage {
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

interface TensorArguments {
  readonly storage: PickleValue | undefined
  readonly offset: PickleValue | undefined
  readonly shape: PickleValue | undefined
  readonly strides: PickleValue | undefined
  readonly dtype?: PickleValue | undefined
  readonly metadata?: PickleValue | undefined
}

const maxRank = 64

function makeTensor({ storage: from, offset, shape, strides, dtype: given, metadata }: TensorArguments): TorchTensor {
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

function requireTensor(value: PickleValue | undefined): TorchTensor {
  if (!isTorchTensor(value)) throw new PickleError('the pickle has a parameter that is not a tensor')
  return value
}

// --- numpy

function makeNumpyDType(name: PickleValue | undefined): NumpyDTypeObject {
  if (typeof name !== 'string') throw new PickleError('the pickle has a numpy dtype without a name')
  return { kind: 'numpy-dtype', name, dtype: parseNumpyDType(name) }
}

function buildNumpyDType(target: NumpyDTypeObject, state: PickleValue): NumpyDTypeObject {
  const byteOrder = Array.isArray(state) ? state[1] : undefined
  if (byteOrder === '>' && target.dtype !== undefined) target.dtype = { ...target.dtype, bigEndian: true }
  return target
}

function buildNumpyArray(target: NumpyArray, state: PickleValue): NumpyArray {
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

function numpyScalar(numpyDType: PickleValue | undefined, bytes: PickleValue | undefined): PickleValue {
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

function isNumpyDType(value: PickleValue | undefined): value is NumpyDTypeObject {
  return isPickleObject(value) && value.kind === 'numpy-dtype'
}

// --- plain data

function isCount(value: PickleValue | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function listOf(value: PickleValue | undefined): readonly PickleValue[] {
  if (value instanceof Set) return [...value]
  if (!Array.isArray(value)) throw new PickleError('the pickle has something else where a list belongs')
  return value
}

function pairs(items: PickleValue): [PickleValue, PickleValue][] {
  if (items instanceof Map) return [...items]
  return listOf(items).map((item) => {
    if (!Array.isArray(item) || item.length !== 2) throw new PickleError('the pickle has a dictionary item that is not a pair')
    return [item[0]!, item[1]!]
  })
}

function encodeLatin1(value: PickleValue | undefined, encoding: PickleValue | undefined): Uint8Array {
  if (typeof value !== 'string' || (encoding !== 'latin1' && encoding !== 'latin-1'))
    throw new PickleError('the pickle encodes bytes in an unknown way')
  return new Uint8Array(Buffer.from(value, 'latin1'))
}
