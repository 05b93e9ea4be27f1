/**
 * `refract import` of an SAE: its files to where the server finds them, checked against the model where that is here, and an entry of the
 * catalog that has them. What was published already becomes downloaded; the same import twice changes nothing.
 */

import { EngineError } from '../../engine/errors.js'
import type { ModelSource, SaeSource } from '../../engine/host/host.js'
import { hasOpenSkip, type SkipMeasurement } from '../../engine/host/measure-skip.js'
import { fitProblems } from '../../engine/saes/fit-model.js'
import type { SaeDescription, SaeOverrides } from '../../engine/saes/load-sae.js'
import { type Catalog, modelSource } from '../catalog.js'
import { checkedSaeId, saeIdOf } from '../sae-id.js'
import type { SaeDownload, SaeEntry, SaeFacts } from '../saes.js'
import { type ImportOptions, tellStep } from './import-progress.js'
import { modelOfSae } from './model-of-sae.js'
import { openSource } from './open-source.js'
import { type Fetched, type OpenedSource, settleAt } from './opened-source.js'
import { saeFacts } from './sae-facts.js'
import { selectSaeFiles } from './select-sae-files.js'

export interface SaeImportOptions extends ImportOptions {
  /** Of the entry; that of the published one, or made from what the SAE is. */
  readonly id?: string
  /** The id of the model it was trained on, where the files do not say it or call it by another name. */
  readonly model?: string
  /** What is known better than the files say. */
  readonly overrides?: SaeOverrides
  readonly catalog: Pick<Catalog, 'models' | 'saes' | 'baseModels'>
  /** `describeSae`, or the host's `inspectSae`. */
  readonly inspectSae: (source: SaeSource, signal?: AbortSignal) => Promise<SaeDescription>
  /** Finds out which skip formula a transcoder is for. Without it, the library's formula counts. */
  readonly measureSkip?: (request: { model: ModelSource; sae: SaeSource; signal?: AbortSignal }) => Promise<SkipMeasurement>
}

export interface SaeImportRequest extends SaeImportOptions {
  /** A folder, or `org/name[@revision]`. */
  readonly source: string
  readonly revision?: string
}

export interface ImportedSae {
  readonly sae: SaeEntry & { readonly download: SaeDownload }
  /** False when exactly this was here already. */
  readonly isNew: boolean
}

/**
 * @throws INPUT_INVALID, SAE_CONFLICT, SAE_MISFIT, BASE_MODEL_UNKNOWN, FILE_INVALID, FILE_UNSAFE, STORAGE_FULL, HUB_REFUSED, HUB_UNAVAILABLE,
 *   DOWNLOAD_INVALID, and whatever `inspectSae` throws about an SAE it cannot read
 */
export async function importSae({ source, revision, ...options }: SaeImportRequest): Promise<ImportedSae> {
  return importSaeFrom(await openSource({ source, revision }, options), options)
}

/** The same of a source that is open. */
export async function importSaeFrom(opened: OpenedSource, options: SaeImportOptions): Promise<ImportedSae> {
  const { signal } = options
  const selected = selectSaeFiles(opened.names, opened.where)
  const entry = await entryOf(opened, selected.weights, options)
  if (opened.source.kind === 'folder') {
    // Looked at before it is copied, too.
    await opened.check(selected)
    await inspect(opened.source.folder, opened.where, options)
  }
  refuseOtherWeights(entry, opened.sha256Of(selected.weights))
  const fetched = await opened.fetch(selected, { room: 'saes' })
  try {
    const { modelId, description } = await examine(fetched.folder, entry, opened, options)
    signal?.throwIfAborted()
    return await register({ opened, fetched, entry, modelId, description }, options)
  } finally {
    await fetched.discard()
  }
}

/**
 * The entry that the files belong to: the one that is named; else the one that was published of this repository, or that was imported from
 * it with these weights.
 */
async function entryOf(opened: OpenedSource, weights: string, { id, catalog }: SaeImportOptions): Promise<SaeEntry | undefined> {
  if (id !== undefined) return catalog.saes.get(id)
  if (opened.source.kind === 'folder') return undefined
  const entries = await catalog.saes.ofRepository(opened.source.repo)
  const published = entries.filter(({ isPublished }) => isPublished)
  const sha256 = opened.sha256Of(weights)
  return (
    (published.length > 1 ? published.find(({ file }) => file === weights) : published[0]) ??
    entries.find(({ download }) => download !== null && download.weightsSha256 === sha256)
  )
}

/** Before hundreds of megabytes are downloaded; registering has the last word. */
function refuseOtherWeights(entry: SaeEntry | undefined, sha256: string | undefined): void {
  const here = entry?.download?.weightsSha256
  if (!entry || here === undefined || sha256 === undefined || here === sha256) return
  throw new EngineError('SAE_CONFLICT', {
    id: entry.id,
    problem: `it has other weights (sha256 ${here.slice(0, 12)}, these have ${sha256.slice(0, 12)})`,
    instead: `Choose another with --id, or remove it first (refract remove ${entry.id}).`,
  })
}

