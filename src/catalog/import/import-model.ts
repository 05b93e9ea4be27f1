/**
 * `refract import` of a model: brings its files to where the server finds them, checks that they are a model, and registers it with its
 * provenance. The same import twice changes nothing.
 */

import { EngineError } from '../../engine/errors.js'
import type { ModelSource } from '../../engine/host/host.js'
import type { ModelDescription, WeightProcessing } from '../../engine/models/model.js'
import type { Catalog, ModelRecord } from '../catalog.js'
import { type ImportOptions, tellStep } from './import-progress.js'
import { openSource } from './open-source.js'
import { type OpenedSource, settleAt, weightsIdentity } from './opened-source.js'
import { selectFiles } from './select-files.js'
import { checkedSlug, slugOf } from './slug.js'

export type { ImportProgress } from './import-progress.js'

export interface ModelImportOptions extends ImportOptions {
  /** The slug; made from the name when absent. */
  readonly id?: string
  readonly processing?: readonly WeightProcessing[]
  readonly catalog: Pick<Catalog, 'models'>
  /** Reads configuration, weight names and shapes, and checks that they fit (`describeModel`, or the host's `inspect`). */
  readonly inspect: (source: ModelSource, signal?: AbortSignal) => Promise<ModelDescription>
}

export interface ImportRequest extends ModelImportOptions {
  /** A folder, or `org/name[@revision]`. */
  readonly source: string
  /** Of a hub repository: branch, tag or commit. Default `main`. */
  readonly revision?: string
}

export interface Imported {
  readonly model: ModelRecord
  /** False when exactly this was registered already. */
  readonly isNew: boolean
}

/**
 * @throws INPUT_INVALID, MODEL_CONFLICT, FILE_INVALID, FILE_UNSAFE, STORAGE_FULL, HUB_REFUSED, HUB_UNAVAILABLE, DOWNLOAD_INVALID, and
 *   whatever `inspect` throws about a model it cannot read
 */
export async function importModel({ source, revision, ...options }: ImportRequest): Promise<Imported> {
  return importModelFrom(await openSource({ source, revision }, options), options)
}

/** The same of a source that is open. */
export async function importModelFrom(opened: OpenedSource, options: ModelImportOptions): Promise<Imported> {
  const { catalog, inspect, signal, processing = [] } = options
  const { source } = opened
  const id = options.id === undefined ? slugOf(source) : checkedSlug(options.id)
  const selected = selectFiles(opened.names, opened.where)
  if (source.kind === 'folder') {
    // Looked at before it is copied, too: what is wrong with it, the headers say in milliseconds and a copy after gigabytes.
    await opened.check(selected)
    tellStep(options, 'check', source.folder)
    await inspect({ key: source.folder, folder: source.folder, processing }, signal)
  }
  const beforeWeights = (weights: readonly string[]) => refuseTakenId(catalog, id, { opened, weights })
  const fetched = await opened.fetch(selected, { room: 'models', beforeWeights })
  try {
    const weightFiles = fetched.files.filter((file) => fetched.weights.includes(file.path))
    const weightsSha256 = weightsIdentity(weightFiles)
    tellStep(options, 'check', id)
    const description = await inspect({ key: `${id}@${weightsSha256}`, folder: fetched.folder, processing }, signal)
    signal?.throwIfAborted()
    tellStep(options, 'register', id)
    const existing = await catalog.models.get(id)
    const settled = await settleAt(existing, fetched, id)
    try {
      const model = await catalog.models.register({
        id,
        name: opened.name,
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

/** Before hundreds of megabytes are downloaded: the hub tells their sha256 beforehand. `register` has the last word. */
async function refuseTakenId(
  catalog: ImportRequest['catalog'],
  id: string,
  { opened, weights }: { readonly opened: OpenedSource; readonly weights: readonly string[] },
): Promise<void> {
  const existing = await catalog.models.get(id)
  const hashes = weights.map((name) => ({ path: name, sha256: opened.sha256Of(name) }))
  if (existing === undefined || hashes.some(({ sha256 }) => sha256 === undefined)) return
  const sha256 = weightsIdentity(hashes as { path: string; sha256: string }[])
  if (sha256 === existing.weightsSha256) return
  throw new EngineError('MODEL_CONFLICT', {
    id,
    problem: `it is a model with other weights (sha256 ${existing.weightsSha256.slice(0, 12)}, these have ${sha256.slice(0, 12)})`,
    instead: `Choose another with --id, or remove it first (refract remove ${id}).`,
  })
}
