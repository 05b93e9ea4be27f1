/**
 * A state dict as `torch.save` writes it: a zip archive with one pickle, an OrderedDict of tensors, and the bytes of every storage, each at
 * a multiple of 64 bytes so that they can be mapped. The pickle refers to what a state dict refers to and nothing else, so
 * `torch.load(weights_only=True)` reads it, and so does our own reader.
 *
 * @see torch/serialization.py (`_save`), torch/csrc/jit/serialization/export (the archive), pickletools.py (the opcodes of protocol 2)
 */

import { invariant } from '../errors.js'
import { type DType, elementCount, strides, type Tensor } from '../tensor.js'
import { tensorBytes } from './element-types.js'
import type { NamedTensors } from './named-tensors.js'
import { quoted } from './refusals.js'
import { type ZipContent, zipChunks } from './zip-writer.js'

/** What torch calls an archive that is not named after its file. */
const archive = 'archive'
const storageAlignment = 64

const storageTypes: Record<DType, string> = {
  float64: 'DoubleStorage',
  float32: 'FloatStorage',
  int64: 'LongStorage',
  int32: 'IntStorage',
  uint8: 'ByteStorage',
  bool: 'BoolStorage',
}

/**
 * The file as chunks to send one after another; the tensors' own bytes are among them, not copied. One tensor under two names is one
 * storage, as tied weights are in torch. The same tensors make the same bytes.
 */
export function torchChunks(tensors: NamedTensors): Uint8Array[] {
  const storages: Tensor[] = []
  const pickle = stateDictPickle([...tensors], (tensor) => {
    const known = storages.findIndex((other) => isSameMemory(other, tensor))
    return known < 0 ? storages.push(tensor) - 1 : known
  })
  return archiveChunks(pickle, storages)
}

/** One tensor without a name, as `torch.save(tensor, file)` writes it. */
export function torchTensorChunks(tensor: Tensor): Uint8Array[] {
  const p = new PickleWriter()
  writeTensor(p, tensor, 0)
  return archiveChunks(p.finish(), [tensor])
}

function archiveChunks(pickle: Uint8Array, storages: readonly Tensor[]): Uint8Array[] {
  const text = (name: string, value: string): ZipContent => entry(name, new TextEncoder().encode(value))
  return zipChunks([
    entry('data.pkl', pickle),
    text('.format_version', '1'),
    text('.storage_alignment', String(storageAlignment)),
    text('byteorder', 'little'),
    ...storages.map((tensor, key) => entry(`data/${key}`, tensorBytes(tensor))),
    text('version', '3\n'),
  ])
}

function entry(name: string, bytes: Uint8Array): ZipContent {
  return { name: `${archive}/${name}`, chunks: [bytes], alignTo: storageAlignment }
}

function isSameMemory(a: Tensor, b: Tensor): boolean {
  const same = a.dtype === b.dtype && a.data.buffer === b.data.buffer && a.data.byteOffset === b.data.byteOffset
  return same && a.data.byteLength === b.data.byteLength
}

/** @param keyOf  the number of the storage that holds a tensor's elements, one after another from its first byte on */
function stateDictPickle(tensors: readonly (readonly [name: string, tensor: Tensor])[], keyOf: (tensor: Tensor) => number): Uint8Array {
  const p = new PickleWriter()
  const names = new Set<string>()
  p.emptyOrderedDict()
  if (tensors.length > 0) {
    p.op('(')
    for (const [name, tensor] of tensors) {
      invariant(!names.has(name), `two tensors to write are named ${quoted(name)}`)
      names.add(name)
      p.text(name)
      writeTensor(p, tensor, keyOf(tensor))
    }
    p.op('u') // SETITEMS
  }
  return p.finish()
}

/** `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, backward_hooks)` */
function writeTensor(p: PickleWriter, { dtype, shape }: Tensor, key: number): void {
  p.global('torch._utils', '_rebuild_tensor_v2')
  p.op('(')
  p.op('(')
  p.text('storage')
  p.global('torch', storageTypes[dtype])
  p.text(String(key))
  p.text('cpu')
  p.int(elementCount(shape))
  p.op('t')
  p.op('Q') // BINPERSID
  p.int(0)
  p.tuple(shape)
  p.tuple(strides(shape))
  p.op('\x89') // NEWFALSE
  p.emptyOrderedDict()
  p.op('t')
  p.op('R') // REDUCE
}

/** Opcodes of pickle protocol 2, as many as a state dict needs. */
class PickleWriter {
  readonly #parts: Uint8Array[] = []
  /** Where each global is remembered. */
  readonly #memo = new Map<string, number>()

  constructor() {
    this.op('\x80\x02')
  }

  /** Opcodes are latin-1 characters. */
  op(code: string): void {
    this.#parts.push(Buffer.from(code, 'latin1'))
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value)
    this.op('X')
    this.#number('setUint32', 4, bytes.length)
    this.#parts.push(bytes)
  }

  int(value: number): void {
    if (value < 2 ** 8) {
      this.op('K')
      this.#number('setUint8', 1, value)
    } else if (value < 2 ** 16) {
      this.op('M')
      this.#number('setUint16', 2, value)
    } else if (value < 2 ** 31) {
      this.op('J')
      this.#number('setInt32', 4, value)
    } else {
      this.op('\x8a\x08') // LONG1 of eight bytes
      const bytes = new Uint8Array(8)
      new DataView(bytes.buffer).setBigInt64(0, BigInt(value), true)
      this.#parts.push(bytes)
    }
  }

  tuple(values: readonly number[]): void {
    this.op('(')
    for (const value of values) this.int(value)
    this.op('t')
  }

  global(module: string, name: string): void {
    const path = `${module}\n${name}\n`
    const known = this.#memo.get(path)
    if (known !== undefined) {
      this.op('h')
      this.#number('setUint8', 1, known)
      return
    }
    const place = this.#memo.size
    this.#memo.set(path, place)
    this.op(`c${path}q`)
    this.#number('setUint8', 1, place)
  }

  emptyOrderedDict(): void {
    this.global('collections', 'OrderedDict')
    this.op(')R')
  }

  finish(): Uint8Array {
    this.op('.')
    return Buffer.concat(this.#parts)
  }

  #number(setter: 'setUint8' | 'setUint16' | 'setUint32' | 'setInt32', nBytes: number, value: number): void {
    const bytes = new Uint8Array(nBytes)
    new DataView(bytes.buffer)[setter](0, value, true)
    this.#parts.push(bytes)
  }
}
