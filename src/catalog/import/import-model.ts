/**
 * `refract import`: brings a model's files to where the server finds them, checks that they are a model, and registers it with its
 * provenance. The same import twice changes nothing.
 */

import { createHash, randomUUID } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import type { Config } from '../../config.js'
import { EngineError } from '../../engine/errors.js'
import type { ModelSource } from '../../engine/host/host.js'
import type { ModelDescription, WeightProcessing } from '../../engine/models/model.js'
import type { Catalog, FileRecord, ModelRecord, Provenance } from '../catalog.js'
import { processIdentity } from '../process-lock.js'
import { copyFiles, readFolder } from './copy-folder.js'
import { download } from './download.js'
import { cachedRepo, writeRef } from './hub-cache.js'
import { type HubConfig, type HubFile, hubClient } from './hub-client.js'
import { isIndex, selectFiles, shardsOf } from './select-files.js'
import { checkedSlug, slugOf } from './slug.js'
import { type ImportSource, parseSource } from './source.js'

export interface ImportRequest {
  /** A folder, or `org/name[@revision]`. */
  readonly source: string
  /** The slug; made from the name when absent. */
  readonly id?: string
  /** Of a hub repository: branch, tag or commit. Default `main`. */
  readonly revision?: string
  readonly processing?: readonly WeightProcessing[]
  readonly catalog: Pick<Catalog, 'models'>
  readonly config: HubConfig & Pick<Config, 'dataDir'>
  /** Reads configuration, weight names and shapes, and checks that they fit (`describeModel`, or the host's `inspect`). */
  readonly inspect: (source: ModelSource, signal?: AbortSignal) => Promise<ModelDescription>
  readonly onProgress?: (progress: ImportProgress) => void
  /** Before a broken download is tried again. */
  readonly retryDelayMs?: number
  readonly signal?: AbortSignal
}

export interface ImportProgress {
  readonly step: 'find' | 'download' | 'copy' | 'check' | 'register'
  /** What is being worked on. */
  readonly what: string
  readonly doneBytes: number
  /** 0 where a step has no bytes to count. */
  readonly totalBytes: number
}

export interface Imported {
  readonly model: ModelRecord
  /** False when exactly this was registered already. */
  readonly isNew: boolean
}

/** A model's files where they can be inspected. */
interface Fetched {
  readonly folder: string
  readonly files: readonly FileRecord[]
  /** The paths of those that are weights. */
  readonly weights: readonly string[]
  readonly license: string | null
  readonly provenance: Provenance
  /** Puts the files where they stay. */
  settle(): Promise<Settled>
  /** Throws away what was not settled. */
  discard(): Promise<void>
}

interface Settled {
  readonly folder: string
  /** For when the model is refused after all. */
  undo(): Promise<void>
}

/**
 * @throws INPUT_INVALID, MODEL_CONFLICT, FILE_INVALID, FILE_UNSAFE, STORAGE_FULL, HUB_REFUSED, HUB_UNAVAILABLE, DOWNLOAD_INVALID, and
 *   whatever `inspect` throws about a model it cannot read
 */
export async function importModel(request: ImportRequest): Promise<Imported> {
  const { catalog, inspect, signal, processing = [] } = request
  const step = (name: ImportProgress['step'], what: string) => request.onProgress?.({ step: name, what, doneBytes: 0, totalBytes: 0 })
  const source = await parseSource(request.source, request.revision)
  const id = request.id === undefined ? slugOf(source) : checkedSlug(request.id)
  const fetched = await (source.kind === 'hub' ? fetchFromHub(source, id, request) : fetchFromFolder(source, id, request))
  try {
    const weightFiles = fetched.files.filter((file) => fetched.weights.includes(file.path))
    const weightsSha256 = weightsIdentity(weightFiles)
    step('check', id)
    const description = await inspect({ key: `${id}@${weightsSha256}`, folder: fetched.folder, processing }, signal)
    signal?.throwIfAborted()
    step('register', id)
    const existing = await catalog.models.get(id)
    const settled = existing && (await holds(existing.folder, existing.files)) ? kept(existing.folder) : await fetched.settle()
    try {
      const model = await catalog.models.register({
        id,
        name: source.kind === 'hub' ? source.repo : path.basename(source.folder),
        description,
        provenance: fetched.provenance,
        license: fetched.license,
        files: fetched.files,
        weightsSha256,
        weightBytes: weightFiles.reduce((sum, file) => sum + file.bytes, 0),
        folder: settled.folder,
        processing,
      })
      return { model, isNew: existing === undefined }
    } catch (error) {
      await settled.undo()
      throw error
    }
  } finally {
    await fetched.discard()
  }
}

const kept = (folder: string): Settled => ({ folder, undo: async () => {} })

/** See `NewModel.weightsSha256`. */
export function weightsIdentity(weightFiles: readonly Pick<FileRecord, 'path' | 'sha256'>[]): string {
  const [only, ...more] = weightFiles
  if (only !== undefined && more.length === 0) return only.sha256
  return identityOf(weightFiles)
}

/** sha256 of what `sha256sum` prints of these files, in order of name. */
function identityOf(files: readonly Pick<FileRecord, 'path' | 'sha256'>[]): string {
  const lines = [...files].sort((a, b) => (a.path < b.path ? -1 : 1)).map(({ path: name, sha256 }) => `${sha256}  ${name}\n`)
  return createHash('sha256').update(lines.join('')).digest('hex')
}

/** True when every file is there in its length. */
async function holds(folder: string, files: readonly FileRecord[]): Promise<boolean> {
  const lengths = await Promise.all(files.map(async (file) => (await fs.stat(path.join(folder, file.path)).catch(() => undefined))?.size))
  return files.every((file, index) => lengths[index] === file.bytes)
}

