/**
 * Zip archives, as far as .npz files and torch checkpoints need them: the directory of an archive that may be hostile, its entries, and a
 * writer of stored (uncompressed) entries that never copies what it stores.
 *
 * The reader believes nothing: entries lie within the file, in order, without overlapping; sizes that contradict each other, encryption,
 * several disks and anything before or between the known parts are refused; memory is bounded by what the caller allows.
 *
 * @see PKWARE APPNOTE.TXT 6.3.10, sections 4.3 (layout) and 4.5.3 (zip64)
 */

import { promisify } from 'node:util'
import { crc32, inflateRaw } from 'node:zlib'
import type { ByteSource } from './byte-source.js'
import { invalidFile, quoted } from './refusals.js'

export interface ZipEntry {
  readonly name: string
  readonly compressed: boolean
  /** Bytes of the content. */
  readonly size: number
  /** Bytes it takes in the file. */
  readonly storedSize: number
  readonly crc: number
  readonly headerOffset: number
  /** Where the next entry or the directory begins. */
  readonly endOffset: number
}

export interface ZipDirectory {
  readonly file: string
  readonly entries: ReadonlyMap<string, ZipEntry>
}

const signature = {
  local: 0x04034b50,
  central: 0x02014b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator64: 0x07064b50,
  descriptor: 0x08074b50,
} as const
const localHeaderBytes = 30
const centralHeaderBytes = 46
const endBytes = 22
const end64Bytes = 56
const locator64Bytes = 20
const max16 = 0xffff
const max32 = 0xffffffff

const maxEntries = 100_000
const maxDirectoryBytes = 2 ** 25
/** DEFLATE cannot expand more than this; a directory that claims more lies. */
const maxDeflateRatio = 1032

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const inflate = promisify<Uint8Array, { maxOutputLength: number }, Uint8Array>(inflateRaw)

/** True when the bytes begin as a zip archive does. */
export function looksLikeZip(start: Uint8Array): boolean {
  return start.length >= 4 && view(start).getUint32(0, true) === signature.local
}

/** Reads and checks an archive's directory; no content. @throws FILE_INVALID */
export async function readZipDirectory(source: ByteSource, file: string): Promise<ZipDirectory> {
  const { offset, size, count } = await findDirectory(source, file)
  if (count > maxEntries) throw invalidFile(file, `the zip archive claims ${count} entries; at most ${maxEntries} are read.`)
  if (size > maxDirectoryBytes)
    throw invalidFile(file, `the zip archive's directory has ${size} bytes; at most ${maxDirectoryBytes} are read.`)
  const bytes = await source.read(offset, size)
  const parsed: Omit<ZipEntry, 'endOffset'>[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    const { entry, next } = parseCentralHeader(file, bytes, at)
    parsed.push(entry)
    at = next
  }
  if (at !== size) throw invalidFile(file, `the zip archive's directory does not hold the ${count} entries it claims.`)

  parsed.sort((a, b) => a.headerOffset - b.headerOffset)
  const entries = new Map<string, ZipEntry>()
  for (const [i, entry] of parsed.entries()) {
    const endOffset = parsed[i + 1]?.headerOffset ?? offset
    if (entry.headerOffset + localHeaderBytes + entry.storedSize > endOffset) {
      throw invalidFile(file, `zip entry ${quoted(entry.name)} overlaps what follows it or reaches beyond the file.`)
    }
    if (entries.has(entry.name)) throw invalidFile(file, `the zip archive has two entries named ${quoted(entry.name)}.`)
    entries.set(entry.name, { ...entry, endOffset })
  }
  return { file, entries }
}

