/**
 * What the reader and the writer of zip archives share: the records' signatures and lengths, and the checksum.
 *
 * @see PKWARE APPNOTE.TXT 6.3.10, sections 4.3 (layout) and 4.5.3 (zip64)
 */

import { crc32 } from 'node:zlib'

export const signature = { local: 0x04034b50, central: 0x02014b50, end: 0x06054b50, end64: 0x06064b50, locator64: 0x07064b50 } as const

/** Lengths of the records without what varies: names, extra fields, comments. */
export const recordBytes = { local: 30, central: 46, end: 22, end64: 56, locator64: 20 } as const

/** How an entry is compressed. */
export const method = { stored: 0, deflated: 8 } as const

/** All ones: the largest value of a field, and the sign that the value is in a zip64 record. */
export const max16 = 0xffff
export const max32 = 0xffffffff

/** CRC-32, also of a part that continues another. */
export function crcOf(bytes: Uint8Array, previous = 0): number {
  let crc = previous
  // zlib counts in 32 bits.
  for (let at = 0; at < bytes.length; at += 2 ** 30) crc = crc32(bytes.subarray(at, at + 2 ** 30), crc)
  return crc
}

export function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
