/**
 * One file of weights, whatever its format: names, shapes and element types at once, tensors when asked for.
 */

import type { Tensor } from '../tensor.js'
import type { ByteSource } from './byte-source.js'
import { isNumpyArray } from './numpy-values.js'
import { keyText, type PickleMap, type PickleObject, type PickleValue, type PlainData, plainData } from './pickle-values.js'
import { invalidFile, quoted } from './refusals.js'
import { looksLikeSafetensors, readSafetensor, readSafetensorsHeader } from './safetensors.js'
import { openTorchCheckpoint, refuseOldTorchFormats, type TorchCheckpointOptions } from './torch-checkpoint.js'
import { isTorchTensor, type TorchDType, type TorchTensor } from './torch-tensors.js'
import { looksLikeZip } from './zip-reader.js'

export interface WeightEntry {
  /** As stored: `float32`, `float16`, `bfloat16`, `int64`, ... */
  readonly dtype: string
  readonly shape: readonly number[]
}

export interface WeightFile {
  readonly format: 'safetensors' | 'torch'
  /** Names of the files that the weights are in. */
  readonly files: readonly string[]
  /** By name, in the file's order. */
  readonly entries: ReadonlyMap<string, WeightEntry>
  /** What else the file holds: safetensors' metadata, or a torch checkpoint's data beside its weights (`epoch`, a configuration, ...). */
  readonly metadata: Readonly<Record<string, PlainData>>
  /** The keys that the weights were under, outermost first: `['state_dict']`. */
  readonly unwrapped: readonly string[]
  /** What every name began with and no longer does: `module.` (DataParallel), `_orig_mod.` (torch.compile), or nothing. */
  readonly strippedPrefix: string
  /** Reads one tensor; every floating-point type comes as float32. @throws FILE_INVALID when it is missing, damaged or of an unreadable type */
  read(name: string): Promise<Tensor>
  close(): Promise<void>
}

/**
 * Opens weights by their content: safetensors, or a torch zip checkpoint read without executing anything. The source is closed with the
 * weights, and when opening fails.
 *
 * @param fileName  how errors call the file
 * @throws FILE_INVALID, FILE_UNSAFE
 */
export async function openWeights(source: ClosableSource, fileName: string, options: TorchCheckpointOptions = {}): Promise<WeightFile> {
  return stripSharedPrefix(await openShard(source, fileName, options))
}

type ClosableSource = ByteSource & { close?(): Promise<void> }

/** `openWeights`, but for names, which stay as they are: whether they share a prefix, one shard of several cannot say. */
export async function openShard(source: ClosableSource, fileName: string, options: TorchCheckpointOptions): Promise<WeightFile> {
  const close = async () => source.close?.()
  try {
    const start = await source.read(0, Math.min(512, source.size))
    // First: the length that a safetensors file begins with can look like anything.
    if (looksLikeSafetensors(start)) return { ...(await openSafetensors(source, fileName)), close }
    if (looksLikeZip(start)) return { ...(await openTorch(source, fileName, options)), close }
    refuseForeignFormats(start, fileName)
    throw invalidFile(fileName, 'is neither a safetensors file nor a torch checkpoint.')
  } catch (error) {
    await close()
    throw error
  }
}

type OpenedWeights = Omit<WeightFile, 'close'>

async function openSafetensors(source: ByteSource, file: string): Promise<OpenedWeights> {
  const header = await readSafetensorsHeader(source, file)
  return {
    format: 'safetensors',
    files: [file],
    entries: header.entries,
    metadata: Object.fromEntries(header.metadata),
    unwrapped: [],
    strippedPrefix: '',
    read: async (name) => asFloat32(await readSafetensor(source, header, name)),
  }
}

async function openTorch(source: ByteSource, file: string, options: TorchCheckpointOptions): Promise<OpenedWeights> {
  const checkpoint = await openTorchCheckpoint(source, file, options)
  if (!(checkpoint.root instanceof Map)) throw invalidFile(file, 'does not hold a dictionary of named weights.')
  const { stateDict, unwrapped, besides } = unwrap(checkpoint.root)
  const { tensors, others } = collectTensors(file, stateDict)
  for (const [name, value] of others) besides.set([...unwrapped, name].join('.'), value)
  if (tensors.size === 0) throw invalidFile(file, 'holds no tensors.')
  return {
    format: 'torch',
    files: [file],
    entries: tensors,
    metadata: describeRest(file, besides),
    unwrapped,
    strippedPrefix: '',
    read: async (name) => {
      const tensor = tensors.get(name)
      if (tensor === undefined) throw invalidFile(file, `has no tensor ${quoted(name)}.`)
      return asFloat32(await checkpoint.read(tensor, name))
    },
  }
}

