/**
 * Torch checkpoints as `torch.save` writes them since version 1.6: a zip archive with one pickle (`<name>/data.pkl`) and the bytes of every
 * storage (`<name>/data/<key>`). Opening lists the tensors; their bytes are read when asked for. Nothing in the file is executed.
 *
 * @see torch/csrc/jit/serialization/import_read.cpp, torch/serialization.py
 */

import { allocate, elementCount, type Tensor } from '../tensor.js'
import type { ByteSource } from './byte-source.js'
import { decodeElements, elementTypes, engineType, readElements, requireArraySize } from './element-types.js'
import { readPickle } from './pickle.js'
import { PickleError, type PickleValue } from './pickle-values.js'
import { invalidFile, quoted } from './refusals.js'
import { torchPolicy } from './torch-policy.js'
import { isContiguous, lastElement, type TorchTensor } from './torch-tensors.js'
import { crcOf } from './zip-layout.js'
import { checkCrc, locateEntry, readZipDirectory, readZipEntry, type ZipDirectory, type ZipEntry } from './zip-reader.js'

export interface TorchCheckpoint {
  readonly file: string
  /** What was saved: plain data with `TorchTensor`s in it. */
  readonly root: PickleValue
  /** Reads a tensor's elements; float16 and bfloat16 come as float32. `name` is for errors. @throws FILE_INVALID */
  read(tensor: TorchTensor, name: string): Promise<Tensor>
}

export interface TorchCheckpointOptions {
  /**
   * Read objects of unknown classes as inert records `{ class, args, state }` instead of refusing the file. Still nothing is executed.
   * For checkpoints that carry a pickled configuration beside the weights.
   */
  readonly opaqueGlobals?: boolean
}

const maxPickleBytes = 2 ** 26
/** A view may repeat elements (an expanded tensor); up to this many are made of a smaller storage. */
const maxRepeatedElements = 2 ** 24
const checkBytes = 2 ** 24

const resave = 'Load it in Python and save it again: torch.save(torch.load(path, weights_only=True), path), or better as safetensors.'

/**
 * Opens a checkpoint and reads its pickle, but no tensor.
 *
 * @param file  how errors call the file
 * @throws FILE_UNSAFE when it refers to anything but tensors and plain data; FILE_INVALID when it is damaged, or of another format
 */
export async function openTorchCheckpoint(
  source: ByteSource,
  file: string,
  options: TorchCheckpointOptions = {},
): Promise<TorchCheckpoint> {
  const directory = await readZipDirectory(source, file)
  const { prefix, pickle } = findPickle(directory)
  await requireLittleEndian(source, directory, prefix)
  const bytes = await readStored(source, directory, { entry: pickle, maxBytes: maxPickleBytes })
  const root = unpickle(bytes, file, options)
  const verified = new Set<string>()
  return { file, root, read: (tensor, name) => readTensor({ source, directory, prefix, verified }, tensor, name) }
}

/** @throws FILE_INVALID with what to do, when the bytes begin like an old or foreign format that is often given a torch file's name */
export function refuseOldTorchFormats(start: Uint8Array, file: string): void {
  const bytes = Buffer.from(start.buffer, start.byteOffset, start.byteLength)
  if (bytes.subarray(257, 262).toString('latin1') === 'ustar') {
    throw invalidFile(file, `is in torch's oldest format, a tar archive (before version 0.1.10). ${resave}`)
  }
  // The magic number of the second format, pickled.
  if (bytes.subarray(2, 14).toString('hex') === '8a0a6cfc9c46f9206aa85019') {
    throw invalidFile(
      file,
      `is in torch's legacy format (before version 1.6, or saved with _use_new_zipfile_serialization=False). ${resave}`,
    )
  }
  if (bytes[0] === 0x80 && bytes[1]! <= 5) throw invalidFile(file, `is a bare Python pickle, not a torch checkpoint. ${resave}`)
}

function findPickle({ file, entries }: ZipDirectory): { prefix: string; pickle: ZipEntry } {
  const pickles = [...entries.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name))
  const [pickle] = pickles
  if (pickle === undefined || pickles.length > 1) {
    throw invalidFile(file, `is a zip archive with ${pickles.length === 0 ? 'no' : 'several'} data.pkl inside, not a torch checkpoint.`)
  }
  const prefix = pickle.name.slice(0, -'data.pkl'.length)
  if (entries.has(`${prefix}constants.pkl`) || [...entries.keys()].some((name) => name.startsWith(`${prefix}code/`))) {
    throw invalidFile(
      file,
      'is a TorchScript archive, which holds a program and not only weights. Save its weights alone: torch.save(torch.jit.load(path).state_dict(), path).',
    )
  }
  return { prefix, pickle }
}

async function requireLittleEndian(source: ByteSource, directory: ZipDirectory, prefix: string): Promise<void> {
  const entry = directory.entries.get(`${prefix}byteorder`)
  if (entry === undefined) return
  const order = Buffer.from(await readStored(source, directory, { entry, maxBytes: 16 })).toString('latin1')
  if (order !== 'little') throw invalidFile(directory.file, `has the byte order ${quoted(order)}; only "little" is read. ${resave}`)
}

