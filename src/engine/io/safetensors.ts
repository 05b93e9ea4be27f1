/**
 * safetensors: an 8-byte length, a JSON header that says where each tensor lies, then the bytes. Reading lists every tensor without
 * touching its data; writing puts out the same bytes as the Python package.
 *
 * @see https://github.com/huggingface/safetensors (the format), `safetensors/src/tensor.rs` (the order of tensors)
 */

import { invariant } from '../errors.js'
import type { DType, Tensor } from '../tensor.js'
import type { ByteSource } from './byte-source.js'
import { checkedElementCount, elementTypes, engineType, readElements, type StoredType, tensorBytes } from './element-types.js'
import type { NamedTensors } from './named-tensors.js'
import { invalidFile, quoted } from './refusals.js'
import { parseStrictJson, type StrictJson } from './strict-json.js'

export interface SafetensorsEntry {
  readonly dtype: StoredType
  readonly shape: readonly number[]
  /** First byte in the file, and the one after the last. */
  readonly byteRange: readonly [start: number, end: number]
}

export interface SafetensorsHeader {
  readonly file: string
  /** By name, in the order of the header. */
  readonly entries: ReadonlyMap<string, SafetensorsEntry>
  /** The header's `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>
}

/** The reference implementation allows 100 MB; a header of a hundred thousand tensors has 10 MB, and parsing takes ten times its memory. */
const maxHeaderBytes = 2 ** 25
const maxTensors = 100_000
const maxRank = 64

/** The format's names of element types. */
const typeOfTag: Readonly<Record<string, StoredType>> = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  I64: 'int64',
  I32: 'int32',
  I16: 'int16',
  I8: 'int8',
  U64: 'uint64',
  U32: 'uint32',
  U16: 'uint16',
  U8: 'uint8',
  BOOL: 'bool',
  C64: 'complex64',
  F8_E4M3: 'float8_e4m3fn',
  F8_E5M2: 'float8_e5m2',
  F8_E8M0: 'float8_e8m0fnu',
}

const tagOfType: Record<DType, string> = { float64: 'F64', float32: 'F32', int64: 'I64', int32: 'I32', uint8: 'U8', bool: 'BOOL' }

/** True when the bytes may begin a safetensors file: a plausible length and the header's brace. */
export function looksLikeSafetensors(start: Uint8Array): boolean {
  return start.length >= 9 && start[8] === 0x7b
}

/** Reads and checks the header; no data. @throws FILE_INVALID naming the tensor that is wrong */
export async function readSafetensorsHeader(source: ByteSource, file: string): Promise<SafetensorsHeader> {
  if (source.size < 10) throw invalidFile(file, `has ${source.size} bytes, too few for a safetensors file.`)
  const length = Number(new DataView((await source.read(0, 8)).buffer).getBigUint64(0, true))
  if (length > maxHeaderBytes) throw invalidFile(file, `the safetensors header claims ${length} bytes; at most ${maxHeaderBytes} are read.`)
  if (8 + length > source.size) throw invalidFile(file, `the safetensors header claims ${length} bytes in a file of ${source.size}.`)
  const header = parseHeader(file, await source.read(8, length))

  const entries = new Map<string, SafetensorsEntry>()
  let metadata: ReadonlyMap<string, string> = new Map()
  if (header.size > maxTensors)
    throw invalidFile(file, `the safetensors header lists ${header.size} tensors; at most ${maxTensors} are read.`)
  for (const [name, value] of header) {
    if (name === '__metadata__') metadata = parseMetadata(file, value)
    else entries.set(name, parseEntry(file, { name, value, dataStart: 8 + length }))
  }
  requireTiling(file, entries, { dataStart: 8 + length, fileEnd: source.size })
  return { file, entries, metadata }
}

/**
 * Reads one tensor; float16 and bfloat16 come as float32, the smaller integers as int32 or int64.
 *
 * @throws FILE_INVALID when there is no such tensor or its type has no counterpart
 */
export async function readSafetensor(source: ByteSource, { file, entries }: SafetensorsHeader, name: string): Promise<Tensor> {
  const entry = entries.get(name)
  if (entry === undefined) throw invalidFile(file, `has no tensor ${quoted(name)}.`)
  const { dtype: type, shape, byteRange } = entry
  const count = (byteRange[1] - byteRange[0]) / elementTypes[type].bytes
  const data = await readElements(source, { file, name, type, offset: byteRange[0], count })
  return { dtype: engineType(type, file, name), shape, data }
}

/**
 * A safetensors file as chunks to send one after another; the tensors' own bytes are among them, not copied. Tensors are ordered by
 * element type, widest first, then by name, so that each lies on a multiple of its element's size and the same tensors make the same
 * bytes in whatever order they are given.
 */
