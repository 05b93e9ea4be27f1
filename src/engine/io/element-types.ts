/**
 * The element types that files store, and the exact conversion of each to a type that the engine computes with. Every float16 and
 * bfloat16 value is a float32 value, so nothing is rounded here; NaN payloads survive. All bytes are little-endian, as in every format
 * read here and on every machine that Node.js runs on.
 */

import { type ArrayOf, allocate, type DType, elementCount, type Tensor } from '../tensor.js'
import { type ByteSource, maxArrayBytes } from './byte-source.js'
import { invalidFile, quoted } from './refusals.js'

interface ElementType {
  /** Bytes per element in a file. */
  readonly bytes: number
  /** The engine's type that holds every value; absent where there is none, and such a tensor is listed but not read. */
  readonly as?: DType
}

/** By numpy's and torch's common names. */
export const elementTypes = {
  float64: { bytes: 8, as: 'float64' },
  float32: { bytes: 4, as: 'float32' },
  float16: { bytes: 2, as: 'float32' },
  bfloat16: { bytes: 2, as: 'float32' },
  int64: { bytes: 8, as: 'int64' },
  int32: { bytes: 4, as: 'int32' },
  int16: { bytes: 2, as: 'int32' },
  int8: { bytes: 1, as: 'int32' },
  uint32: { bytes: 4, as: 'int64' },
  uint16: { bytes: 2, as: 'int32' },
  uint8: { bytes: 1, as: 'uint8' },
  bool: { bytes: 1, as: 'bool' },
  uint64: { bytes: 8 },
  complex64: { bytes: 8 },
  complex128: { bytes: 16 },
  float8_e4m3fn: { bytes: 1 },
  float8_e5m2: { bytes: 1 },
  float8_e4m3fnuz: { bytes: 1 },
  float8_e5m2fnuz: { bytes: 1 },
  float8_e8m0fnu: { bytes: 1 },
} as const satisfies Record<string, ElementType>

export type StoredType = keyof typeof elementTypes

/** The engine's type for a stored type. @throws FILE_INVALID when there is none */
export function engineType(type: StoredType, file: string, tensorName: string): DType {
  const { as }: ElementType = elementTypes[type]
  if (as === undefined) {
    throw invalidFile(
      file,
      `tensor ${quoted(tensorName)} is stored as ${type}, which has no exact counterpart here; save it as float32 or float16.`,
    )
  }
  return as
}

/** The number of elements of a shape read from a file, or undefined when it is not a shape or is absurdly large. */
export function checkedElementCount(shape: readonly unknown[]): number | undefined {
  if (!shape.every((length) => Number.isSafeInteger(length) && (length as number) >= 0)) return undefined
  // A product in floating point never wraps: it is either exact or beyond every file.
  const count = (shape as number[]).includes(0) ? 0 : elementCount(shape as number[])
  return Number.isSafeInteger(count) ? count : undefined
}

/** Where a tensor's elements lie in a source. */
export interface ElementRange {
  readonly file: string
  readonly name: string
  readonly type: StoredType
  readonly offset: number
  readonly count: number
}

const chunkElements = 2 ** 22

/**
 * Reads elements, converted to the engine's type. Converted types are read piece by piece, so that a tensor is never held twice.
 *
 * @throws FILE_INVALID when the type has no counterpart or the result is larger than one array can be
 */
export async function readElements(source: ByteSource, range: ElementRange): Promise<ArrayOf[DType]> {
  const { file, name, type, offset, count } = range
  const as = engineType(type, file, name)
  const { bytes } = elementTypes[type]
  requireArraySize(range)
  if (type === as && type !== 'bool') return viewAs(as, await source.read(offset, count * bytes))
  const target = allocate(as, count)
  for (let at = 0; at < count; at += chunkElements) {
    const length = Math.min(chunkElements, count - at)
    convertElements(type, await source.read(offset + at * bytes, length * bytes), target, at)
  }
  return target
}

