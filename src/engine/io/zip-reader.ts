/**
 * Reading zip archives, as far as .npz files and torch checkpoints need it: the directory of an archive that may be hostile, and its
 * entries.
 *
 * The reader believes nothing: entries lie within the file, in order, without overlapping; sizes that contradict each other, encryption,
 * several disks and anything before or after the known parts are refused; memory is bounded by what the caller allows.
 */

import { promisify } from 'node:util'
import { inflateRaw } from 'node:zlib'
import type { ByteSource } from './byte-source.js'
import { invalidFile, quoted } from './refusals.js'
import { crcOf, max16, max32, method, recordBytes, signature, view } from './zip-layout.js'

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
    if (entry.headerOffset + recordBytes.local + entry.storedSize > endOffset) {
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
  const header = view(await source.read(entry.headerOffset, recordBytes.local))
  if (header.getUint32(0, true) !== signature.local) throw disagree('where it is')
  const nameLength = header.getUint16(26, true)
  const start = entry.headerOffset + recordBytes.local + nameLength + header.getUint16(28, true)
  if (start + entry.storedSize > entry.endOffset) throw disagree('its length')
  const name = decodeName(await source.read(entry.headerOffset + recordBytes.local, nameLength))
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
  const tailLength = Math.min(source.size, recordBytes.end + max16 + recordBytes.locator64)
  const tailOffset = source.size - tailLength
  const tail = await source.read(tailOffset, tailLength)
  const data = view(tail)
  let at = tailLength - recordBytes.end
  while (at >= 0 && !(data.getUint32(at, true) === signature.end && at + recordBytes.end + data.getUint16(at + 20, true) === tailLength))
    at--
  if (at < 0) throw invalidFile(file, 'is not a complete zip archive: its directory, at the end, is missing. Was the download cut short?')

  const endOffset = tailOffset + at
  let count = data.getUint16(at + 10, true)
  let size = data.getUint32(at + 12, true)
  let offset = data.getUint32(at + 16, true)
  let directoryEnd = endOffset
  if (data.getUint32(at + 4, true) !== 0 || data.getUint16(at + 8, true) !== count)
    throw invalidFile(file, 'is one part of a zip archive of several disks.')
  if (at >= recordBytes.locator64 && data.getUint32(at - recordBytes.locator64, true) === signature.locator64) {
    directoryEnd = unsigned64(file, data, at - recordBytes.locator64 + 8)
    if (directoryEnd + recordBytes.end64 > endOffset - recordBytes.locator64)
      throw invalidFile(file, "the zip archive's zip64 record is outside the file.")
    const record = view(await source.read(directoryEnd, recordBytes.end64))
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
  if (at + recordBytes.central > bytes.length) throw cut()
  const header = view(bytes.subarray(at))
  if (header.getUint32(0, true) !== signature.central) throw cut()
  const nameEnd = at + recordBytes.central + header.getUint16(28, true)
  const extraEnd = nameEnd + header.getUint16(30, true)
  const next = extraEnd + header.getUint16(32, true)
  if (next > bytes.length) throw cut()
  const name = decodeName(bytes.subarray(at + recordBytes.central, nameEnd))

  const flags = header.getUint16(8, true)
  const stored = header.getUint16(10, true)
  if ((flags & 0x2041) !== 0) throw invalidFile(file, `zip entry ${quoted(name)} is encrypted.`)
  if (stored !== method.stored && stored !== method.deflated)
    throw invalidFile(file, `zip entry ${quoted(name)} is compressed by method ${stored}; only stored and deflated entries are read.`)
  const [size, storedSize, headerOffset] = wideFields(file, bytes.subarray(nameEnd, extraEnd), [
    header.getUint32(24, true),
    header.getUint32(20, true),
    header.getUint32(42, true),
  ])
  const compressed = stored === method.deflated
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
