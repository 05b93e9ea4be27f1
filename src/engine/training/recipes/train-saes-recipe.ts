/**
 * `refract train sae`: SAEs and transcoders on the activations of a model's vision tower, several of them in one pass, from a configuration
 * to one folder an SAE.
 */

import { createHash } from 'node:crypto'
import path from 'node:path'
import { createBatches } from '../../datasets/batches.js'
import { named } from '../../datasets/dataset.js'
import { readDataset } from '../../datasets/open-dataset.js'
import { loadModel } from '../../models/load.js'
import type { HookPointInfo, VisionConfig } from '../../models/model.js'
import { createRandom } from '../../random.js'
import { fitProblems } from '../../saes/fit-model.js'
import { checkSaeLayout, saveSae } from '../../saes/save-sae.js'
import { StrictFields } from '../../strict-fields.js'
import type { Tensor } from '../../tensor.js'
import type { Json } from '../run/checkpoints.js'
import { openRun } from '../run/run-folder.js'
import { openActivationSource, type Positions, readName } from '../saes/activation-source.js'
import { type TrainedSae, trainSaes } from '../saes/train-saes.js'
import { type RecipeOptions, type RecipeResult, readSeed } from './recipe.js'
import { readLength, readRun, readSchedule, runSetting, stepsOf } from './run-fields.js'
import { readSae, type SaeFields } from './sae-fields.js'

const layouts = ['refract', 'vit-prisma', 'sae-lens'] as const

/** @param hookPoints  of the model, where they are known: then the SAEs are held against them, too */
function read(config: unknown, { at = '', hookPoints }: { at?: string; hookPoints?: readonly HookPointInfo[] } = {}) {
  const fields = new StrictFields(config, at)
  const data = fields.section('data')
  if (data === undefined && !fields.has('data')) fields.problem('data', 'is missing; expected a data set')
  const sections = fields.sections('saes') ?? []
  const saes = sections.map(readSae)
  if (!fields.has('saes')) fields.problem('saes', 'is missing; expected a list of SAEs')
  const twice = saes.find(({ name }, index) => saes.some((other, place) => place < index && other.name === name))
  if (twice) fields.problem('saes', `two of them have the name "${twice.name}"`)
  const count = { min: 1, max: 2 ** 24, integer: true } as const
  const read = {
    seed: readSeed(fields),
    model: fields.string('model'),
    data: data && readDataset(data),
    saes,
    positions: fields.choice<Positions>('positions', ['all', 'cls', 'patches'], 'all'),
    batchSize: fields.number('batchSize', { ...count, fallback: 1024 }),
    picturesPerBatch: fields.number('picturesPerBatch', { ...count, fallback: 32 }),
    bufferMb: fields.number('bufferMb', { min: 1, max: 1e6, fallback: 128 }),
    length: readLength(fields),
    learningRate: fields.number('learningRate', { min: 0, max: 100, fallback: 1e-3 }),
    schedule: readSchedule(fields.section('schedule'), { kind: 'constant-with-warmup', warmupSteps: 100 }),
    deadAfterSteps: fields.number('deadAfterSteps', { ...count, fallback: 1000 }),
    frequencyWindow: fields.number('frequencyWindow', { ...count, fallback: 1000 }),
    initialRows: fields.number('initialRows', { ...count, fallback: 8192 }),
    run: readRun(fields.section('run')),
    layout: fields.choice('layout', layouts, 'refract'),
  }
  if (hookPoints) for (const [index, sae] of saes.entries()) reportMisfit(sae, hookPoints, sections[index]!)
  fields.check()
  return read
}

function reportMisfit(sae: SaeFields, hookPoints: readonly HookPointInfo[], section: StrictFields): void {
  // said already
  if (sae.reads.some(({ hookPoint }) => hookPoint === '')) return
  const { config } = sae.plan(sae.reads.map(({ hookPoint }) => widthOf(hookPoints.find(({ name }) => name === hookPoint))))
  for (const problem of fitProblems(config, hookPoints)) section.problem('hookPoint', problem)
}

const widthOf = (hookPoint: HookPointInfo | undefined) => Number(hookPoint?.shape.at(-1) ?? 1)

