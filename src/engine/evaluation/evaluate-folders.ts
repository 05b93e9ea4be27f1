/**
 * `refract evaluate`: SAEs that lie in folders, measured on a data set with the model that lies beside them, by a configuration. Needs no
 * catalog.
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import type { Backend } from '../backends/backend.js'
import { createBatches } from '../datasets/batches.js'
import { facetClasses, inWords } from '../datasets/facets.js'
import { readDataset } from '../datasets/open-dataset.js'
import { subset } from '../datasets/subsets.js'
import { EngineError } from '../errors.js'
import type { ImageLimits } from '../image/decode.js'
import { loadModel } from '../models/load.js'
import type { VisionConfig } from '../models/model.js'
import { loadSae } from '../saes/load-sae.js'
import { StrictFields } from '../strict-fields.js'
import { openSaeEvaluator } from './evaluate-saes.js'
import { finishEvaluation } from './finish-evaluation.js'
import type { MetricValue } from './metric-definitions.js'
import { modelClasses } from './model-classes.js'
import { pictureOrder } from './sampling.js'
import type { StudiedSae } from './studied-sae.js'

export interface EvaluateFoldersOptions {
  readonly backend: Backend
  /** Against which relative paths of the configuration are resolved. */
  readonly baseFolder: string
  readonly limits: ImageLimits
  /** For decoded pictures. */
  readonly cacheBytes: number
  readonly onData?: (what: string, done: number, total: number) => void
  /** In batches. */
  readonly onProgress?: (done: number, total: number) => void
  readonly signal?: AbortSignal
}

export interface EvaluatedFolders {
  /** By which the batches were drawn. */
  readonly seed: number
  readonly data: { readonly name: string; readonly hash: string; readonly size: number }
  /** By the names of their folders. */
  readonly saes: readonly { readonly id: string; readonly metrics: readonly MetricValue[] }[]
}

/** `model`, `saes`, `data`, `classes: { facet, templates }`, `batchSize`, `seed`. */
function read(config: unknown) {
  const fields = new StrictFields(config, '')
  const data = fields.section('data')
  if (data === undefined && !fields.has('data')) fields.problem('data', 'is missing; expected a data set')
  const classes = fields.section('classes')
  const read = {
    model: fields.string('model'),
    saes: fields.string('saes'),
    data: data && readDataset(data),
    classes: classes && { facet: classes.string('facet'), templates: classes.strings('templates', ['{}']) },
    batchSize: fields.number('batchSize', { min: 1, max: 65_536, integer: true, fallback: 32 }),
    seed: fields.number('seed', { min: 0, max: 2 ** 32 - 1, integer: true, fallback: 0 }),
  }
  fields.check()
  return read
}

/**
 * @throws CONFIG_INVALID with every problem of the configuration; INPUT_INVALID for a folder without SAEs; SAE_MISFIT; what loading and opening
 *   the data throw
 */
export async function evaluateFolders(config: unknown, options: EvaluateFoldersOptions): Promise<EvaluatedFolders> {
  const { backend, baseFolder, limits, cacheBytes, onData, onProgress, signal } = options
  const recipe = read(config)
  const stop = signal ? { signal } : {}
  const model = await loadModel(path.resolve(baseFolder, recipe.model), stop)
  const saes: StudiedSae[] = []
  for (const folder of await saeFolders(path.resolve(baseFolder, recipe.saes))) {
    const { description, weights } = await loadSae(folder, stop)
    saes.push({ id: path.basename(folder), config: description.config, weights, positions: description.training.positions ?? 'all' })
  }
  const opening = (done: number, total: number) => onData?.('pictures', done, total)
  const dataset = await recipe.data!({ baseFolder, limits, onProgress: opening, ...stop })
  const labelled = recipe.classes && facetClasses(dataset, recipe.classes.facet, 'classes.facet')
  const classes =
    labelled &&
    (await modelClasses(backend, model, {
      names: labelled.values.map(inWords),
      templates: recipe.classes!.templates,
      path: 'classes.facet',
    }))
  const { name, hash, size } = dataset
  const order = pictureOrder(recipe.seed, size)
  const batches = createBatches(subset(dataset, order, name), {
    batchSize: Math.min(recipe.batchSize, size),
    dropLast: false,
    preprocessing: model.description.preprocessing,
    cacheBytes,
    limits,
  })
  const evaluator = await openSaeEvaluator({
    backend,
    tower: model.towers.vision,
    config: model.description.vision.config as VisionConfig,
    saes,
    ...(classes && { classes: classes.classes }),
  })
  try {
    let shard = evaluator.empty()
    for (let batch = 0; batch < batches.stepsPerEpoch; batch++) {
      signal?.throwIfAborted()
      const { pixels, items } = await batches.at(batch)
      shard = await evaluator.addBatch(shard, {
        batch,
        pixels,
        ...(labelled && { labels: Array.from(items, (place) => classes!.classOf[labelled.labels[order[place]!]!]!) }),
      })
      onProgress?.(batch + 1, batches.stepsPerEpoch)
    }
    const values = finishEvaluation(shard)
    return { seed: recipe.seed, data: { name, hash, size }, saes: saes.map(({ id }) => ({ id, metrics: values[id]! })) }
  } finally {
    batches.close()
    await evaluator.dispose()
  }
}

/** The folder itself, or the folders in it. */
async function saeFolders(folder: string): Promise<string[]> {
  const entries = await fs.readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    throw new EngineError('INPUT_INVALID', { path: 'saes', problem: `${folder} cannot be read (${error.code}).` })
  })
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => path.join(folder, name))
  return folders.length > 0 ? folders.sort() : [folder]
}
