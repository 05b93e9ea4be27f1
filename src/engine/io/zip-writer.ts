/**
 * Writing zip archives, of stored entries without copying what is stored.
 */

import { deflateRawSync } from 'node:zlib'
import { crcOf, max16, max32, method, recordBytes, signature, view } from './zip-layout.js'

export interface ZipContent {
  readonly name: string
  /** The content, in pieces, which are passed on as they are. */
  readonly chunks: readonly Uint8Array[]
  /** The content begins at a multiple of this many bytes. */
  readonly alignTo?: number
  /** Compress it, for text; stored as it is unless said. */
  readonly deflated?: boolean
}

/** 1980-01-01, the earliest date that zip can say: the same content makes the same bytes. */
const dosDate = 0x21

/**
 * A zip archive as chunks to send one after another; the chunks of stored entries are among them, not copied. zip64 records
 * are written where an archive needs them and only there.
 */
export function zipChunks(contents: readonly ZipContent[]): Uint8Array[] {
  return [...archive(contents, crcOf)]
}

/** A file that is made while it is sent. */
export interface ByteStream {
  readonly byteLength: number
  readonly chunks: Iterable<Uint8Array>
}

/** The same archive, whose checksums are computed entry by entry as the chunks are asked for: the first can be on its way before the last. */
export function zipStream(contents: readonly ZipContent[]): ByteStream {
  let byteLength = 0
  for (const chunk of archive(contents, () => 0)) byteLength += chunk.byteLength
  return { byteLength, chunks: archive(contents, crcOf) }
}

function* archive(contents: readonly ZipContent[], crcOfPart: typeof crcOf): Generator<Uint8Array> {
  const central: Uint8Array[] = []
  let offset = 0
  for (const content of contents) {
    const name = new TextEncoder().encode(content.name)
    const size = sizeOf(content.chunks)
    const crc = content.chunks.reduce((crc, chunk) => crcOfPart(chunk, crc), 0)
    const chunks = content.deflated ? [deflateRawSync(Buffer.concat(content.chunks), { level: 9 })] : content.chunks
    const fields = { name, size, storedSize: sizeOf(chunks), crc, method: content.deflated ? method.deflated : method.stored }
    const local = localHeader(fields, { offset, alignTo: content.alignTo ?? 1 })
    central.push(centralHeader({ ...fields, offset }))
    yield local
    yield* chunks
    offset += local.byteLength + fields.storedSize
  }
  const size = central.reduce((sum, header) => sum + header.byteLength, 0)
  yield* central
  yield endRecord({ count: contents.length, size, offset })
}

const sizeOf = (chunks: readonly Uint8Array[]) => chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0)

interface EntryFields {
  readonly name: Uint8Array
  readonly size: number
  /** As it stands in the archive. */
  readonly storedSize: number
  readonly crc: number
  readonly method: number
}

/** @param place  where the header begins, and what the content behind it is aligned to */
function localHeader(fields: EntryFields, place: { readonly offset: number; readonly alignTo: number }): Uint8Array {
  const { name, size, storedSize } = fields
  const wide = isWide(fields)
  const extraBytes = wide ? 20 : 0
  const paddingAt = recordBytes.local + name.length + extraBytes
  const paddingBytes = place.alignTo === 1 ? 0 : paddingFor(place.offset + paddingAt, place.alignTo)
  const bytes = new Uint8Array(paddingAt + paddingBytes)
  const data = view(bytes)
  data.setUint32(0, signature.local, true)
  writeShared(data, 4, { ...fields, wide })
  data.setUint16(26, name.length, true)
  data.setUint16(28, extraBytes + paddingBytes, true)
  bytes.set(name, recordBytes.local)
  if (wide) writeWide(data, recordBytes.local + name.length, [size, storedSize])
  if (paddingBytes > 0) {
    data.setUint16(paddingAt, paddingField, true)
    data.setUint16(paddingAt + 2, paddingBytes - 4, true)
    bytes.fill(paddingByte, paddingAt + 4)
  }
  return bytes
}

