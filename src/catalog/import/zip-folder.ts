/**
 * A zip archive as a folder: written out below a folder of its own, whatever its names say. Names that lead elsewhere, that differ only in
 * case, or that are a file and a folder at once are refused before anything is written; links come out as files that hold their target.
 */

import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { isHidden, whyOutside } from '../../engine/datasets/picture-files.js'
import { openFileSource } from '../../engine/io/byte-source.js'
import { invalidFile, quoted } from '../../engine/io/refusals.js'
import { storageError } from '../../engine/io/storage-errors.js'
import { readZipDirectory, readZipEntry, type ZipEntry } from '../../engine/io/zip-reader.js'

export interface ZipFolder {
  readonly nFiles: number
  /** Of all files, unpacked. */
  readonly bytes: number
  /** Writes the files below `folder`, which is there. @throws FILE_INVALID, STORAGE_FULL; what `signal` says */
  extractTo(folder: string, signal?: AbortSignal): Promise<void>
  close(): Promise<void>
}

/** Bytes of a name, as most file systems have it; a longer one is refused here and not half-way. */
const MAX_PART_BYTES = 255
const MAX_NAME_BYTES = 1024
/** Of one file, unpacked; larger than any picture or list that is one. It is held in memory. */
const MAX_FILE_BYTES = 2 ** 28
/** Unpacked at a time, in number and in bytes. */
const AT_A_TIME = 16
const BYTES_AT_A_TIME = 2 ** 26

/**
 * Reads what is in the archive, hidden files left out, and unpacks nothing yet.
 * @param name  how messages call it
 * @throws FILE_INVALID
 */
export async function openZipFolder(file: string, name: string): Promise<ZipFolder> {
  const source = await openFileSource(file, name)
  try {
    const directory = await readZipDirectory(source, name)
    const entries = [...directory.entries.values()].filter(({ name }) => !name.endsWith('/') && !isLeftOut(name))
    requireNames(
      entries.map((entry) => entry.name),
      name,
    )
    const huge = entries.find(({ size }) => size > MAX_FILE_BYTES)
    if (huge) throw invalidFile(name, `zip entry ${quoted(huge.name)} has ${huge.size} bytes; files of up to ${MAX_FILE_BYTES} are read.`)
    return {
      nFiles: entries.length,
      bytes: entries.reduce((sum, { size }) => sum + size, 0),
      async extractTo(folder, signal) {
        const folders = new Set(entries.map((entry) => path.posix.dirname(entry.name)))
        try {
          for (const inner of folders) await mkdir(path.join(folder, inner), { recursive: true })
          for (const some of inPortions(entries)) {
            signal?.throwIfAborted()
            await Promise.all(
              some.map(async (entry) => {
                const content = await readZipEntry(source, directory, { entry, maxBytes: MAX_FILE_BYTES })
                await writeFile(path.join(folder, entry.name), content, { flag: 'wx' })
              }),
            )
          }
        } catch (error) {
          throw storageError(error, folder)
        }
      },
      close: () => source.close(),
    }
  } catch (error) {
    await source.close()
    throw error
  }
}

function* inPortions(entries: readonly ZipEntry[]): Generator<ZipEntry[]> {
  let portion: ZipEntry[] = []
  let bytes = 0
  for (const entry of entries) {
    if (portion.length === AT_A_TIME || (portion.length > 0 && bytes + entry.size > BYTES_AT_A_TIME)) {
      yield portion
      portion = []
      bytes = 0
    }
    portion.push(entry)
    bytes += entry.size
  }
  yield portion
}

function requireNames(names: readonly string[], archive: string): void {
  const refuse = (name: string, why: string) => invalidFile(archive, `zip entry ${quoted(name)} ${why}.`)
  const files = new Map<string, string>()
  for (const name of names) {
    const why = whyRefused(name)
    if (why !== undefined) throw refuse(name, why)
    // as file systems do that do not tell case, or forms of the same letter, apart
    const folded = foldedName(name)
    const other = files.get(folded)
    if (other !== undefined) throw refuse(name, `is the same file as ${quoted(other)} where case makes no difference`)
    files.set(folded, name)
  }
  for (const name of names) {
    const parts = foldedName(name).split('/')
    for (let length = 1; length < parts.length; length++) {
      if (files.has(parts.slice(0, length).join('/'))) throw refuse(name, 'is below something that is a file')
    }
  }
}

const foldedName = (name: string) => name.normalize('NFC').toLowerCase()

/** `..` is no hidden file: it is refused. */
function isLeftOut(name: string): boolean {
  return name.split('/').some((part) => part !== '.' && part !== '..' && isHidden(part))
}

function whyRefused(name: string): string | undefined {
  const isLong = Buffer.byteLength(name) > MAX_NAME_BYTES || name.split('/').some((part) => Buffer.byteLength(part) > MAX_PART_BYTES)
  return whyOutside(name) ?? (isLong ? 'is too long' : undefined)
}
