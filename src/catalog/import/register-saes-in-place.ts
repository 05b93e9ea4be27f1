/**
 * SAEs that come with the repository are used where they are: registered under their folder's name with what was measured of them
 * (`metrics.json`, as `refract evaluate` writes it), and again whenever they changed.
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import { metricDefinition } from '../../engine/evaluation/metric-definitions.js'
import type { SaeSource } from '../../engine/host/host.js'
import type { SaeDescription } from '../../engine/saes/load-sae.js'
import type { Catalog } from '../catalog.js'
import type { MetricValueRecord } from '../metric-values.js'
import { isSaeId, slugPart } from '../sae-id.js'
import type { SaeEntry } from '../saes.js'
import { licenseOfFolder } from './card-license.js'
import { listFiles, neededOf, recordsOf } from './copy-folder.js'
import { identityOf } from './opened-source.js'
import { saeFacts } from './sae-facts.js'
import { selectSaeFiles } from './select-sae-files.js'

const METRICS = 'metrics.json'

interface Options {
  readonly catalog: Pick<Catalog, 'models' | 'saes' | 'metrics' | 'datasets'>
  readonly inspectSae: (source: SaeSource, signal?: AbortSignal) => Promise<SaeDescription>
  /** Of an SAE whose card does not say. */
  readonly license: string
  readonly signal?: AbortSignal
}

/**
 * Registers each folder of `saes` (`<saes>/<model>.<site>.<variant>/...`) whose model is here and that is not registered as it is now.
 *
 * @param label  of `saes` in provenance, such as `demo/saes`
 * @returns what was registered now
 */
export async function registerSaesInPlace(saes: string, label: string, options: Options): Promise<SaeEntry[]> {
  const { catalog } = options
  const entries = await fs.readdir(saes, { withFileTypes: true }).catch(() => [])
  const models = new Set(await catalog.models.ids())
  const registered: SaeEntry[] = []
  for (const { name: id } of entries.filter((entry) => entry.isDirectory() && isSaeId(entry.name))) {
    options.signal?.throwIfAborted()
    const modelId = id.slice(0, id.indexOf('.'))
    if (!models.has(modelId)) continue
    const entry = await registerOne(id, { folder: path.join(saes, id), modelId, place: `${label}/${id}`, options })
    if (entry) registered.push(entry)
  }
  return registered
}

interface Place {
  readonly folder: string
  readonly modelId: string
  /** In provenance. */
  readonly place: string
  readonly options: Options
}

/** Nothing when it is registered as it is, or the id is a user's own SAE. */
async function registerOne(id: string, { folder, modelId, place, options }: Place): Promise<SaeEntry | undefined> {
  const { catalog, inspectSae, signal } = options
  const provenance = { kind: 'folder', name: place } as const
  const existing = await catalog.saes.get(id)
  if (existing && (existing.provenance.kind !== 'folder' || existing.provenance.name !== place)) return undefined
  const needed = await neededOf(folder, selectSaeFiles(await listFiles(folder), folder))
  const files = await recordsOf(folder, needed.names, signal)
  const metrics = await readMetrics(path.join(folder, METRICS), catalog.datasets)
  if (existing?.download?.folder === folder && identityOf(existing.download.files) === identityOf(files)) {
    await putNew(id, metrics, catalog.metrics)
    return undefined
  }
  const description = await inspectSae({ key: `${id}@${identityOf(files)}`, folder, overrides: {} }, signal)
  if (existing) await catalog.saes.remove(id)
  const weights = files.find((file) => file.path === description.files.weights)!
  const license = (await licenseOfFolder(folder)) ?? options.license
  const facts = saeFacts(description, { modelId, provenance, license, source: 'demo' })
  const download = { folder, files, weightsSha256: weights.sha256, weightBytes: weights.bytes, description }
  const sae = await catalog.saes.create({ id, ...facts, download })
  await catalog.metrics.put(id, metrics)
  return sae
}

/** Those that were measured anew since they were put there. */
async function putNew(id: string, metrics: readonly MetricValueRecord[], catalog: Catalog['metrics']): Promise<void> {
  const known = await catalog.list({ saeId: id })
  const isKnown = ({ metric, value, codeVersion }: MetricValueRecord) =>
    known.some((other) => other.metric === metric && other.value === value && other.codeVersion === codeVersion)
  const fresh = metrics.filter((value) => !isKnown(value))
  if (fresh.length > 0) await catalog.put(id, fresh)
}

/** As `refract evaluate` writes them, of the data set with the same content where that is registered. Nothing where there is no such file. */
async function readMetrics(file: string, datasets: Catalog['datasets']): Promise<MetricValueRecord[]> {
  const text = await fs.readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) return []
  const { codeVersion, backend, dtype, seed, dataset, metrics } = JSON.parse(text) as {
    readonly codeVersion: string
    readonly backend: string
    readonly dtype: string
    readonly seed: number
    readonly dataset: { readonly name: string; readonly hash: string }
    readonly metrics: readonly Pick<MetricValueRecord, 'metric' | 'version' | 'value' | 'low' | 'high' | 'flags' | 'n'>[]
  }
  const registered = await datasets.ofHash(dataset.hash)
  const circumstances = {
    source: 'measured',
    dataset: { id: registered?.id ?? slugPart(dataset.name), hash: dataset.hash },
    ...{ seed, dtype, backend, codeVersion, measuredAt: null },
  } as const
  return metrics.filter(({ metric }) => metricDefinition(metric) !== undefined).map((value) => ({ ...value, ...circumstances }))
}