export function safetensorsChunks(tensors: NamedTensors, metadata: Readonly<Record<string, string>> = {}): Uint8Array[] {
  const ordered = [...tensors].sort(
    ([a, { dtype: x }], [b, { dtype: y }]) => typeOrder[y] - typeOrder[x] || Buffer.compare(Buffer.from(a), Buffer.from(b)),
  )
  const fields: string[] = []
  if (Object.keys(metadata).length > 0) fields.push(`"__metadata__":${JSON.stringify(metadata)}`)
  const names = new Set(['__metadata__'])
  let offset = 0
  for (const [name, { dtype, shape, data }] of ordered) {
    invariant(!names.has(name), `two tensors to write are named ${quoted(name)}, or the name is reserved`)
    names.add(name)
    const end = offset + data.byteLength
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype: tagOfType[dtype], shape, data_offsets: [offset, end] })}`)
    offset = end
  }
  const json = Buffer.from(`{${fields.join(',')}}`)
  const headerLength = Math.ceil(json.length / 8) * 8
  const header = new Uint8Array(8 + headerLength).fill(0x20, 8)
  new DataView(header.buffer).setBigUint64(0, BigInt(headerLength), true)
  header.set(json, 8)
  return [header, ...ordered.map(([, tensor]) => tensorBytes(tensor))]
}

/** The reference implementation's order of types. */
const typeOrder: Record<DType, number> = { bool: 0, uint8: 1, int32: 2, float32: 3, float64: 4, int64: 5 }

function parseHeader(file: string, bytes: Uint8Array): ReadonlyMap<string, StrictJson> {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw invalidFile(file, 'the safetensors header is not UTF-8 text.')
  }
  try {
    const header = parseStrictJson(text)
    if (header instanceof Map) return header
  } catch (error) {
    throw invalidFile(file, `the safetensors header is not valid: ${(error as Error).message}.`)
  }
  throw invalidFile(file, 'the safetensors header is not a JSON object.')
}

function parseMetadata(file: string, value: StrictJson): ReadonlyMap<string, string> {
  if (!(value instanceof Map)) throw invalidFile(file, 'the safetensors __metadata__ is not an object.')
  for (const [key, text] of value) {
    if (typeof text !== 'string') throw invalidFile(file, `the safetensors __metadata__ ${quoted(key)} is not a string.`)
  }
  return value
}

function parseEntry(file: string, { name, value, dataStart }: { name: string; value: StrictJson; dataStart: number }): SafetensorsEntry {
  const wrong = (problem: string) => invalidFile(file, `tensor ${quoted(name)} ${problem}`)
  if (!(value instanceof Map)) throw wrong('is not described by an object.')
  const tag = value.get('dtype')
  const shape = value.get('shape')
  const offsets = value.get('data_offsets')
  const unknown = [...value.keys()].filter((key) => key !== 'dtype' && key !== 'shape' && key !== 'data_offsets')
  if (unknown.length > 0) throw wrong(`has the unknown field ${quoted(unknown[0]!)}.`)
  if (typeof tag !== 'string' || !Object.hasOwn(typeOfTag, tag)) throw wrong(`has the unknown dtype ${quoted(String(tag))}.`)
  const dtype = typeOfTag[tag]!
  const count = Array.isArray(shape) && shape.length <= maxRank ? checkedElementCount(shape) : undefined
  if (count === undefined) throw wrong('has a shape that is not a list of lengths, or is impossibly large.')
  if (
    !Array.isArray(offsets) ||
    offsets.length !== 2 ||
    !offsets.every((offset) => Number.isSafeInteger(offset) && (offset as number) >= 0)
  ) {
    throw wrong('has data_offsets that are not two byte positions.')
  }
  const [start, end] = offsets as [number, number]
  if (end - start !== count * elementTypes[dtype].bytes) {
    throw wrong(`has ${end - start} bytes; shape [${(shape as number[]).join(', ')}] of ${tag} needs ${count * elementTypes[dtype].bytes}.`)
  }
  return { dtype, shape: shape as number[], byteRange: [dataStart + start, dataStart + end] }
}

/** The data is exactly the tensors: no overlap, no hole in which something could hide, nothing beyond the end of the file. */
function requireTiling(
  file: string,
  entries: ReadonlyMap<string, SafetensorsEntry>,
  { dataStart, fileEnd }: { dataStart: number; fileEnd: number },
): void {
  const sorted = [...entries].sort(([, { byteRange: a }], [, { byteRange: b }]) => a[0] - b[0] || a[1] - b[1])
  let end = dataStart
  for (const [name, { byteRange }] of sorted) {
    if (byteRange[0] < end) throw invalidFile(file, `tensor ${quoted(name)} overlaps another.`)
    if (byteRange[0] > end) throw invalidFile(file, `${byteRange[0] - end} bytes before tensor ${quoted(name)} belong to no tensor.`)
    if (byteRange[1] > fileEnd) {
      throw invalidFile(file, `tensor ${quoted(name)} ends ${byteRange[1] - fileEnd} bytes beyond the file. Was the download cut short?`)
    }
    end = byteRange[1]
  }
  if (end !== fileEnd) throw invalidFile(file, `${fileEnd - end} bytes at the end belong to no tensor.`)
}
