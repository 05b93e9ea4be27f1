/**
 * A folder or a repository whose files are known and not yet here: what importing a model and importing an SAE have in common.
 */

import { createHash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import type { FileRecord, Provenance } from '../catalog.js'
import type { SelectedFiles } from './select-files.js'
import type { ImportSource } from './source.js'

export interface OpenedSource {
  readonly source: ImportSource
  /** For messages: the folder, or the repository at its commit. */
  readonly where: string
  /** Of its files. */
  readonly names: readonly string[]
  /** A name for what is in it: the repository, or the folder's own. */
  readonly name: string
  /** The text of a small file. @throws FILE_INVALID when it is not small, and what bringing it here throws */
  text(name: string): Promise<string>
  /** As far as it is known before the file is here: the hub tells it of large ones. */
  sha256Of(file: string): string | undefined
  /** Looks at files that are here already: that they are regular files of the folder. @throws FILE_INVALID, FILE_UNSAFE */
  check(selected: SelectedFiles): Promise<void>
  /**
   * Brings files here.
   *
   * @param room      below the data folder, where a folder's files are copied to
   * @param beforeWeights  called with the names of the weight files before they are fetched
   */
  fetch(
    selected: SelectedFiles,
    options: { readonly room: 'models' | 'saes'; readonly beforeWeights?: (weights: readonly string[]) => Promise<void> },
  ): Promise<Fetched>
}

/** Files where they can be inspected. */
export interface Fetched {
  readonly folder: string
  readonly files: readonly FileRecord[]
  /** The paths of those that are weights. */
  readonly weights: readonly string[]
  readonly license: string | null
  readonly provenance: Provenance
  /** Puts the files where they stay. */
  settle(id: string): Promise<Settled>
  /** Throws away what was not settled. */
  discard(): Promise<void>
}

export interface Settled {
  readonly folder: string
  /** For when it is refused after all. */
  undo(): Promise<void>
}

export const kept = (folder: string): Settled => ({ folder, undo: async () => {} })

/** See `NewModel.weightsSha256`. */
export function weightsIdentity(weightFiles: readonly Pick<FileRecord, 'path' | 'sha256'>[]): string {
  const [only, ...more] = weightFiles
  if (only !== undefined && more.length === 0) return only.sha256
  return identityOf(weightFiles)
}

/** sha256 of what `sha256sum` prints of these files, in order of name. */
export function identityOf(files: readonly Pick<FileRecord, 'path' | 'sha256'>[]): string {
  const lines = [...files].sort((a, b) => (a.path < b.path ? -1 : 1)).map(({ path: name, sha256 }) => `${sha256}  ${name}\n`)
  return createHash('sha256').update(lines.join('')).digest('hex')
}

/** True when every file is there in its length. */
export async function holds(folder: string, files: readonly FileRecord[]): Promise<boolean> {
  const lengths = await Promise.all(files.map(async (file) => (await fs.stat(path.join(folder, file.path)).catch(() => undefined))?.size))
  return files.every((file, index) => lengths[index] === file.bytes)
}

/** Where the files stay: where they were registered before, if they are still there. */
export async function settleAt(
  existing: { readonly folder: string; readonly files: readonly FileRecord[] } | undefined,
  fetched: Fetched,
  id: string,
): Promise<Settled> {
  return existing && (await holds(existing.folder, existing.files)) ? kept(existing.folder) : fetched.settle(id)
}
