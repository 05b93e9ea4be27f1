/**
 * What the names in a torch checkpoint mean: one table of the globals that build tensors and plain data, and the policy that refuses every
 * other. The functions here imitate what torch's would construct; none of torch's, and nothing else, is ever called.
 *
 * @see torch/_utils.py (`_rebuild_*`), torch/_weights_only_unpickler.py (torch's own allow-list)
 */

import { EngineError } from '../errors.js'
import {
  buildNumpyArray,
  buildNumpyDType,
  isNumpyArray,
  isNumpyDType,
  makeNumpyArray,
  makeNumpyDType,
  numpyScalar,
} from './numpy-values.js'
import type { PicklePolicy } from './pickle.js'
import {
  isGlobal,
  isRecord,
  listOf,
  makeRecord,
  PickleError,
  type PickleGlobal,
  type PickleMap,
  type PickleValue,
} from './pickle-values.js'
import { quoted } from './refusals.js'
import { makeStorage, makeTensor, requireTensor, storageType, torchDType } from './torch-tensors.js'

export interface TorchPolicyOptions {
  /** How errors call the file. */
  readonly file: string
  /** Read objects of unknown classes as inert records `{ class, args, state }`, instead of refusing the file. */
  readonly opaqueGlobals: boolean
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
    if (!isGlobal(rebuild) || !/^torch\._utils\._rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)$/.test(rebuild.path)) {
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
  'numpy._core.multiarray._reconstruct': makeNumpyArray,

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
      const path = `${Object.hasOwn(renamedModules, module) ? renamedModules[module] : module}.${name}`
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
      if (isNumpyDType(target)) return buildNumpyDType(target, state)
      if (isNumpyArray(target)) return buildNumpyArray(target, state)
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