/**
 * Before anything is opened.
 * @param options.at  what problems call the configuration; nothing unless given
 * @param options.hookPoints  of the model, where it is known
 * @throws CONFIG_INVALID with every problem of the configuration
 */
export function checkSaesConfig(config: unknown, options: { readonly at?: string; readonly hookPoints?: readonly HookPointInfo[] }): void {
  read(config, options)
}

/** @throws CONFIG_INVALID with every problem of the configuration; what loading the model, opening the data, training and writing throw */
export async function trainSaesRecipe(config: unknown, options: RecipeOptions): Promise<RecipeResult> {
  const recipe = read(config)
  const { seed, positions, batchSize, picturesPerBatch } = recipe
  const { backend, baseFolder, signal, onData, onNote } = options
  const { description, towers } = await loadModel(path.resolve(baseFolder, recipe.model), signal ? { signal } : {})
  const onProgress = (done: number, total: number) => onData?.('pictures', done, total)
  const dataset = await recipe.data!({ baseFolder, limits: options.limits, onProgress, ...(signal && { signal }) })
  const { unreadable } = dataset.report
  if (unreadable.count > 0) onNote?.(`pictures: ${unreadable.count} unreadable, left out: ${named(unreadable)}`)

  const reads = [...new Map(recipe.saes.flatMap((sae) => sae.reads.map((each) => [readName(each), each] as const))).values()]
  const tower = towers.vision
  const source = await openActivationSource({ backend, tower, config: description.vision.config as VisionConfig, reads, positions })
  const pictures = createBatches(dataset, {
    batchSize: Math.min(picturesPerBatch, dataset.size),
    random: createRandom(seed).fork('data'),
    dropLast: true,
    preprocessing: description.preprocessing,
    cacheBytes: options.cacheBytes,
    limits: options.limits,
  })
  try {
    const plans = recipe.saes.map((sae) => sae.plan(sae.reads.map((each) => source.widths[readName(each)]!)))
    for (const { config: sae } of plans) checkSaeLayout(sae, recipe.layout)
    const run = await openRun({
      folder: options.folder,
      identity: {
        config: config as Json,
        seed,
        data: {
          pictures: { name: dataset.name, hash: dataset.hash, size: dataset.size },
          model: { weights: hashOfWeights(tower.weights) },
        },
      },
      code: options.code,
      resume: options.resume,
    })
    const nSteps = stepsOf(recipe.length, Math.max(1, Math.floor((dataset.size * source.rowsPerPicture) / batchSize)))
    const { outcome, saes } = await trainSaes({
      ...options,
      title: 'SAEs',
      run,
      setting: {
        saes: plans,
        batchSize,
        bufferBytes: recipe.bufferMb * 2 ** 20,
        learningRate: recipe.learningRate,
        schedule: recipe.schedule,
        deadAfterSteps: recipe.deadAfterSteps,
        frequencyWindow: recipe.frequencyWindow,
        initialRows: recipe.initialRows,
        run: runSetting(recipe.run, nSteps),
      },
      source,
      pictures,
      picturesPerBatch: Math.min(picturesPerBatch, dataset.size),
    })
    if (outcome.ended === 'stopped') return { outcome, written: [] }
    const written: string[] = []
    for (const sae of saes)
      written.push(await write(sae, { folder: options.folder, layout: recipe.layout, positions, dataset: dataset.name }))
    return { outcome, written }
  } finally {
    pictures.close()
    await source.dispose()
  }
}

async function write(
  { name, config, weights, logFeatureSparsity }: TrainedSae,
  { folder, layout, positions, dataset }: { folder: string; layout: (typeof layouts)[number]; positions: Positions; dataset: string },
): Promise<string> {
  const place = path.join('saes', name)
  const training = { positions, datasetName: dataset }
  await saveSae(path.join(folder, place), { config, weights, logFeatureSparsity, training }, { layout, replace: true })
  return place
}

/** sha256 over names, shapes and numbers, in the order of the names. */
function hashOfWeights(weights: Readonly<Record<string, Tensor<'float32'>>>): string {
  const hash = createHash('sha256')
  for (const name of Object.keys(weights).sort()) {
    const { shape, data } = weights[name]!
    hash.update(`${name} [${shape}]\n`).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  }
  return hash.digest('hex')
}
