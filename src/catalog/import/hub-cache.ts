/**
 * The hub's cache on disk, in the layout of Python's `huggingface_hub` and shared with it: what one downloads, the other finds.
 *
 *     models--<org>--<name>/blobs/<etag>                     the bytes
 *     models--<org>--<name>/snapshots/<commit>/<file>        a relative link to them
 *     models--<org>--<name>/refs/<branch or tag>             the commit it was
 *
 * See https://huggingface.co/docs/huggingface_hub/guides/manage-cache
 */

import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import fs from 'node:fs/promises'
import path from 'node:path'
import type { HubFile } from './hub-client.js'

export interface CachedRepo {
  readonly snapshot: string
  blob(file: HubFile): string
  /** What is downloaded so far. Not Python's `.incomplete`, which it may be writing at the same time under a lock we cannot see. */
  partial(file: HubFile): string
  lock(file: HubFile): string
  pointer(file: HubFile): string
}

export function cachedRepo(cache: string, repo: string, commit: string): CachedRepo {
  const name = `models--${repo.replace('/', '--')}`
  const snapshot = path.join(cache, name, 'snapshots', commit)
  return {
    snapshot,
    blob: ({ etag }) => path.join(cache, name, 'blobs', etag),
    partial: ({ etag }) => path.join(cache, name, 'blobs', `${etag}.refract.incomplete`),
    lock: ({ etag }) => path.join(cache, '.locks', name, `${etag}.refract.lock`),
    pointer: (file) => path.join(snapshot, file.path),
  }
}

/** Links a snapshot's file to its blob, or copies it where links are not to be had (Windows without the right to make them). */
export async function pointTo(blob: string, pointer: string): Promise<void> {
  const aside = `${pointer}.${randomUUID()}`
  try {
    await fs.symlink(path.relative(path.dirname(pointer), blob), aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error
    await fs.copyFile(blob, aside)
  }
  await fs.rename(aside, pointer)
}

/** Remembers which commit a branch or tag was, so that Python finds the snapshot by its name. */
export async function writeRef(cache: string, repo: string, requestedRevision: string, commit: string): Promise<void> {
  if (requestedRevision === commit) return
  const file = path.join(cache, `models--${repo.replace('/', '--')}`, 'refs', requestedRevision)
  await fs.mkdir(path.dirname(file), { recursive: true })
  const aside = `${file}.${randomUUID()}`
  await fs.writeFile(aside, commit)
  await fs.rename(aside, file)
}

/** sha256 of a file, in hex; also the hash that git gives its content, which is what the hub knows of small files. */
export async function hashesOf(file: string, signal?: AbortSignal): Promise<{ bytes: number; sha256: string; git: string }> {
  const { size } = await fs.stat(file)
  const sha256 = createHash('sha256')
  const git = createHash('sha1').update(`blob ${size}\0`)
  for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20, ...(signal && { signal }) })) {
    sha256.update(chunk as Buffer)
    git.update(chunk as Buffer)
  }
  return { bytes: size, sha256: sha256.digest('hex'), git: git.digest('hex') }
}

/** The sha256 of `file` when it is what the hub announced; undefined when it is missing or anything else. */
export async function verifiedSha256(file: string, expected: HubFile, signal?: AbortSignal): Promise<string | undefined> {
  const stats = await fs.stat(file).catch(() => undefined)
  if (!stats?.isFile() || stats.size !== expected.bytes) return undefined
  const hashes = await hashesOf(file, signal)
  return hashes[expected.hash.kind] === expected.hash.hex ? hashes.sha256 : undefined
}
