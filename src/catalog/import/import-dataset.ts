/**
 * Registers a data set: its pictures are looked at, stored in the blob store under their hashes, and then its row and its items are written
 * at once. Killed on the way, it leaves stored pictures that nothing refers to and no data set.
 */

import { createHash } from 'node:crypto'
import type { Dataset, DatasetItem, PictureSource } from '../../engine/datasets/dataset.js'
import { bytesOf, type PictureFacts } from '../../engine/datasets/examine.js'
import { EngineError, type Problem } from '../../engine/errors.js'
import type { ImageLimits } from '../../engine/image/decode.js'
import type { Catalog } from '../catalog.js'
import type { DatasetRecord, NewDatasetItem } from '../datasets.js'
import { isModelSlug } from '../models.js'
import { slugPart } from '../sae-id.js'
import { withScratchFolder } from '../scratch-folder.js'
import { type AboutDataset, type DatasetSource, type OpenSourceOptions, openDatasetSource } from './dataset-source.js'

export interface DatasetProgress {
  readonly step: 'examine' | 'store'
  /** Pictures. */
  readonly done: number
  readonly total: number
}

export interface DatasetImport {
  readonly catalog: Pick<Catalog, 'datasets' | 'images'>
  readonly source: DatasetSource
  /** Beats what the data set says of itself. */
  readonly about: AboutDataset
  readonly dataDir: string
  readonly limits: ImageLimits
  readonly onZip?: OpenSourceOptions['onZip']
  readonly onProgress?: (progress: DatasetProgress) => void
  readonly signal?: AbortSignal
}

/** Of one request to the blob store; both are held in memory. */
const PICTURES_AT_ONCE = 512
const BYTES_AT_ONCE = 2 ** 26
/** Characters of what one says of a data set. */
export const aboutLengths = { id: 100, name: 200, license: 200, description: 5000 } as const satisfies Record<keyof AboutDataset, number>

/**
 * The same content twice is one data set, the first, whatever it is called the second time; its pictures are stored again where they were
 * damaged.
 *
 * @throws DATASET_INVALID, CONFIG_INVALID, STORAGE_FULL, BLOBS_UNAVAILABLE; INPUT_INVALID when the id is of another data set
 */
export function importDataset(request: DatasetImport): Promise<{ readonly dataset: DatasetRecord; readonly isNew: boolean }> {
  const { catalog, source, dataDir, limits, onZip, onProgress, signal } = request
  return withScratchFolder(dataDir, async (scratch) => {
    const { dataset, facts, about } = await openDatasetSource(source, {
      ...{ limits, scratch },
      ...(onZip && { onZip }),
      ...(onProgress && { onProgress: (done, total) => onProgress({ step: 'examine', done, total }) }),
      ...(signal && { signal }),
    })
    const { id, ...said } = saidOf({ ...about, ...request.about }, dataset)
    const known = await catalog.datasets.ofHash(dataset.hash)
    if (known === undefined) await requireFree(id, dataset.hash, catalog.datasets)
    const ids = await storePictures(dataset, facts, request)
    if (known !== undefined) return { dataset: known, isNew: false }
    const items = Array.from({ length: dataset.size }, (_, index) => itemOf(dataset.item(index), ids))
    const { hash, nClasses = null, classNames = [], report } = dataset
    const registered = await catalog.datasets.register({ id, ...said, hash, nClasses, classNames, report, items })
    return { dataset: registered, isNew: true }
  })
}

