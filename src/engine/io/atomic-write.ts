/**
 * Files and folders that are there whole or not at all: written aside on the same disk, flushed, and renamed to where they belong. What
 * was there before stays whole until the new one is, through a full disk, `kill -9` and a power cut.
 */

import { randomUUID } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { EngineError } from '../errors.js'
import { storageError } from './storage-errors.js'

/** Bytes to write: at once, or in pieces that are written as they come. A text is written as UTF-8. */
export type FileContent = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>

export interface WriteOptions {
  /** Checked between pieces; what was there before stays. */
  readonly signal?: AbortSignal
}

/**
 * Replaces or makes one file. Missing folders on the way are made.
 * @throws STORAGE_FULL; what `content` or `signal` throws. The file is then as it was, and nothing is left beside it.
 */
export async function writeFileAtomically(file: string, content: FileContent, options: WriteOptions = {}): Promise<void> {
  const folder = path.dirname(file)
  const aside = path.join(folder, `.${path.basename(file)}.${randomUUID()}.writing`)
  try {
    await fs.mkdir(folder, { recursive: true })
    await writeThrough(aside, content, options)
    await fs.rename(aside, file)
    await flushFolder(folder)
  } catch (error) {
    await fs.rm(aside, { force: true })
    throw storageError(error, file)
  }
}

export interface FolderWriteOptions {
  /** Put the new folder in the place of one that holds files. Without it, that is refused. */
  readonly replace?: boolean
}

/**
 * Makes a folder: `write` fills a folder aside (with `writeThrough`, so that its files are flushed), which then takes the name.
 *
 * No file system exchanges two folders at once everywhere: to replace one, it is renamed to `.<name>.previous`, and removed once the new
 * one has its name. Whoever is killed between the two renames leaves the previous one whole under that name; the next write puts it back
 * first, and `restorePrevious` does so before reading. What is written often (checkpoints) should have a new name each time.
 *
 * @returns what `write` returned
 * @throws INPUT_INVALID when the folder holds files and `replace` is not set, before anything is written; STORAGE_FULL; what `write` throws
 */
export async function writeFolderAtomically<T>(
  folder: string,
  write: (aside: string) => Promise<T>,
  { replace = false }: FolderWriteOptions = {},
): Promise<T> {
  await restorePrevious(folder)
  // A link to a folder stays one: what it leads to is replaced.
  const target = await fs.realpath(folder).catch(() => path.resolve(folder))
  await requireRoom(target, folder, replace)
  const aside = path.join(path.dirname(target), `.${path.basename(target)}.${randomUUID()}.writing`)
  try {
    await fs.mkdir(aside, { recursive: true })
    const result = await write(aside)
    await flushFolder(aside)
    await takeName(aside, target)
    return result
  } catch (error) {
    await fs.rm(aside, { recursive: true, force: true })
    throw storageError(error, folder)
  }
}

/** Puts a folder back that a process killed while it replaced it had set aside; does nothing otherwise. */
export async function restorePrevious(folder: string): Promise<void> {
  const target = path.resolve(folder)
  const isThere = (await fs.stat(target).catch(() => undefined)) !== undefined
  if (isThere) return
  await fs.rename(previousOf(target), target).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
}

const previousOf = (target: string) => path.join(path.dirname(target), `.${path.basename(target)}.previous`)

async function requireRoom(target: string, asGiven: string, replace: boolean): Promise<void> {
  const stats = await fs.stat(target).catch(() => undefined)
  if (stats === undefined) return
  const problem = !stats.isDirectory()
    ? 'is a file, not a folder.'
    : !replace && (await fs.readdir(target)).length > 0
      ? 'holds files already. Name another folder, or ask for it to be replaced.'
      : undefined
  if (problem !== undefined) throw new EngineError('INPUT_INVALID', { path: asGiven, problem })
}

async function takeName(aside: string, target: string): Promise<void> {
  const parent = path.dirname(target)
  const previous = previousOf(target)
  await fs.rm(previous, { recursive: true, force: true })
  const isReplaced = await fs.rename(target, previous).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false
      throw error
    },
  )
  try {
    await fs.rename(aside, target)
  } catch (error) {
    if (isReplaced) await fs.rename(previous, target)
    throw error
  }
  await flushFolder(parent)
  await fs.rm(previous, { recursive: true, force: true })
}

/** Writes a file that is not there yet, and returns when the disk has it. No rename: for what is in a folder that is itself set aside. */
export async function writeThrough(file: string, content: FileContent, { signal }: WriteOptions = {}): Promise<void> {
  const handle = await fs.open(file, 'wx')
  try {
    await fs.writeFile(handle, content, signal ? { signal } : {})
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Makes what was renamed or made in `folder` survive a power cut. Windows has no such call and needs none. */
export async function flushFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await fs.open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