/** @throws FILE_INVALID when `count` elements do not fit into one array of the engine's type */
export function requireArraySize({ file, name, type, count }: Omit<ElementRange, 'offset'>): void {
  const size = count * bytesOf(engineType(type, file, name))
  if (size > maxArrayBytes)
    throw invalidFile(file, `tensor ${quoted(name)} needs ${size} bytes; one tensor can have at most ${maxArrayBytes}.`)
}

/** Elements from bytes in memory. The result may share the bytes' buffer. */
export function decodeElements(type: StoredType, as: DType, bytes: Uint8Array): ArrayOf[DType] {
  if (type === as && type !== 'bool') return viewAs(as, bytes)
  const target = allocate(as, bytes.byteLength / elementTypes[type].bytes)
  convertElements(type, bytes, target, 0)
  return target
}

/** The little-endian bytes of a tensor, without copying them. */
export function tensorBytes(tensor: Tensor): Uint8Array {
  return new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength)
}

function bytesOf(dtype: DType): number {
  return elementTypes[dtype].bytes
}

const arrays = {
  float64: Float64Array,
  float32: Float32Array,
  int64: BigInt64Array,
  int32: Int32Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const

function viewAs(as: DType, bytes: Uint8Array): ArrayOf[DType] {
  return aligned(arrays[as] as unknown as ElementArray<ArrayOf[DType]>, bytes)
}

interface ElementArray<T> {
  new (buffer: ArrayBufferLike, offset: number, length: number): T
  readonly BYTES_PER_ELEMENT: number
}

/** A typed array over `bytes`; over a copy of them when they do not lie on a multiple of the element's size. */
function aligned<T extends ArrayOf[DType] | Uint16Array | Int16Array | Int8Array | Uint32Array>(
  array: ElementArray<T>,
  bytes: Uint8Array,
): T {
  const from = bytes.byteOffset % array.BYTES_PER_ELEMENT === 0 ? bytes : new Uint8Array(bytes)
  return new array(from.buffer, from.byteOffset, from.byteLength / array.BYTES_PER_ELEMENT)
}

/** Writes the elements in `bytes` to `target`, from index `at` on. */
function convertElements(type: StoredType, bytes: Uint8Array, target: ArrayOf[DType], at: number): void {
  switch (type) {
    case 'float16': {
      // Through the bits: to assign a NaN as a number may quiet it.
      const bits = new Uint32Array(target.buffer, target.byteOffset + at * 4)
      const from = aligned(Uint16Array, bytes)
      for (let i = 0; i < from.length; i++) bits[i] = float16Bits[from[i]!]!
      return
    }
    case 'bfloat16': {
      const bits = new Uint32Array(target.buffer, target.byteOffset + at * 4)
      const from = aligned(Uint16Array, bytes)
      for (let i = 0; i < from.length; i++) bits[i] = from[i]! << 16
      return
    }
    case 'int16':
      ;(target as Int32Array).set(aligned(Int16Array, bytes), at)
      return
    case 'uint16':
      ;(target as Int32Array).set(aligned(Uint16Array, bytes), at)
      return
    case 'int8':
      ;(target as Int32Array).set(aligned(Int8Array, bytes), at)
      return
    case 'uint32': {
      const from = aligned(Uint32Array, bytes)
      for (let i = 0; i < from.length; i++) (target as BigInt64Array)[at + i] = BigInt(from[i]!)
      return
    }
    case 'bool':
      // Any nonzero byte is true; downstream true is 1.
      for (let i = 0; i < bytes.length; i++) (target as Uint8Array)[at + i] = bytes[i] === 0 ? 0 : 1
      return
    default:
      target.set(viewAs(type as DType, bytes) as never, at)
  }
}

/** float32 bits of each of the 65536 float16 bit patterns. */
const float16Bits = Uint32Array.from({ length: 2 ** 16 }, (_, half) => {
  const sign = (half & 0x8000) << 16
  const exponent = (half >> 10) & 0x1f
  const fraction = half & 0x3ff
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13)
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13)
  if (fraction === 0) return sign
  // A subnormal, fraction * 2^-24, is a normal float32: shift its leading one to the implied place.
  const shift = Math.clz32(fraction) - 21
  return sign | ((113 - shift) << 23) | ((fraction << (13 + shift)) & 0x7fffff)
})
