/** A folder of this machine: what is needed of it is copied into the data folder. */

import { randomUUID } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { processIdentity } from '../process-lock.js'
import { licenseOfFolder } from './card-license.js'
import { copyFiles, listFiles, neededOf, readSmallFile } from './copy-folder.js'
import type { ImportOptions } from './import-progress.js'
import { type Fetched, holds, identityOf, kept, type OpenedSource } from './opened-source.js'
import type { SelectedFiles } from './select-files.js'
import type { ImportSource } from './source.js'

export async function openFolder(source: ImportSource & { kind: 'folder' }, options: ImportOptions): Promise<OpenedSource> {
  const { folder } = source
  return {
    source,
    where: folder,
    name: path.basename(folder),
    names: await listFiles(folder),
    text: (name) => readSmallFile(folder, name),
    sha256Of: () => undefined,
    check: async (selected) => void (await neededOf(folder, selected)),
    fetch: (selected, { room }) => fetchFromFolder(folder, selected, { ...options, room }),
  }
}

async function fetchFromFolder(
  folder: string,
  selected: SelectedFiles,
  { config, onProgress, signal, room }: ImportOptions & { readonly room: string },
): Promise<Fetched> {
  const { names, weightFiles, bytes } = await neededOf(folder, selected)
  const home = path.join(config.dataDir, room)
  const aside = path.join(home, `.importing-${process.pid}-${randomUUID()}`)
  const discard = () => fs.rm(aside, { recursive: true, force: true })
  await removeAbandoned(home)
  await fs.mkdir(aside, { recursive: true })
  try {
    let doneBytes = 0
    const onBytes = (more: number) => {
      doneBytes += more
      onProgress?.({ step: 'copy', what: folder, doneBytes, totalBytes: bytes })
    }
    const files = await copyFiles(folder, aside, names, { onBytes, ...(signal && { signal }) })
    return {
      folder: aside,
      files,
      weights: weightFiles,
      license: await licenseOfFolder(folder),
      provenance: { kind: 'folder', name: path.basename(folder) },
      discard,
      async settle(id) {
        const own = path.join(home, id, identityOf(files).slice(0, 16))
        await fs.mkdir(path.dirname(own), { recursive: true })
        if (await holds(own, files)) return kept(own)
        // What is there and is not this: an import that was killed, or files that somebody removed since.
        await fs.rm(own, { recursive: true, force: true })
        await fs.rename(aside, own)
        return { folder: own, undo: () => fs.rm(own, { recursive: true, force: true }) }
      },
    }
  } catch (error) {
    await discard()
    throw error
  }
}

/** Copies that a killed import left. */
async function removeAbandoned(home: string): Promise<void> {
  for (const name of await fs.readdir(home).catch(() => [])) {
    const pid = /^\.importing-(\d+)-/.exec(name)?.[1]
    if (pid !== undefined && Number(pid) !== process.pid && processIdentity(Number(pid)) === undefined) {
      await fs.rm(path.join(home, name), { recursive: true, force: true })
    }
  }
}
