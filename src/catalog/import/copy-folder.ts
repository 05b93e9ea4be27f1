/**
 * The files of a model or an SAE from a folder on this machine into the data folder. Only what it needs is copied, nothing is followed out of the
 * folder, and what is copied is what is hashed.
 */

import { constants, createReadStream, createWriteStream } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { EngineError } from '../../engine/errors.js'
import { storageError } from '../../engine/io/storage-errors.js'
import type { FileRecord } from '../catalog.js'
import { hashesOf } from './hub-cache.js'
import { isIndex, MAX_INDEX_BYTES, type SelectedFiles, selectFiles, shardsOf } from './select-files.js'

export interface FolderFiles extends SelectedFiles {
  /** The weight files proper, without an index. */
  readonly weightFiles: readonly string[]
  readonly names: readonly string[]
  readonly bytes: number
}

/** The model of a folder. @throws FILE_INVALID, FILE_UNSAFE */
export async function readFolder(folder: string): Promise<FolderFiles> {
  return neededOf(folder, selectFiles(await listFiles(folder), folder))
}

/** Names of the files directly in a folder. */
export async function listFiles(folder: string): Promise<string[]> {
  const entries = await fs.readdir(folder, { withFileTypes: true })
  return entries.filter((entry) => entry.isFile() || entry.isSymbolicLink()).map(({ name }) => name)
}

/** Of what was selected: every file, checked to be one of the folder. @throws FILE_INVALID, FILE_UNSAFE */
export async function neededOf(folder: string, selected: SelectedFiles): Promise<FolderFiles> {
  const weightFiles = isIndex(selected.weights)
    ? shardsOf(selected.weights, await readSmallFile(folder, selected.weights), await listFiles(folder))
    : [selected.weights]
  const needed = [...new Set([...selected.descriptions, selected.weights, ...weightFiles])]
  let bytes = 0
  for (const name of needed) bytes += await checkFile(folder, name)
  return { ...selected, weightFiles, names: needed, bytes }
}

/** The text of an index or a configuration. @throws FILE_INVALID, FILE_UNSAFE */
export async function readSmallFile(folder: string, name: string): Promise<string> {
  if ((await checkFile(folder, name)) > MAX_INDEX_BYTES)
    throw new EngineError('FILE_INVALID', { file: name, problem: 'is too long for an index or a configuration.' })
  return fs.readFile(path.join(folder, name), 'utf8')
}

/** The length of a regular file that is in the folder, or in the blobs of the hub cache whose snapshot the folder is. */
async function checkFile(folder: string, name: string): Promise<number> {
  const file = path.join(folder, name)
  const real = await fs.realpath(file).catch(() => undefined)
  if (real === undefined) throw new EngineError('FILE_INVALID', { file, problem: 'is a link to nothing.' })
  const own = await fs.realpath(folder)
  const homes = [own, ...(path.basename(path.dirname(own)) === 'snapshots' ? [path.resolve(own, '../../blobs')] : [])]
  if (!homes.some((home) => real.startsWith(home + path.sep))) {
    throw new EngineError('FILE_UNSAFE', {
      file,
      problem: `it is a link out of the folder, to ${real}`,
      instead: 'Put the file itself there.',
    })
  }
  const stats = await fs.stat(real)
  if (!stats.isFile()) throw new EngineError('FILE_INVALID', { file, problem: 'is not a regular file.' })
  await refusePointer(file, stats.size)
  return stats.size
}

/** A repository cloned without Git LFS holds a few lines of text in the place of each large file. */
async function refusePointer(file: string, size: number): Promise<void> {
  if (size > 1024) return
  const text = await fs.readFile(file, 'latin1')
  if (text.startsWith('version https://git-lfs.github.com/spec/')) {
    throw new EngineError('FILE_INVALID', {
      file,
      problem: 'is a Git LFS pointer and not the file itself. Run "git lfs pull" in its repository.',
    })
  }
}

/**
 * Copies `names` from `folder` to `target`, which must exist: as a clone of the blocks where the file system can, byte by byte elsewhere.
 *
 * @throws STORAGE_FULL
 */
export async function copyFiles(
  folder: string,
  target: string,
  names: readonly string[],
  { onBytes, signal }: { readonly onBytes: (more: number) => void; readonly signal?: AbortSignal },
): Promise<FileRecord[]> {
  const records: FileRecord[] = []
  for (const name of names) {
    signal?.throwIfAborted()
    const [from, to] = [path.join(folder, name), path.join(target, name)]
    try {
      await copyFile(from, to, onBytes, signal)
    } catch (error) {
      throw storageError(error, to)
    }
    const { bytes, sha256 } = await hashesOf(to, signal)
    records.push({ path: name, bytes, sha256 })
  }
  return records
}

async function copyFile(from: string, to: string, onBytes: (more: number) => void, signal?: AbortSignal): Promise<void> {
  try {
    await fs.copyFile(from, to, constants.COPYFILE_FICLONE_FORCE)
    onBytes((await fs.stat(to)).size)
    return
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw error
    await fs.rm(to, { force: true })
  }
  const source = createReadStream(from, { highWaterMark: 2 ** 20 })
  source.on('data', (chunk) => onBytes(chunk.length))
  await pipeline(source, createWriteStream(to, { flags: 'wx', flush: true }), signal ? { signal } : {})
}

/** sha256 of files where they are. */
export async function recordsOf(folder: string, names: readonly string[], signal?: AbortSignal): Promise<FileRecord[]> {
  const records: FileRecord[] = []
  for (const name of names) {
    const { bytes, sha256 } = await hashesOf(path.join(folder, name), signal)
    records.push({ path: name, bytes, sha256 })
  }
  return records
}
