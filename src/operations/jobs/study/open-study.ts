/** Opens what a study looks at: the model, a group of SAEs, and the pictures in the order of the study. Kept for the shards that follow. */

import { modelSource } from '../../../catalog/catalog.js'
import { openCatalogDataset } from '../../../catalog/catalog-dataset.js'
import type { Backend } from '../../../engine/backends/backend.js'
import { type Batches, createBatches } from '../../../engine/datasets/batches.js'
import type { Dataset } from '../../../engine/datasets/dataset.js'
import { facetClasses, inWords } from '../../../engine/datasets/facets.js'
import { subset } from '../../../engine/datasets/subsets.js'
import { EngineError } from '../../../engine/errors.js'
import { type ModelClasses, modelClasses } from '../../../engine/evaluation/model-classes.js'
import { pictureOrder } from '../../../engine/evaluation/sampling.js'
import type { StudiedSae } from '../../../engine/evaluation/studied-sae.js'
import type { Preprocessing } from '../../../engine/image/preprocessing.js'
import { type LoadedModel, loadModel } from '../../../engine/models/load.js'
import type { VisionConfig } from '../../../engine/models/model.js'
import { loadSae } from '../../../engine/saes/load-sae.js'
import { version } from '../../capabilities.js'
import type { JobContext } from '../job-kind.js'
import type { PartHeader, StudyIdentity } from './part-bytes.js'
import { DEFAULT_BATCH_SIZE, DEFAULT_SEED, findSubjects, positionsOf, type StudyInput, type StudySubjects } from './study-input.js'
import { nPicturesOf, type StudyShard } from './study-plan.js'

/** For decoded pictures: each is looked at once, unless there are several groups of SAEs. */
const CACHE_SHARE = 1 / 8

/** What each picture of a data set is. */
export interface Labels {
  /** By label. */
  readonly names: readonly string[]
  /** Of every picture where classes are wanted; otherwise undefined where it is not known. */
  of(item: number): number | undefined
}

/** What all groups of SAEs share. */
export interface OpenStudy {
  readonly backend: Backend
  readonly model: LoadedModel
  readonly config: VisionConfig
  readonly subjects: StudySubjects
  readonly identity: StudyIdentity
  readonly nPictures: number
  readonly nBatches: number
  /** Items of the data set, in the order in which they come. */
  readonly order: Uint32Array
  /** `items` of a batch are places in `order`. */
  readonly batches: Batches
  /** The same pictures in the same batches, as another model sees them. */
  batchesFor(preprocessing: Preprocessing): Batches
  readonly labels: Labels | undefined
  readonly classes: ModelClasses | undefined
}

/** The same for all shards of a job, whichever process asks. @throws what finding and loading throw; INPUT_INVALID for classes there are none of */
export function openStudy(input: StudyInput, context: JobContext): Promise<OpenStudy> {
  return context.keep('study', () => open(input, context))
}

async function open(input: StudyInput, context: JobContext): Promise<OpenStudy> {
  const { catalog, blobs, config: settings, signal } = context
  const subjects = await findSubjects(catalog, input)
  const { folder, processing } = modelSource(subjects.model)
  context.progress(0, `loading ${subjects.model.id}`)
  const model = await loadModel(folder, { processing: [...processing], signal })
  context.progress(0, `opening ${subjects.dataset.id}`)
  const dataset = await openCatalogDataset({ catalog, blobs }, subjects.dataset.id)
  const nPictures = nPicturesOf(input, dataset.size)
  const seed = input.seed ?? DEFAULT_SEED
  const order = pictureOrder(seed, dataset.size, nPictures)
  const batchesFor = (preprocessing: Preprocessing) =>
    createBatches(subset(dataset, order, dataset.name), {
      batchSize: Math.min(input.batchSize ?? DEFAULT_BATCH_SIZE, nPictures),
      dropLast: false,
      preprocessing,
      cacheBytes: settings.memoryMb * 2 ** 20 * CACHE_SHARE,
      limits: { maxPixels: settings.maxImagePixels },
    })
  const batches = batchesFor(model.description.preprocessing)
  const backend = await context.backend()
  const labels = labelsOf(input, dataset)
  return {
    backend,
    model,
    config: model.description.vision.config as VisionConfig,
    subjects,
    identity: identityOf(subjects),
    nPictures,
    nBatches: batches.stepsPerEpoch,
    order,
    batches,
    batchesFor,
    labels,
    classes: await classesOf(),
  }

  async function classesOf(): Promise<ModelClasses | undefined> {
    if (!input.classes) return undefined
    const path = input.classes.facet === undefined ? 'input.classes' : 'input.classes.facet'
    if (!labels) throw new EngineError('INPUT_INVALID', { path, problem: `the pictures of ${dataset.name} have no labels; name a facet.` })
    const { templates = ['{}'], names } = input.classes
    return modelClasses(backend, model, { names: names ?? labels.names.map(inWords), templates, path })
  }
}

