/**
 * One file of the hub into the cache: resumed where it broke off, checked against the hub's size and hash, and downloaded by one process
 * at a time.
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { EngineError } from '../../engine/errors.js'
import { storageError } from '../../engine/io/storage-errors.js'
import { withLock } from '../process-lock.js'
import { type CachedRepo, pointTo, verifiedSha256 } from './hub-cache.js'
import { type HubClient, type HubFile, reasonOf } from './hub-client.js'

/** Tries in a row that bring not one byte. */
const MAX_FRUITLESS = 5
const MAX_DELAY_MS = 10_000
const STALLED_MS = 60_000
/** Left free on the disk, for the database beside it. */
const SPARE_BYTES = 64 * 2 ** 20

export interface DownloadRequest {
  readonly client: HubClient
  readonly repo: string
  readonly commit: string
  readonly file: HubFile
  readonly cached: CachedRepo
  /** Bytes of this file that are on the disk. */
  readonly onBytes?: (done: number) => void
  /** Before the first new try; it doubles with each. */
  readonly retryDelayMs?: number
  readonly signal?: AbortSignal
}

/**
 * Brings a file into the snapshot unless it is there already, whole.
 *
 * @returns the sha256 of its bytes
 * @throws HUB_REFUSED, HUB_UNAVAILABLE, DOWNLOAD_INVALID, STORAGE_FULL
 */
export async function download(request: DownloadRequest): Promise<string> {
  const { file, cached, onBytes = () => {}, signal } = request
  const [pointer, blob, lock] = [cached.pointer(file), cached.blob(file), cached.lock(file)]
  try {
    for (const place of [pointer, blob, lock]) await fs.mkdir(path.dirname(place), { recursive: true })
    return await withLock(lock, { ...(signal && { signal }) }, async () => {
      const present = await verifiedSha256(pointer, file, signal)
      if (present !== undefined) {
        onBytes(file.bytes)
        return present
      }
      const sha256 = (await verifiedSha256(blob, file, signal)) ?? (await downloadBlob(request))
      await pointTo(blob, pointer)
      onBytes(file.bytes)
      return sha256
    })
  } catch (error) {
    throw storageError(error, blob, file.bytes)
  }
}

async function downloadBlob(request: DownloadRequest): Promise<string> {
  const { file, cached, signal } = request
  const partial = cached.partial(file)
  await checkSpace(partial, file.bytes)
  for (;;) {
    const resumed = await lengthOf(partial)
    await fetchAll(request)
    const sha256 = await verifiedSha256(partial, file, signal)
    if (sha256 !== undefined) {
      await flush(partial)
      await fs.rename(partial, cached.blob(file))
      return sha256
    }
    await fs.rm(partial, { force: true })
    // What an earlier process left may have been damaged: once more from the start before it counts.
    if (resumed === 0) {
      const problem = `its ${file.hash.kind === 'sha256' ? 'sha256' : 'git hash'} is not ${file.hash.hex.slice(0, 12)}...`
      throw new EngineError('DOWNLOAD_INVALID', { file: file.path, problem })
    }
  }
}

/** Tries until every byte is there. */
async function fetchAll(request: DownloadRequest): Promise<void> {
  const { file, cached, client, retryDelayMs = 250, signal } = request
  const partial = cached.partial(file)
  for (let fruitless = 0; ; ) {
    const before = await lengthOf(partial)
    if (before > file.bytes) await fs.truncate(partial, 0)
    if (before === file.bytes && file.bytes > 0) return
    try {
      await fetchRest(request, before > file.bytes ? 0 : before)
      return
    } catch (error) {
      if (signal?.aborted || !isPassing(error)) throw await afterFailure(error, partial)
      fruitless = (await lengthOf(partial)) > before ? 1 : fruitless + 1
      if (fruitless >= MAX_FRUITLESS) {
        throw error instanceof EngineError
          ? error
          : new EngineError('HUB_UNAVAILABLE', { endpoint: client.endpoint, problem: reasonOf(error) })
      }
      await sleep(Math.min(retryDelayMs * 2 ** (fruitless - 1), MAX_DELAY_MS), undefined, signal && { signal })
    }
  }
}

/** True for what may be gone at the next try: the network, a busy hub. */
function isPassing(error: unknown): boolean {
  if (error instanceof EngineError) return error.code === 'HUB_UNAVAILABLE'
  return (
    typeof (error as NodeJS.ErrnoException).syscall !== 'string' ||
    /^(read|connect|getaddrinfo)/.test((error as NodeJS.ErrnoException).syscall ?? '')
  )
}

/** A full disk is given back what this file took of it. */
async function afterFailure(error: unknown, partial: string): Promise<unknown> {
  const meant = storageError(error, partial)
  if (meant instanceof EngineError && meant.code === 'STORAGE_FULL') await fs.rm(partial, { force: true })
  return meant
}

/** Appends to the partial file from byte `from` on; from the start where the hub cannot resume. */
async function fetchRest({ client, repo, commit, file, cached, onBytes = () => {}, signal }: DownloadRequest, from: number): Promise<void> {
  const stalled = new AbortController()
  const timer = setTimeout(() => stalled.abort(new Error(`nothing came for ${STALLED_MS / 1000} s`)), STALLED_MS)
  const response = await client
    .open(repo, commit, file.path, from, AbortSignal.any([stalled.signal, ...(signal ? [signal] : [])]))
    .catch((error: unknown) => {
      clearTimeout(timer)
      throw stalled.signal.aborted ? stalled.signal.reason : error
    })
  const resumes = response.status === 206 && response.headers.get('content-range')?.startsWith(`bytes ${from}-`) === true
  const handle = await fs.open(cached.partial(file), resumes ? 'a' : 'w')
  try {
    let done = resumes ? from : 0
    for await (const chunk of response.body ?? []) {
      timer.refresh()
      done += chunk.byteLength
      if (done > file.bytes) {
        throw new EngineError('DOWNLOAD_INVALID', { file: file.path, problem: `it is longer than ${file.bytes} bytes` })
      }
      await handle.writeFile(chunk)
      onBytes(done)
    }
    if (done < file.bytes) throw new Error(`the connection ended after ${done} of ${file.bytes} bytes`)
  } finally {
    clearTimeout(timer)
    await handle.close()
    await response.body?.cancel().catch(() => {})
  }
}

async function lengthOf(file: string): Promise<number> {
  return (await fs.stat(file).catch(() => undefined))?.size ?? 0
}

async function flush(file: string): Promise<void> {
  const handle = await fs.open(file, 'r+')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Better said now than after an hour. */
async function checkSpace(partial: string, bytes: number): Promise<void> {
  const needed = bytes - (await lengthOf(partial))
  const { bavail, bsize } = await fs.statfs(path.dirname(partial))
  if (bavail * bsize < needed + SPARE_BYTES && needed > 0)
    throw new EngineError('STORAGE_FULL', { path: partial, needed: needed + SPARE_BYTES })
}