/** Where an entry's stored bytes begin, after checking that its own header agrees with the directory. @throws FILE_INVALID */
export async function locateEntry(source: ByteSource, directory: ZipDirectory, entry: ZipEntry): Promise<number> {
  const disagree = (what: string) =>
    invalidFile(directory.file, `zip entry ${quoted(entry.name)}: its header and the directory disagree about ${what}.`)
  const header = view(await source.read(entry.headerOffset, localHeaderBytes))
  if (header.getUint32(0, true) !== signature.local) throw disagree('where it is')
  const nameLength = header.getUint16(26, true)
  const start = entry.headerOffset + localHeaderBytes + nameLength + header.getUint16(28, true)
  if (start + entry.storedSize > entry.endOffset) throw disagree('its length')
  const name = decodeName(await source.read(entry.headerOffset + localHeaderBytes, nameLength))
  if (name !== entry.name) throw disagree('its name')
  if ((header.getUint16(8, true) !== 0) !== entry.compressed) throw disagree('its compression')
  // Sizes follow the content (a "data descriptor") when bit 3 is set, and are in the zip64 field when they are all ones.
  const sizesLater = (header.getUint16(6, true) & 8) !== 0
  const storedSize = header.getUint32(18, true)
  if (!sizesLater && storedSize !== max32 && storedSize !== entry.storedSize) throw disagree('its length')
  return start
}

/**
 * The content of an entry, its checksum verified.
 *
 * @param maxBytes  the most that a compressed entry may grow to
 * @throws FILE_INVALID
 */
export async function readZipEntry(
  source: ByteSource,
  directory: ZipDirectory,
  { entry, maxBytes }: { entry: ZipEntry; maxBytes: number },
): Promise<Uint8Array> {
  const { file } = directory
  const start = await locateEntry(source, directory, entry)
  if (entry.size > maxBytes)
    throw invalidFile(file, `zip entry ${quoted(entry.name)} has ${entry.size} bytes; at most ${maxBytes} are read.`)
  const stored = await source.read(start, entry.storedSize)
  const content = entry.compressed ? await inflateEntry(file, entry, stored) : stored
  checkCrc(file, entry, crcOf(content))
  return content
}

/** @throws FILE_INVALID when the checksum of an entry's content is not the recorded one */
export function checkCrc(file: string, entry: ZipEntry, crc: number): void {
  if (crc !== entry.crc) throw invalidFile(file, `zip entry ${quoted(entry.name)} is damaged: its checksum does not match its content.`)
}

/** CRC-32, also of a part that continues another. */
export function crcOf(bytes: Uint8Array, previous = 0): number {
  let crc = previous
  // zlib counts in 32 bits.
  for (let at = 0; at < bytes.length; at += 2 ** 30) crc = crc32(bytes.subarray(at, at + 2 ** 30), crc)
  return crc
}

async function inflateEntry(file: string, entry: ZipEntry, stored: Uint8Array): Promise<Uint8Array> {
  try {
    // Stops at the promised size: an entry that would grow beyond it is refused by then, whatever it would have become.
    const content = await inflate(stored, { maxOutputLength: Math.max(entry.size, 1) })
    if (content.byteLength === entry.size) return content
  } catch {
    // Reported below, like a wrong length.
  }
  throw invalidFile(file, `zip entry ${quoted(entry.name)} does not decompress to the ${entry.size} bytes it claims.`)
}

/** Finds the directory from the end of the file; the end record must be the last thing in it. */
async function findDirectory(source: ByteSource, file: string): Promise<{ offset: number; size: number; count: number }> {
  const tailLength = Math.min(source.size, endBytes + max16 + locator64Bytes)
  const tailOffset = source.size - tailLength
  const tail = await source.read(tailOffset, tailLength)
  const data = view(tail)
  let at = tailLength - endBytes
  while (at >= 0 && !(data.getUint32(at, true) === signature.end && at + endBytes + data.getUint16(at + 20, true) === tailLength)) at--
  if (at < 0) throw invalidFile(file, 'is not a complete zip archive: its directory, at the end, is missing. Was the download cut short?')

  const endOffset = tailOffset + at
  let count = data.getUint16(at + 10, true)
  let size = data.getUint32(at + 12, true)
  let offset = data.getUint32(at + 16, true)
  let directoryEnd = endOffset
  if (data.getUint32(at + 4, true) !== 0 || data.getUint16(at + 8, true) !== count)
    throw invalidFile(file, 'is one part of a zip archive of several disks.')
  if (at >= locator64Bytes && data.getUint32(at - locator64Bytes, true) === signature.locator64) {
    directoryEnd = unsigned64(file, data, at - locator64Bytes + 8)
    if (directoryEnd + end64Bytes > endOffset - locator64Bytes)
      throw invalidFile(file, "the zip archive's zip64 record is outside the file.")
    const record = view(await source.read(directoryEnd, end64Bytes))
    if (record.getUint32(0, true) !== signature.end64) throw invalidFile(file, "the zip archive's zip64 record is missing.")
    if (record.getUint32(16, true) !== 0 || record.getUint32(20, true) !== 0)
      throw invalidFile(file, 'is one part of a zip archive of several disks.')
    count = unsigned64(file, record, 32)
    size = unsigned64(file, record, 40)
    offset = unsigned64(file, record, 48)
  }
  if (offset + size !== directoryEnd) throw invalidFile(file, "the zip archive's directory is not where its end record says.")
  return { offset, size, count }
}