function inspect(folder: string, what: string, options: SaeImportOptions, overrides = options.overrides ?? {}): Promise<SaeDescription> {
  tellStep(options, 'check', what)
  return options.inspectSae({ key: folder, folder, overrides }, options.signal)
}

/** What the files say, held against the model, and what they leave open, found out. @throws SAE_MISFIT */
async function examine(
  folder: string,
  entry: SaeEntry | undefined,
  opened: OpenedSource,
  options: SaeImportOptions,
): Promise<{ modelId: string; description: SaeDescription }> {
  const description = await inspect(folder, opened.where, options)
  const modelId = await modelOfSae(description, { entry, ...options })
  const model = await options.catalog.models.get(modelId)
  if (!model) return { modelId, description }
  const problems = fitProblems(description.config, model.description.vision.hookPoints)
  if (problems.length > 0) throw new EngineError('SAE_MISFIT', { sae: opened.name, model: modelId, problems })
  const { measureSkip, signal, overrides = {} } = options
  const isOpen = description.layout === 'vit-prisma' && hasOpenSkip(description.config) && overrides.skip === undefined
  if (!isOpen || measureSkip === undefined) return { modelId, description }
  tellStep(options, 'measure', `the skip of ${opened.name}`)
  const sae: SaeSource = { key: folder, folder, overrides }
  const measured = await measureSkip({ model: modelSource(model), sae, ...(signal && { signal }) })
  return { modelId, description: await withSkip(description, measured, { folder, opened, options }) }
}

const formulas = { linear: "x W_skip'", 'linear-and-identity': "x (I + W_skip')" } as const

/** The description with the formula that was found, and the numbers that decided. */
async function withSkip(
  description: SaeDescription,
  { skip, explainedVariance, nPictures }: SkipMeasurement,
  { folder, opened, options }: { folder: string; opened: OpenedSource; options: SaeImportOptions },
): Promise<SaeDescription> {
  const percent = (formula: keyof typeof formulas) => `${formulas[formula]} explains ${(100 * explainedVariance[formula]).toFixed(1)} %`
  const other = skip === 'linear' ? 'linear-and-identity' : 'linear'
  const rule = `measured on ${nPictures} generated pictures: ${percent(skip)} of the variance, ${percent(other)}`
  const chosen = skip === 'linear' ? description : await inspect(folder, opened.where, options, { ...options.overrides, skip })
  const others = chosen.resolvedBy.filter(({ field }) => field !== 'skip' && field !== 'W_skip')
  return { ...chosen, resolvedBy: [...others, { field: 'W_skip', rule }] }
}

interface Registration {
  readonly opened: OpenedSource
  readonly fetched: Fetched
  readonly entry: SaeEntry | undefined
  readonly modelId: string
  readonly description: SaeDescription
}

async function register({ opened, fetched, entry, modelId, description }: Registration, options: SaeImportOptions): Promise<ImportedSae> {
  const { catalog } = options
  const { files, license, provenance } = fetched
  const weights = files.find(({ path }) => path === description.files.weights)!
  const facts = factsOf({ opened, fetched, modelId, description })
  const id = options.id ?? entry?.id ?? (await newId(facts, weights.sha256, catalog))
  tellStep(options, 'register', id)
  const existing = entry ?? (await catalog.saes.get(id))
  const settled = await settleAt(existing?.download ?? undefined, fetched, id)
  try {
    const download: SaeDownload = { folder: settled.folder, files, weightsSha256: weights.sha256, weightBytes: weights.bytes, description }
    const sae = existing
      ? await catalog.saes.attachFiles(id, { ...download, provenance, license, file: weights.path })
      : await catalog.saes.create({ id: checkedSaeId(id, modelId), ...facts, download })
    return { sae: { ...sae, download: sae.download! }, isNew: !existing?.download }
  } catch (error) {
    await settled.undo()
    throw error
  }
}

function factsOf({ opened, fetched, modelId, description }: Omit<Registration, 'entry'>): Omit<SaeFacts, 'id'> {
  const [owner] = opened.source.kind === 'hub' ? opened.source.repo.split('/') : []
  const { provenance, license } = fetched
  return saeFacts(description, { modelId, provenance, license, source: owner?.toLowerCase() ?? 'local' })
}

/** From what it is; with its L1 coefficient where another SAE of the model is all the rest, too. */
async function newId(facts: Omit<SaeFacts, 'id'>, weightsSha256: string, { saes }: SaeImportOptions['catalog']): Promise<string> {
  const plain = saeIdOf(facts)
  const taken = await saes.get(plain)
  return taken && taken.download?.weightsSha256 !== weightsSha256 ? saeIdOf(facts, { withL1: true }) : plain
}