/** By a facet, or as the data set has them. @throws INPUT_INVALID */
function labelsOf({ classes }: StudyInput, dataset: Dataset): Labels | undefined {
  if (classes?.facet !== undefined) {
    const { values, labels } = facetClasses(dataset, classes.facet, 'input.classes.facet')
    return { names: values, of: (item) => labels[item] }
  }
  const { nClasses, classNames = [] } = dataset
  if (nClasses === undefined) return undefined
  const names = Array.from({ length: nClasses }, (_, label) => classes?.names?.[label] ?? classNames[label] ?? String(label))
  const given = classes?.names?.length ?? nClasses
  if (given !== nClasses) {
    throw new EngineError('INPUT_INVALID', {
      path: 'input.classes.names',
      problem: `are ${given}; ${dataset.name} has ${nClasses} classes.`,
    })
  }
  if (classes && !classes.names && classNames.length < nClasses) {
    throw new EngineError('INPUT_INVALID', {
      path: 'input.classes',
      problem: `the classes of ${dataset.name} have no names; give \`names\`.`,
    })
  }
  for (let item = 0; classes && item < dataset.size; item++) {
    const { label, name } = dataset.item(item)
    if (label === undefined)
      throw new EngineError('INPUT_INVALID', { path: 'input.classes', problem: `${name} has no label; name a facet.` })
  }
  return { names, of: (item) => dataset.item(item).label }
}

export function identityOf({ model, imageEncoder, saes, dataset }: StudySubjects): StudyIdentity {
  return {
    datasetHash: dataset.hash,
    modelSha256: model.weightsSha256,
    ...(imageEncoder.id !== model.id && { imageEncoderSha256: imageEncoder.weightsSha256 }),
    saeSha256: Object.fromEntries(saes.map(({ id, download }) => [id, download.weightsSha256])),
  }
}

/** The SAEs of a group, with their weights. */
export async function loadGroup({ subjects }: OpenStudy, [from, to]: StudyShard['saes'], signal: AbortSignal): Promise<StudiedSae[]> {
  const loaded: StudiedSae[] = []
  for (const sae of subjects.saes.slice(from, to)) {
    const { folder, description } = sae.download
    const { weights } = await loadSae(folder, { overrides: description.overrides ?? {}, signal })
    loaded.push({ id: sae.id, config: description.config, weights, positions: positionsOf(sae) })
  }
  return loaded
}

/** Only one group is in memory at a time. */
export async function keptGroup<T extends { dispose(): Promise<void> }>(
  { keep }: Pick<JobContext, 'keep'>,
  saes: StudyShard['saes'],
  make: () => Promise<T>,
): Promise<T> {
  const place = await keep('group', async (): Promise<{ key: string; opened: T | undefined }> => ({ key: '', opened: undefined }))
  const key = saes.join()
  if (place.opened && place.key === key) return place.opened
  const before = place.opened
  place.opened = undefined
  await before?.dispose()
  place.opened = await make()
  place.key = key
  return place.opened
}

export function headerOf({ backend, identity }: OpenStudy, shard: StudyShard): PartHeader {
  return { shard, of: identity, backend: backend.name, dtype: backend.precision, codeVersion: version }
}

/** Calls back for each batch of a shard, in order, and says how far it is. */
export async function eachBatch(
  { batches, nBatches, order }: OpenStudy,
  { batches: [from, to] }: StudyShard,
  { progress, signal }: Pick<JobContext, 'progress' | 'signal'>,
  look: (batch: {
    readonly batch: number
    readonly pixels: Awaited<ReturnType<Batches['at']>>['pixels']
    readonly items: number[]
  }) => Promise<void>,
): Promise<void> {
  for (let batch = from; batch < to; batch++) {
    signal.throwIfAborted()
    progress((batch - from) / (to - from), `batch ${batch + 1} of ${nBatches}`)
    const { pixels, items } = await batches.at(batch)
    await look({ batch, pixels, items: Array.from(items, (place) => order[place]!) })
  }
  signal.throwIfAborted()
}