function parseCentralHeader(file: string, bytes: Uint8Array, at: number): { entry: Omit<ZipEntry, 'endOffset'>; next: number } {
  const cut = () => invalidFile(file, "the zip archive's directory is damaged.")
  if (at + centralHeaderBytes > bytes.length) throw cut()
  const header = view(bytes.subarray(at))
  if (header.getUint32(0, true) !== signature.central) throw cut()
  const nameEnd = at + centralHeaderBytes + header.getUint16(28, true)
  const extraEnd = nameEnd + header.getUint16(30, true)
  const next = extraEnd + header.getUint16(32, true)
  if (next > bytes.length) throw cut()
  const name = decodeName(bytes.subarray(at + centralHeaderBytes, nameEnd))

  const flags = header.getUint16(8, true)
  const method = header.getUint16(10, true)
  if ((flags & 0x2041) !== 0) throw invalidFile(file, `zip entry ${quoted(name)} is encrypted.`)
  if (method !== 0 && method !== 8)
    throw invalidFile(file, `zip entry ${quoted(name)} is compressed by method ${method}; only stored and deflated entries are read.`)
  const [size, storedSize, headerOffset] = wideFields(file, bytes.subarray(nameEnd, extraEnd), [
    header.getUint32(24, true),
    header.getUint32(20, true),
    header.getUint32(42, true),
  ])
  const compressed = method === 8
  if (compressed ? size > storedSize * maxDeflateRatio : size !== storedSize) {
    throw invalidFile(file, `zip entry ${quoted(name)} claims ${size} bytes of content in ${storedSize}, which cannot be.`)
  }
  return { entry: { name, compressed, size, storedSize, crc: header.getUint32(16, true), headerOffset }, next }
}

/** Replaces each field that is all ones by its 64-bit value from the zip64 extra field, which holds only those, in this order. */
function wideFields(file: string, extra: Uint8Array, fields: [number, number, number]): [number, number, number] {
  if (!fields.includes(max32)) return fields
  const data = view(extra)
  for (let at = 0; at + 4 <= extra.length; ) {
    const end = at + 4 + data.getUint16(at + 2, true)
    if (data.getUint16(at, true) === 1 && end <= extra.length) {
      let from = at + 4
      return fields.map((field) => {
        if (field !== max32) return field
        if (from + 8 > end) throw invalidFile(file, "the zip archive's zip64 field is too short.")
        from += 8
        return unsigned64(file, data, from - 8)
      }) as [number, number, number]
    }
    at = end
  }
  return fields
}

function unsigned64(file: string, data: DataView, at: number): number {
  const value = Number(data.getBigUint64(at, true))
  if (!Number.isSafeInteger(value)) throw invalidFile(file, 'the zip archive claims a size beyond every file.')
  return value
}

/** Names are UTF-8 when marked so, and in practice otherwise too; what is not is read byte by byte, so that it can be shown. */
function decodeName(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch {
    return Buffer.from(bytes).toString('latin1')
  }
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

// --- writing

export interface ZipContent {
  readonly name: string
  /** The content, in pieces, which are passed on as they are. */
  readonly chunks: readonly Uint8Array[]
}

/** 1980-01-01, the earliest date that zip can say: the same content makes the same bytes. */
const dosDate = 0x21

/**
 * A zip archive of stored entries, as chunks to send one after another; the content's own chunks are among them, not copied. zip64 records
 * are written where an archive needs them and only there.
 */
export function zipChunks(contents: readonly ZipContent[]): Uint8Array[] {
  const chunks: Uint8Array[] = []
  const central: Uint8Array[] = []
  let offset = 0
  for (const content of contents) {
    const name = new TextEncoder().encode(content.name)
    const size = content.chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0)
    const crc = content.chunks.reduce((crc, chunk) => crcOf(chunk, crc), 0)
    const local = localHeader({ name, size, crc })
    central.push(centralHeader({ name, size, crc, offset }))
    chunks.push(local, ...content.chunks)
    offset += local.byteLength + size
  }
  const size = central.reduce((sum, header) => sum + header.byteLength, 0)
  chunks.push(...central, endRecord({ count: contents.length, size, offset }))
  return chunks
}

