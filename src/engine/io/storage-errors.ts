/**
 * A full disk, said for people.
 */

import { EngineError } from '../errors.js'

const FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG'])

export function isStorageFull(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  return code !== undefined && FULL.has(code)
}

/** `error` as STORAGE_FULL where the disk (or a quota on it) is full; unchanged otherwise. */
export function storageError(error: unknown, path: string, needed?: number): unknown {
  return isStorageFull(error) ? new EngineError('STORAGE_FULL', { path, ...(needed !== undefined && { needed }) }) : error
}