/** Where training scripts put the weights among other things, in the order of preference. */
const wrappers = ['state_dict', 'model_state_dict', 'model']
const maxWrappers = 3
const maxNesting = 16
const maxNames = 1_000_000

function unwrap(root: PickleMap): { stateDict: PickleMap; unwrapped: string[]; besides: PickleMap } {
  const unwrapped: string[] = []
  const besides: PickleMap = new Map()
  let stateDict = root
  while (unwrapped.length < maxWrappers) {
    const key = wrappers.find((wrapper) => stateDict.get(wrapper) instanceof Map)
    if (key === undefined) break
    for (const [other, value] of stateDict) if (other !== key) besides.set([...unwrapped, keyText(other)].join('.'), value)
    stateDict = stateDict.get(key) as PickleMap
    unwrapped.push(key)
  }
  return { stateDict, unwrapped, besides }
}

/** The tensors of a dictionary and of dictionaries in it, names joined by dots, and what in it is no tensor. */
function collectTensors(file: string, stateDict: PickleMap): { tensors: Map<string, TorchTensor>; others: Map<string, PickleValue> } {
  const tensors = new Map<string, TorchTensor>()
  const others = new Map<string, PickleValue>()
  let nNames = 0
  const collect = (from: PickleMap, prefix: string, depth: number) => {
    for (const [key, value] of from) {
      if (++nNames > maxNames) throw invalidFile(file, `has more than ${maxNames} names.`)
      const name = prefix + keyText(key)
      if (value instanceof Map && depth < maxNesting) {
        collect(value, `${name}.`, depth + 1)
        continue
      }
      if (tensors.has(name) || others.has(name)) throw invalidFile(file, `has two values named ${quoted(name)}.`)
      if (isTorchTensor(value)) tensors.set(name, value)
      else others.set(name, value)
    }
  }
  collect(stateDict, '', 1)
  return { tensors, others }
}

function describeRest(file: string, besides: PickleMap): Readonly<Record<string, PlainData>> {
  try {
    return plainData(besides, { show: describeObject }) as Readonly<Record<string, PlainData>>
  } catch (error) {
    if (error instanceof RangeError) throw invalidFile(file, `what it holds beside the weights cannot be read: ${error.message}.`)
    throw error
  }
}

function describeObject(object: PickleObject): PlainData | undefined {
  if (isTorchTensor(object)) return { tensor: { dtype: object.dtype, shape: object.shape } }
  if (isNumpyArray(object)) return { array: object.array === undefined ? null : { dtype: object.array.dtype, shape: object.array.shape } }
  return object.kind === 'torch-dtype' ? (object as TorchDType).name : undefined
}

const prefixes = ['module.', '_orig_mod.']

/** Removes what wrappers around a model put before every name. */
export function stripSharedPrefix(weights: WeightFile): WeightFile {
  const names = [...weights.entries.keys()]
  let prefix = ''
  for (;;) {
    const next = prefixes.find((candidate) => names.length > 0 && names.every((name) => name.startsWith(prefix + candidate)))
    if (next === undefined) break
    prefix += next
  }
  if (prefix === '') return weights
  return {
    ...weights,
    entries: new Map([...weights.entries].map(([name, entry]) => [name.slice(prefix.length), entry])),
    strippedPrefix: prefix,
    read: (name) => weights.read(prefix + name),
  }
}

function asFloat32(tensor: Tensor): Tensor {
  return tensor.dtype === 'float64'
    ? { dtype: 'float32', shape: tensor.shape, data: new Float32Array(tensor.data as Float64Array) }
    : tensor
}

/** Other things that are found under the name of a weight file. */
function refuseForeignFormats(start: Uint8Array, file: string): void {
  const text = Buffer.from(start.buffer, start.byteOffset, start.byteLength).toString('latin1')
  if (start.length === 0) throw invalidFile(file, 'is empty.')
  if (text.startsWith('version https://git-lfs')) {
    throw invalidFile(file, 'is a Git LFS pointer, not the weights it points to. Run "git lfs pull" where it was cloned.')
  }
  if (/^\s*<(!doctype|html|\?xml)/i.test(text))
    throw invalidFile(file, 'is a web page, not weights: probably the answer to a download that failed.')
  if (text.startsWith('\x89HDF')) throw invalidFile(file, 'is an HDF5 file (Keras); save the weights as safetensors.')
  if (text.startsWith('\x1f\x8b')) throw invalidFile(file, 'is compressed with gzip; decompress it first.')
  if (text.startsWith('GGUF')) throw invalidFile(file, 'is a GGUF file; save the weights as safetensors.')
  refuseOldTorchFormats(start, file)
}
