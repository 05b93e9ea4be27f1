/** The name of a data folder: machines that mount the same folder, under whatever path, find the same name in it. */

import { randomUUID } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { storageError } from '../engine/io/storage-errors.js'

const NAME = /^folder:[0-9a-f-]{36}$/

/** @throws STORAGE_FULL */
export async function placeOf(dataDir: string): Promise<string> {
  const file = path.join(dataDir, 'place')
  for (;;) {
    const known = await fs.readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
      return undefined
    })
    if (known !== undefined && NAME.test(known.trim())) return known.trim()
    const aside = `${file}.${randomUUID()}`
    try {
      await fs.mkdir(dataDir, { recursive: true })
      await fs.writeFile(aside, `folder:${randomUUID()}\n`, { flush: true })
      // whatever is there and is no name
      if (known !== undefined) await fs.rm(file, { force: true })
      // of two that start at once one is first, and both take its name
      await fs.link(aside, file).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error
      })
    } catch (error) {
      throw storageError(error, 'DATA_DIR')
    } finally {
      await fs.rm(aside, { force: true })
    }
  }
}