// --- from a folder

async function fetchFromFolder(source: ImportSource & { kind: 'folder' }, id: string, request: ImportRequest): Promise<Fetched> {
  const { config, inspect, onProgress, processing = [], signal } = request
  const { names, weightFiles, bytes } = await readFolder(source.folder)
  // Looked at before it is copied, too: what is wrong with it, the headers say in milliseconds and a copy after gigabytes.
  onProgress?.({ step: 'check', what: source.folder, doneBytes: 0, totalBytes: 0 })
  await inspect({ key: source.folder, folder: source.folder, processing }, signal)
  const models = path.join(config.dataDir, 'models')
  const aside = path.join(models, `.importing-${process.pid}-${randomUUID()}`)
  const discard = () => fs.rm(aside, { recursive: true, force: true })
  await removeAbandoned(models)
  await fs.mkdir(aside, { recursive: true })
  try {
    let doneBytes = 0
    const onBytes = (more: number) => {
      doneBytes += more
      onProgress?.({ step: 'copy', what: source.folder, doneBytes, totalBytes: bytes })
    }
    const files = await copyFiles(source.folder, aside, names, { onBytes, ...(signal && { signal }) })
    return {
      folder: aside,
      files,
      weights: weightFiles,
      license: null,
      provenance: { kind: 'folder', name: path.basename(source.folder) },
      discard,
      async settle() {
        const folder = path.join(models, id, identityOf(files).slice(0, 16))
        await fs.mkdir(path.dirname(folder), { recursive: true })
        if (await holds(folder, files)) return kept(folder)
        // What is there and is not this: an import that was killed, or files that somebody removed since.
        await fs.rm(folder, { recursive: true, force: true })
        await fs.rename(aside, folder)
        return { folder, undo: () => fs.rm(folder, { recursive: true, force: true }) }
      },
    }
  } catch (error) {
    await discard()
    throw error
  }
}

/** Copies that a killed import left. */
async function removeAbandoned(models: string): Promise<void> {
  for (const name of await fs.readdir(models).catch(() => [])) {
    const pid = /^\.importing-(\d+)-/.exec(name)?.[1]
    if (pid !== undefined && Number(pid) !== process.pid && processIdentity(Number(pid)) === undefined) {
      await fs.rm(path.join(models, name), { recursive: true, force: true })
    }
  }
}

// --- from the hub

async function fetchFromHub(source: ImportSource & { kind: 'hub' }, id: string, request: ImportRequest): Promise<Fetched> {
  const { config, catalog, onProgress, retryDelayMs, signal } = request
  const { repo, requestedRevision } = source
  const client = await hubClient(config)
  onProgress?.({ step: 'find', what: `${repo}@${requestedRevision}`, doneBytes: 0, totalBytes: 0 })
  const { commit, license, files: listed } = await client.revision(repo, requestedRevision, signal)
  const cached = cachedRepo(config.hubCache, repo, commit)
  const where = `${repo}@${commit.slice(0, 12)}`
  const names = listed.map((file) => file.path)
  const selected = selectFiles(names, where)
  const fileNamed = (name: string) => listed.find((file) => file.path === name) as HubFile

  let totalBytes = 0
  const done = new Map<string, number>()
  const fetchOne = async (name: string): Promise<FileRecord> => {
    const file = fileNamed(name)
    const onBytes = (bytes: number) => {
      done.set(name, bytes)
      const doneBytes = [...done.values()].reduce((sum, each) => sum + each, 0)
      onProgress?.({ step: 'download', what: name, doneBytes, totalBytes })
    }
    const options = { ...(retryDelayMs !== undefined && { retryDelayMs }), ...(signal && { signal }) }
    const sha256 = await download({ client, repo, commit, file, cached, onBytes, ...options })
    return { path: name, bytes: file.bytes, sha256 }
  }

  let weights = [selected.weights]
  const descriptions = [...selected.descriptions]
  const files: FileRecord[] = []
  if (isIndex(selected.weights)) {
    totalBytes = fileNamed(selected.weights).bytes
    files.push(await fetchOne(selected.weights))
    weights = shardsOf(selected.weights, await fs.readFile(cached.pointer(fileNamed(selected.weights)), 'utf8'), names)
  }
  await refuseTakenId(catalog, id, weights.map(fileNamed))
  totalBytes = [...files.map((file) => file.path), ...descriptions, ...weights].reduce((sum, name) => sum + fileNamed(name).bytes, 0)
  // Small files first: what is wrong with a configuration shows before the weights were downloaded.
  for (const name of [...descriptions, ...weights]) files.push(await fetchOne(name))
  await writeRef(config.hubCache, repo, requestedRevision, commit)
  return {
    folder: cached.snapshot,
    files,
    weights,
    license,
    provenance: { kind: 'hub', repo, revision: commit, requestedRevision, endpoint: client.endpoint },
    settle: async () => kept(cached.snapshot),
    discard: async () => {},
  }
}

/** Before hundreds of megabytes are downloaded: the hub tells their sha256 beforehand. `register` has the last word. */
async function refuseTakenId(catalog: ImportRequest['catalog'], id: string, weights: readonly HubFile[]): Promise<void> {
  const existing = await catalog.models.get(id)
  if (existing === undefined || !weights.every((file) => file.hash.kind === 'sha256')) return
  const sha256 = weightsIdentity(weights.map((file) => ({ path: file.path, sha256: file.hash.hex })))
  if (sha256 === existing.weightsSha256) return
  throw new EngineError('MODEL_CONFLICT', {
    id,
    problem: `it is a model with other weights (sha256 ${existing.weightsSha256.slice(0, 12)}, these have ${sha256.slice(0, 12)})`,
    instead: `Choose another with --id, or remove it first (refract remove ${id}).`,
  })
}
