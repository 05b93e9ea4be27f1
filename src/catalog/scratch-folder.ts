/** A folder of one's own for what is only needed while something is taken in: `<dataDir>/incoming/<uuid>`. */

import { randomUUID } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { storageError } from '../engine/io/storage-errors.js'

/** Nothing takes this long: what is older was left by a process that was killed. */
const ABANDONED_MS = 24 * 60 * 60 * 1000

/** Removes the folder again, whatever `work` does. @throws STORAGE_FULL; what `work` throws */
export async function withScratchFolder<T>(dataDir: string, work: (folder: string) => Promise<T>): Promise<T> {
  const parent = path.join(dataDir, 'incoming')
  const folder = path.join(parent, randomUUID())
  try {
    await fs.mkdir(folder, { recursive: true })
    await removeAbandoned(parent)
    return await work(folder)
  } catch (error) {
    throw storageError(error, 'DATA_DIR')
  } finally {
    await fs.rm(folder, { recursive: true, force: true })
  }
}

async function removeAbandoned(parent: string): Promise<void> {
  for (const name of await fs.readdir(parent)) {
    const folder = path.join(parent, name)
    const stats = await fs.stat(folder).catch(() => undefined)
    if (stats && Date.now() - stats.mtimeMs > ABANDONED_MS) await fs.rm(folder, { recursive: true, force: true })
  }
}
