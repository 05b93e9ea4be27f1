/**
 * numpy's .npy format: a magic string, a header that is a Python dictionary literal, then the elements. Arrays of Python objects, which
 * are pickles, are refused. What is written equals what `numpy.save` writes, byte for byte.
 *
 * @see https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */

import { EngineError } from '../errors.js'
import { type DType, elementCount, strides, type Tensor } from '../tensor.js'
import { checkedElementCount, decodeElements, elementTypes, engineType, type StoredType, tensorBytes } from './element-types.js'
import { invalidFile, quoted } from './refusals.js'

/** A numpy element type of plain numbers. */
export interface NumpyDType {
  readonly type: StoredType
  readonly bigEndian: boolean
}

const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59]
const maxHeaderBytes = 2 ** 16
const maxRank = 64

const typeOfCode: Readonly<Record<string, StoredType>> = {
  f8: 'float64',
  f4: 'float32',
  f2: 'float16',
  i8: 'int64',
  i4: 'int32',
  i2: 'int16',
  i1: 'int8',
  u8: 'uint64',
  u4: 'uint32',
  u2: 'uint16',
  u1: 'uint8',
  b1: 'bool',
  '?': 'bool',
  c8: 'complex64',
  c16: 'complex128',
}

const descrOfType: Record<DType, string> = { float64: '<f8', float32: '<f4', int64: '<i8', int32: '<i4', uint8: '|u1', bool: '|b1' }

/** True when the bytes begin as a .npy file does. */
export function looksLikeNpy(start: Uint8Array): boolean {
  return magic.every((byte, i) => start[i] === byte)
}

/** The type that numpy writes as `<f4`, `|u1`, `f8`, ...; undefined when it is not one of plain numbers. */
export function parseNumpyDType(descr: string): NumpyDType | undefined {
  const code = descr.replace(/^[<>=|]/, '')
  return Object.hasOwn(typeOfCode, code) ? { type: typeOfCode[code]!, bigEndian: descr.startsWith('>') } : undefined
}

/** A .npy file as chunks; the second is the tensor's own bytes, not copied. */
export function npyChunks(tensor: Tensor): Uint8Array[] {
  const { dtype, shape } = tensor
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`
  const dictionary = `{'descr': '${descrOfType[dtype]}', 'fortran_order': False, 'shape': ${tuple}, }`
  // numpy leaves room for the first length to grow to 21 digits, so that files can be appended to in place.
  const room = shape.length > 0 ? ' '.repeat(Math.max(0, 21 - String(shape[0]).length)) : ''
  const unpadded = 10 + dictionary.length + room.length + 1
  const text = `${dictionary}${room}${' '.repeat(Math.ceil(unpadded / 64) * 64 - unpadded)}\n`
  const header = new Uint8Array(10 + text.length)
  header.set(magic)
  header.set([1, 0, text.length & 0xff, text.length >> 8], 6)
  header.set(Buffer.from(text, 'latin1'), 10)
  return [header, tensorBytes(tensor)]
}

/**
 * Reads a whole .npy file. float16 comes as float32, the smaller integers as int32 or int64; Fortran order and big-endian numbers are
 * brought into the engine's order.
 *
 * @throws FILE_INVALID, and FILE_UNSAFE when the array is of Python objects
 */
export function readNpy(bytes: Uint8Array, file: string): Tensor {
  if (!looksLikeNpy(bytes) || bytes.length < 12) throw invalidFile(file, 'is not a .npy file.')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const version = bytes[6]!
  if (version < 1 || version > 3) throw invalidFile(file, `is a .npy file of version ${version}; versions 1 to 3 are read.`)
  const headerStart = version === 1 ? 10 : 12
  const headerLength = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true)
  if (headerLength > maxHeaderBytes)
    throw invalidFile(file, `the .npy header claims ${headerLength} bytes; at most ${maxHeaderBytes} are read.`)
  const dataStart = headerStart + headerLength
  if (dataStart > bytes.length) throw invalidFile(file, 'ends within the .npy header.')
  const { descr, fortranOrder, shape } = parseHeader(file, Buffer.from(bytes.subarray(headerStart, dataStart)).toString('utf8'))
  if (descr.includes('O')) {
    throw new EngineError('FILE_UNSAFE', {
      file,
      problem: 'it is an array of Python objects, which is a pickle and could run code',
      instead: 'Save numbers instead, for instance array.astype("float32").',
    })
  }
  const dtype = parseNumpyDType(descr)
  if (dtype === undefined) throw invalidFile(file, `has the numpy type ${quoted(descr)}, which is not one of plain numbers.`)
  return tensorFromNumpy({ file, dtype, shape, fortranOrder, bytes: bytes.subarray(dataStart) })
}

/** A tensor from numpy's description of an array and its bytes. @throws FILE_INVALID when they contradict each other */
export function tensorFromNumpy({
  file,
  dtype: { type, bigEndian },
  shape,
  fortranOrder,
  bytes,
}: {
  file: string
  dtype: NumpyDType
  shape: readonly number[]
  fortranOrder: boolean
  bytes: Uint8Array
}): Tensor {
  const as = engineType(type, file, 'array')
  const size = elementTypes[type].bytes
  const count = shape.length <= maxRank ? checkedElementCount(shape) : undefined
  if (count === undefined) throw invalidFile(file, 'the shape is not a list of lengths, or is impossibly large.')
  if (count * size !== bytes.byteLength) {
    throw invalidFile(file, `there are ${bytes.byteLength} bytes of data; shape [${shape.join(', ')}] of ${type} needs ${count * size}.`)
  }
  const data = decodeElements(type, as, bigEndian ? swapped(bytes, size) : bytes)
  return { dtype: as, shape, data: fortranOrder ? rowMajor(data, shape) : data }
}

/** `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, and nothing else: it is matched, not evaluated. */
function parseHeader(file: string, text: string): { descr: string; fortranOrder: boolean; shape: number[] } {
  const descr = /'descr'\s*:\s*'([^']{1,16})'/.exec(text)?.[1]
  const fortranOrder = /'fortran_order'\s*:\s*(True|False)/.exec(text)?.[1]
  const shape = /'shape'\s*:\s*\(\s*((?:\d{1,16}L?\s*,\s*)*(?:\d{1,16}L?)?)\s*\)/.exec(text)?.[1]
  if (fortranOrder === undefined || shape === undefined) throw invalidFile(file, 'the .npy header is not one that numpy writes.')
  if (descr === undefined) throw invalidFile(file, 'is an array of records; only arrays of plain numbers are read.')
  const lengths = shape.split(',').map((part) => part.trim().replace(/L$/, ''))
  return { descr, fortranOrder: fortranOrder === 'True', shape: lengths.filter((part) => part !== '').map(Number) }
}

function swapped(bytes: Uint8Array, size: number): Uint8Array {
  const copy = Buffer.from(bytes)
  if (size === 2) return copy.swap16()
  if (size === 4) return copy.swap32()
  return size === 8 ? copy.swap64() : copy
}

/** Column-major elements in row-major order. */
function rowMajor(data: Tensor['data'], shape: readonly number[]): Tensor['data'] {
  const result = data.slice()
  const columnMajor = strides([...shape].reverse()).reverse()
  const index = new Array<number>(shape.length).fill(0)
  let from = 0
  for (let to = 0; to < elementCount(shape); to++) {
    result[to] = data[from]!
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += columnMajor[axis]!
      if (++index[axis]! < shape[axis]!) break
      from -= columnMajor[axis]! * shape[axis]!
      index[axis] = 0
    }
  }
  return result
}
