/**
 * Bytes by content hash, in a folder: `<dataDir>/blobs/sha256/ab/abcd...`. A blob is there whole or not at all: it is written aside,
 * flushed to the disk and renamed. Reading checks the hash again, so a damaged disk is an error and never a wrong picture.
 */

import { createHash, randomUUID } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { EngineError } from '../engine/errors.js'
import { flushFolder, writeThrough } from '../engine/io/atomic-write.js'
import { storageError } from '../engine/io/storage-errors.js'

/** No write takes this long: what is older was left by a process that died. */
const ABANDONED_MS = 60 * 60 * 1000

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

export interface BlobStore {
  /** The sha256 of `bytes` in hex, once they are safe on the disk. @throws STORAGE_FULL */
  put(bytes: Uint8Array): Promise<string>
  /** The same for many at once, in their order, with fewer waits for the disk. All of them are held in memory: give it some at a time. */
  putAll(files: readonly Uint8Array[]): Promise<readonly string[]>
  /** Undefined when there is no such blob. @throws FILE_INVALID when the bytes on the disk are damaged */
  get(sha256: string): Promise<Uint8Array | undefined>
  /**
   * Removes a blob that nobody names any more. What was put within the last hour stays, even if it was there long before: whoever put it may
   * be about to name it. What is not there is no error.
   */
  remove(sha256: string): Promise<void>
}

/** How long what was put is safe from being removed. */
export const FRESH_MS = 60 * 60 * 1000

export async function openBlobStore(dataDir: string): Promise<BlobStore> {
  const root = path.join(dataDir, 'blobs/sha256')
  const writing = path.join(dataDir, 'blobs/writing')
  await fs.mkdir(root, { recursive: true })
  await fs.mkdir(writing, { recursive: true })
  await removeAbandoned(writing)
  const fileOf = (sha256: string) => path.join(root, sha256.slice(0, 2), sha256)
  /** Whether it is there whole, and from now on fresh. */
  const isKept = async (file: string, length: number, sha256: string) => (await isIntact(file, length, sha256)) && touched(file)

  return {
    async put(bytes) {
      const sha256 = hashOf(bytes)
      const file = fileOf(sha256)
      if (await isKept(file, bytes.byteLength, sha256)) return sha256
      const aside = path.join(writing, randomUUID())
      try {
        await writeThrough(aside, bytes)
        await fs.mkdir(path.dirname(file), { recursive: true })
        await fs.rename(aside, file)
        await flushFolder(path.dirname(file))
        return sha256
      } catch (error) {
        await fs.rm(aside, { force: true })
        throw storageError(error, 'DATA_DIR', bytes.byteLength)
      }
    },

    async putAll(files) {
      const hashes = files.map(hashOf)
      const fresh = new Map(files.map((bytes, index) => [hashes[index]!, bytes]))
      const asides = new Map<string, string>()
      try {
        await Promise.all(
          [...fresh].map(async ([sha256, bytes]) => {
            if (await isKept(fileOf(sha256), bytes.byteLength, sha256)) return
            const aside = path.join(writing, randomUUID())
            asides.set(sha256, aside)
            await writeThrough(aside, bytes)
          }),
        )
        const folders = new Set([...asides.keys()].map((sha256) => path.dirname(fileOf(sha256))))
        await Promise.all([...folders].map((folder) => fs.mkdir(folder, { recursive: true })))
        await Promise.all([...asides].map(([sha256, aside]) => fs.rename(aside, fileOf(sha256))))
        await Promise.all([...folders].map(flushFolder))
        return hashes
      } catch (error) {
        await Promise.all([...asides.values()].map((aside) => fs.rm(aside, { force: true })))
        throw storageError(error, 'DATA_DIR')
      }
    },

    async get(sha256) {
      let bytes: Buffer
      try {
        bytes = await fs.readFile(fileOf(sha256))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw error
      }
      if (hashOf(bytes) !== sha256) {
        throw new EngineError('FILE_INVALID', {
          file: `sha256:${sha256}`,
          problem: 'its bytes on the disk are damaged (they have another sha256). Upload the file again, which repairs it.',
        })
      }
      return bytes
    },

    async remove(sha256) {
      const file = fileOf(sha256)
      if (!(await isStale(file))) return
      // aside first: whoever puts the same now writes it anew, and whoever found it a moment ago has made it fresh
      const aside = path.join(writing, randomUUID())
      const isMoved = await fs.rename(file, aside).then(
        () => true,
        () => false,
      )
      if (!isMoved) return
      if (await isStale(aside)) await fs.rm(aside, { force: true })
      else await fs.rename(aside, file)
    },
  }
}

const isStale = async (file: string) => {
  const stats = await fs.stat(file).catch(() => undefined)
  return stats !== undefined && Date.now() - stats.mtimeMs > FRESH_MS
}

/** False when it has gone meanwhile. */
const touched = (file: string) =>
  fs.utimes(file, new Date(), new Date()).then(
    () => true,
    () => false,
  )

/** A damaged blob is written again by whoever has its bytes. */
async function isIntact(file: string, length: number, sha256: string): Promise<boolean> {
  const stats = await fs.stat(file).catch(() => undefined)
  return stats?.size === length && hashOf(await fs.readFile(file)) === sha256
}

async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await fs.readdir(folder)) {
    const file = path.join(folder, name)
    const stats = await fs.stat(file).catch(() => undefined)
    if (stats && Date.now() - stats.mtimeMs > ABANDONED_MS) await fs.rm(file, { force: true })
  }
}