interface EntryFields {
  readonly name: Uint8Array
  readonly size: number
  readonly crc: number
}

function localHeader({ name, size, crc }: EntryFields): Uint8Array {
  const wide = size >= max32
  const bytes = new Uint8Array(localHeaderBytes + name.length + (wide ? 20 : 0))
  const data = view(bytes)
  data.setUint32(0, signature.local, true)
  writeShared(data, 4, { size, crc, wide })
  data.setUint16(26, name.length, true)
  data.setUint16(28, wide ? 20 : 0, true)
  bytes.set(name, localHeaderBytes)
  if (wide) writeWide(data, localHeaderBytes + name.length, [size, size])
  return bytes
}

function centralHeader({ name, size, crc, offset }: EntryFields & { offset: number }): Uint8Array {
  const wide = [...(size >= max32 ? [size, size] : []), ...(offset >= max32 ? [offset] : [])]
  const extraBytes = wide.length > 0 ? 4 + 8 * wide.length : 0
  const bytes = new Uint8Array(centralHeaderBytes + name.length + extraBytes)
  const data = view(bytes)
  data.setUint32(0, signature.central, true)
  data.setUint16(4, wide.length > 0 ? 45 : 20, true)
  writeShared(data, 6, { size, crc, wide: wide.length > 0 })
  data.setUint16(28, name.length, true)
  data.setUint16(30, extraBytes, true)
  data.setUint32(42, Math.min(offset, max32), true)
  bytes.set(name, centralHeaderBytes)
  if (wide.length > 0) writeWide(data, centralHeaderBytes + name.length, wide)
  return bytes
}

/** The fields that a local and a central header share, from "version needed" to the content's size. */
function writeShared(data: DataView, at: number, { size, crc, wide }: { size: number; crc: number; wide: boolean }): void {
  data.setUint16(at, wide ? 45 : 20, true)
  // Bit 11: the name is UTF-8.
  data.setUint16(at + 2, 0x800, true)
  data.setUint16(at + 8, dosDate, true)
  data.setUint32(at + 10, crc, true)
  data.setUint32(at + 14, Math.min(size, max32), true)
  data.setUint32(at + 18, Math.min(size, max32), true)
}

function writeWide(data: DataView, at: number, values: readonly number[]): void {
  data.setUint16(at, 1, true)
  data.setUint16(at + 2, 8 * values.length, true)
  for (const [i, value] of values.entries()) data.setBigUint64(at + 4 + 8 * i, BigInt(value), true)
}

function endRecord({ count, size, offset }: { count: number; size: number; offset: number }): Uint8Array {
  const wide = count >= max16 || size >= max32 || offset >= max32
  const bytes = new Uint8Array((wide ? end64Bytes + locator64Bytes : 0) + endBytes)
  const data = view(bytes)
  if (wide) {
    data.setUint32(0, signature.end64, true)
    data.setBigUint64(4, BigInt(end64Bytes - 12), true)
    data.setUint16(12, 45, true)
    data.setUint16(14, 45, true)
    data.setBigUint64(24, BigInt(count), true)
    data.setBigUint64(32, BigInt(count), true)
    data.setBigUint64(40, BigInt(size), true)
    data.setBigUint64(48, BigInt(offset), true)
    data.setUint32(end64Bytes, signature.locator64, true)
    data.setBigUint64(end64Bytes + 8, BigInt(offset + size), true)
    data.setUint32(end64Bytes + 16, 1, true)
  }
  const at = bytes.length - endBytes
  data.setUint32(at, signature.end, true)
  data.setUint16(at + 8, Math.min(count, max16), true)
  data.setUint16(at + 10, Math.min(count, max16), true)
  data.setUint32(at + 12, Math.min(size, max32), true)
  data.setUint32(at + 16, Math.min(offset, max32), true)
  return bytes
}