/** @throws INPUT_INVALID with everything that cannot be said */
function saidOf(about: AboutDataset, dataset: Dataset) {
  const { name = dataset.name, license = null, description = null } = about
  const slug = slugPart(name).slice(0, aboutLengths.id).replace(/-+$/, '')
  const { id = slug === '' ? `dataset-${dataset.hash.slice(0, 12)}` : slug } = about
  const problems: Problem[] = []
  for (const [path, text] of Object.entries({ id, name, license, description })) {
    const maximum = aboutLengths[path as keyof AboutDataset]
    if (text !== null && (text.trim() === '' || text.length > maximum))
      problems.push({ path, message: `must have 1 to ${maximum} characters` })
  }
  if (!isModelSlug(id) && problems.every(({ path }) => path !== 'id')) {
    problems.push({ path: 'id', message: `"${id}" is not lower-case letters, digits and single hyphens, such as emoji-twemoji` })
  }
  const [first] = problems
  if (first) throw new EngineError('INPUT_INVALID', { path: first.path, problem: first.message }, problems)
  return { id, name, license, description }
}

/** Before the pictures are stored. It may be registered meanwhile, even the same: `register` has the last word. */
async function requireFree(id: string, hash: string, datasets: Catalog['datasets']): Promise<void> {
  const existing = await datasets.get(id)
  if (existing === undefined || existing.hash === hash) return
  throw new EngineError('INPUT_INVALID', { path: 'id', problem: `"${id}" is the id of another data set. Choose another.` })
}

interface Picture {
  readonly source: Exclude<PictureSource, { kind: 'drawn' }>
  readonly facts: PictureFacts
  readonly item: string
}

/** The ids under which pictures are stored. */
async function storePictures(
  dataset: Dataset,
  facts: ReadonlyMap<PictureSource, PictureFacts>,
  { catalog, onProgress, signal }: DatasetImport,
): Promise<ReadonlyMap<PictureSource, string>> {
  const ids = new Map<PictureSource, string>()
  // by content: the same picture is stored once
  const pictures = new Map<string, Picture>()
  for (let index = 0; index < dataset.size; index++) {
    const { name, picture, variants = [] } = dataset.item(index)
    for (const source of [picture, ...variants]) {
      const known = facts.get(source)
      if (known === undefined || source.kind === 'drawn') {
        throw new EngineError('DATASET_INVALID', {
          dataset: dataset.name,
          problem: `${name} is generated, and has no file that could be stored.`,
        })
      }
      ids.set(source, `sha256:${known.sha256}`)
      pictures.set(known.sha256, { source, facts: known, item: name })
    }
  }
  let waiting: { readonly bytes: Uint8Array; readonly facts: PictureFacts }[] = []
  let waitingBytes = 0
  let done = 0
  const store = async () => {
    signal?.throwIfAborted()
    await catalog.images.putAll(waiting.map(({ bytes, facts: { format, width, height } }) => ({ bytes, format, width, height })))
    done += waiting.length
    onProgress?.({ step: 'store', done, total: pictures.size })
    waiting = []
    waitingBytes = 0
  }
  for (const picture of pictures.values()) {
    const bytes = await bytesAsExamined(picture, dataset.name)
    waiting.push({ bytes, facts: picture.facts })
    waitingBytes += bytes.byteLength
    if (waiting.length === PICTURES_AT_ONCE || waitingBytes >= BYTES_AT_ONCE) await store()
  }
  if (waiting.length > 0) await store()
  return ids
}

/** A file may have been replaced since it was looked at. */
async function bytesAsExamined({ source, facts, item }: Picture, dataset: string): Promise<Uint8Array> {
  const bytes = await bytesOf(source).catch(() => undefined)
  if (bytes !== undefined && createHash('sha256').update(bytes).digest('hex') === facts.sha256) return bytes
  throw new EngineError('DATASET_INVALID', { dataset, problem: `${item} changed while it was being registered.` })
}

function itemOf(
  { name, picture, variants = [], label, captions, facets }: DatasetItem,
  ids: ReadonlyMap<PictureSource, string>,
): NewDatasetItem {
  return {
    name,
    imageId: ids.get(picture)!,
    variants: variants.map((variant) => ids.get(variant)!),
    label: label ?? null,
    ...(captions && { captions }),
    facets,
  }
}