function unpickle(bytes: Uint8Array, file: string, { opaqueGlobals = false }: TorchCheckpointOptions): PickleValue {
  try {
    return readPickle(bytes, torchPolicy({ file, opaqueGlobals }))
  } catch (error) {
    if (error instanceof PickleError || error instanceof RangeError) throw invalidFile(file, `${error.message}.`)
    throw error
  }
}

/** The content of an entry that `torch.save` wrote: never compressed, its checksum 0 when torch was told not to compute it. */
async function readStored(
  source: ByteSource,
  directory: ZipDirectory,
  { entry, maxBytes }: { entry: ZipEntry; maxBytes: number },
): Promise<Uint8Array> {
  requireStored(directory.file, entry)
  if (entry.crc !== 0) return readZipEntry(source, directory, { entry, maxBytes })
  if (entry.size > maxBytes)
    throw invalidFile(directory.file, `${quoted(entry.name)} has ${entry.size} bytes; at most ${maxBytes} are read.`)
  return source.read(await locateEntry(source, directory, entry), entry.size)
}

function requireStored(file: string, entry: ZipEntry): void {
  if (entry.compressed) throw invalidFile(file, `its entry ${quoted(entry.name)} is compressed, which torch.save never does. ${resave}`)
}

interface Storages {
  readonly source: ByteSource
  readonly directory: ZipDirectory
  readonly prefix: string
  /** Entries whose checksum has been verified. */
  readonly verified: Set<string>
}

async function readTensor(storages: Storages, tensor: TorchTensor, name: string): Promise<Tensor> {
  const { source, directory } = storages
  const { file } = directory
  const { dtype: type, shape, offset } = tensor
  const as = engineType(type, file, name)
  const count = elementCount(shape)
  requireArraySize({ file, name, type, count })
  if (count === 0) return { dtype: as, shape, data: allocate(as, 0) }

  const { entry, start } = await findStorage(storages, tensor, name)
  const { bytes } = elementTypes[type]
  const contiguous = isContiguous(tensor)
  if (contiguous && type === as && count * bytes === entry.size) {
    // By far the most common case: the tensor is its storage, and one pass both reads and verifies it.
    const content = await source.read(start, entry.size)
    if (entry.crc !== 0) checkCrc(file, entry, crcOf(content))
    return { dtype: as, shape, data: decodeElements(type, as, content) }
  }
  await verifyStorage(storages, entry, start)
  if (contiguous) return { dtype: as, shape, data: await readElements(source, { file, name, type, offset: start + offset * bytes, count }) }
  const span = lastElement(tensor) - offset + 1
  if (count > span && count > maxRepeatedElements) {
    throw invalidFile(file, `tensor ${quoted(name)} makes ${count} elements by repeating ${span}. Save it after tensor.contiguous().`)
  }
  const values = await readElements(source, { file, name, type, offset: start + offset * bytes, count: span })
  return { dtype: as, shape, data: gather(values, tensor) }
}

/** A storage's entry and where its bytes begin, after its size was compared with what the pickle says. */
async function findStorage(
  { source, directory, prefix }: Storages,
  { storage }: TorchTensor,
  name: string,
): Promise<{ entry: ZipEntry; start: number }> {
  const { file } = directory
  const entry = directory.entries.get(`${prefix}data/${storage.key}`)
  if (entry === undefined) throw invalidFile(file, `tensor ${quoted(name)} refers to the storage ${quoted(storage.key)}, which is missing.`)
  requireStored(file, entry)
  if (entry.size !== storage.bytes) {
    throw invalidFile(file, `tensor ${quoted(name)} has a storage of ${storage.bytes} bytes; the file holds ${entry.size}.`)
  }
  return { entry, start: await locateEntry(source, directory, entry) }
}

/** Verifies a whole storage's checksum, once, however many views of it are read. */
async function verifyStorage({ source, directory, verified }: Storages, entry: ZipEntry, start: number): Promise<void> {
  if (entry.crc === 0 || verified.has(entry.name)) return
  let crc = 0
  for (let at = 0; at < entry.size; at += checkBytes) crc = crcOf(await source.read(start + at, Math.min(checkBytes, entry.size - at)), crc)
  checkCrc(directory.file, entry, crc)
  verified.add(entry.name)
}

/** The elements of a strided view in row-major order; `values` begins at the view's first element. */
function gather(values: Tensor['data'], { shape, strides }: TorchTensor): Tensor['data'] {
  const count = elementCount(shape)
  const last = shape.length - 1
  const innerLength = shape[last]!
  const innerStride = strides[last]!
  const result = new (values.constructor as new (length: number) => Tensor['data'])(count)
  const index = new Array<number>(shape.length).fill(0)
  let row = 0
  for (let to = 0; to < count; to += innerLength) {
    for (let i = 0, from = row; i < innerLength; i++, from += innerStride) result[to + i] = values[from]!
    for (let axis = last - 1; axis >= 0; axis--) {
      row += strides[axis]!
      if (++index[axis]! < shape[axis]!) break
      row -= strides[axis]! * shape[axis]!
      index[axis] = 0
    }
  }
  return result
}
