/**
 * Where bytes come from: a file that is read in ranges (never whole, weights are gigabytes) or an array already in memory.
 */

import { constants } from 'node:buffer'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { invariant } from '../errors.js'
import { invalidFile } from './refusals.js'

export interface ByteSource {
  /** Number of bytes. */
  readonly size: number
  /**
   * Exactly `length` bytes from `offset`, in an array that the caller owns and that is alone in its buffer. The range must lie within the
   * source: readers check what a file claims against `size` before they ask.
   */
  read(offset: number, length: number): Promise<Uint8Array>
}

/** A source that holds something open. */
export interface FileSource extends ByteSource {
  close(): Promise<void>
}

/** The most bytes one array can hold here; what a file claims must be compared with it before anything is allocated. */
export const maxArrayBytes: number = constants.MAX_LENGTH

/** libuv reads at most 2^31 - 1 bytes a call; smaller pieces also let other work in between. */
const maxReadBytes = 2 ** 26

/** A source over bytes in memory. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.byteLength,
    read: async (offset, length) => {
      requireRange(bytes.byteLength, offset, length)
      const copy = new Uint8Array(length)
      copy.set(bytes.subarray(offset, offset + length))
      return copy
    },
  }
}

/**
 * A source over a regular file, open until `close`.
 *
 * @param fileName  how errors call the file; a path only if the caller wants it shown
 * @throws FILE_INVALID when the file cannot be opened, is not a regular file, or becomes shorter while it is read
 */
export async function openFileSource(path: string, fileName: string): Promise<FileSource> {
  let handle: FileHandle | undefined
  try {
    // Before opening: to open a pipe would wait for a writer, for ever.
    if (!(await stat(path)).isFile()) throw invalidFile(fileName, 'is not a regular file.')
    handle = await open(path, 'r')
    const opened = handle
    const { size } = await opened.stat()
    return {
      size,
      read: (offset, length) => readFully(opened, { fileName, size, offset, length }),
      close: () => opened.close(),
    }
  } catch (error) {
    await handle?.close()
    const code = (error as NodeJS.ErrnoException).code
    throw code === 'FILE_INVALID' ? error : invalidFile(fileName, `cannot be opened (${code ?? String(error)}).`)
  }
}

async function readFully(
  handle: FileHandle,
  { fileName, size, offset, length }: { fileName: string; size: number; offset: number; length: number },
): Promise<Uint8Array> {
  requireRange(size, offset, length)
  // Not `alloc`: zeroing a gigabyte that is about to be overwritten costs a tenth of reading it.
  const buffer = Buffer.allocUnsafeSlow(length)
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(buffer, done, Math.min(maxReadBytes, length - done), offset + done)
    if (bytesRead === 0)
      throw invalidFile(fileName, `ended at byte ${offset + done}, ${length - done} bytes early: it became shorter while it was read.`)
    done += bytesRead
  }
  return new Uint8Array(buffer.buffer, buffer.byteOffset, length)
}

function requireRange(size: number, offset: number, length: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 && offset + length <= size
  invariant(valid, `a read of ${length} bytes at ${offset} is outside a source of ${size} bytes`)
}