/** The extra field that torch pads with, "FB", and what it fills it with, "Z". */
const paddingField = 0x4246
const paddingByte = 0x5a

/** Length of a padding field, its header of 4 bytes included, after which `at` is a multiple of `alignTo`. */
function paddingFor(at: number, alignTo: number): number {
  return 4 + ((alignTo - ((at + 4) % alignTo)) % alignTo)
}

/** Whether either size needs zip64; then both are written there. */
function isWide({ size, storedSize }: EntryFields): boolean {
  return Math.max(size, storedSize) >= max32
}

function centralHeader({ offset, ...fields }: EntryFields & { offset: number }): Uint8Array {
  const { name, size, storedSize } = fields
  const wide = [...(isWide(fields) ? [size, storedSize] : []), ...(offset >= max32 ? [offset] : [])]
  const extraBytes = wide.length > 0 ? 4 + 8 * wide.length : 0
  const bytes = new Uint8Array(recordBytes.central + name.length + extraBytes)
  const data = view(bytes)
  data.setUint32(0, signature.central, true)
  data.setUint16(4, wide.length > 0 ? 45 : 20, true)
  writeShared(data, 6, { ...fields, wide: wide.length > 0 })
  data.setUint16(28, name.length, true)
  data.setUint16(30, extraBytes, true)
  data.setUint32(42, Math.min(offset, max32), true)
  bytes.set(name, recordBytes.central)
  if (wide.length > 0) writeWide(data, recordBytes.central + name.length, wide)
  return bytes
}

/** The fields that a local and a central header share, from "version needed" to the content's size. */
function writeShared(data: DataView, at: number, fields: EntryFields & { readonly wide: boolean }): void {
  data.setUint16(at, fields.wide ? 45 : 20, true)
  // Bit 11: the name is UTF-8.
  data.setUint16(at + 2, 0x800, true)
  data.setUint16(at + 4, fields.method, true)
  data.setUint16(at + 8, dosDate, true)
  data.setUint32(at + 10, fields.crc, true)
  const inWide = isWide(fields)
  data.setUint32(at + 14, inWide ? max32 : fields.storedSize, true)
  data.setUint32(at + 18, inWide ? max32 : fields.size, true)
}

function writeWide(data: DataView, at: number, values: readonly number[]): void {
  data.setUint16(at, 1, true)
  data.setUint16(at + 2, 8 * values.length, true)
  for (const [i, value] of values.entries()) data.setBigUint64(at + 4 + 8 * i, BigInt(value), true)
}

function endRecord({ count, size, offset }: { count: number; size: number; offset: number }): Uint8Array {
  const wide = count >= max16 || size >= max32 || offset >= max32
  const bytes = new Uint8Array((wide ? recordBytes.end64 + recordBytes.locator64 : 0) + recordBytes.end)
  const data = view(bytes)
  if (wide) {
    data.setUint32(0, signature.end64, true)
    data.setBigUint64(4, BigInt(recordBytes.end64 - 12), true)
    data.setUint16(12, 45, true)
    data.setUint16(14, 45, true)
    data.setBigUint64(24, BigInt(count), true)
    data.setBigUint64(32, BigInt(count), true)
    data.setBigUint64(40, BigInt(size), true)
    data.setBigUint64(48, BigInt(offset), true)
    data.setUint32(recordBytes.end64, signature.locator64, true)
    data.setBigUint64(recordBytes.end64 + 8, BigInt(offset + size), true)
    data.setUint32(recordBytes.end64 + 16, 1, true)
  }
  const at = bytes.length - recordBytes.end
  data.setUint32(at, signature.end, true)
  data.setUint16(at + 8, Math.min(count, max16), true)
  data.setUint16(at + 10, Math.min(count, max16), true)
  data.setUint32(at + 12, Math.min(size, max32), true)
  data.setUint32(at + 16, Math.min(offset, max32), true)
  return bytes
}
