/** `refract train model`: a vision transformer that names the class of a picture, from a configuration to a folder that can be imported. */

import { EngineError } from '../../errors.js'
import { initSchemes } from '../../models/initialize.js'
import type { VisionConfig } from '../../models/model.js'
import { createRandom } from '../../random.js'
import { StrictFields } from '../../strict-fields.js'
import { initialWeights } from '../model-objective.js'
import type { Json } from '../run/checkpoints.js'
import { openRun } from '../run/run-folder.js'
import { trainModel } from '../train-model.js'
import { readClassifier } from './architecture-fields.js'
import { fed, keptPatchesFeed } from './batch-feeds.js'
import { classificationAccuracy } from './evaluate-model.js'
import { readModelTraining } from './model-fields.js'
import { pictureBatches } from './picture-batches.js'
import { dataFacts } from './picture-data.js'
import { type RecipeOptions, type RecipeResult, readSeed } from './recipe.js'
import { runSetting, stepsOf } from './run-fields.js'
import { writeTrained } from './write-trained.js'

function read(config: unknown, at = '') {
  const fields = new StrictFields(config, at)
  const model = fields.section('model')
  if (model === undefined && !fields.has('model')) fields.problem('model', 'is missing; expected an architecture')
  const read = {
    seed: readSeed(fields),
    vision: model && readClassifier(model),
    init: model?.has('init') ? model.choice('init', initSchemes()) : undefined,
    labelSmoothing: fields.number('labelSmoothing', { min: 0, max: 0.99, fallback: 0 }),
    ...readModelTraining(fields),
  }
  fields.check()
  return read
}

/**
 * Before anything is opened.
 * @param at  what problems call the configuration; nothing unless given
 * @throws CONFIG_INVALID with every problem of the configuration
 */
export function checkClassifierConfig(config: unknown, at?: string): void {
  read(config, at)
}

/** @throws CONFIG_INVALID with every problem of the configuration; what opening the data, training and writing throw */
export async function trainClassifier(config: unknown, options: RecipeOptions): Promise<RecipeResult> {
  const {
    seed,
    vision: visionFor,
    init,
    labelSmoothing,
    patchDropout,
    pictures,
    length,
    nMicroBatches,
    training,
    schedule,
    run: runFields,
    written,
  } = read(config)
  const data = await pictures.open(options)
  const { nClasses, classNames } = data.train
  if (nClasses === undefined || nClasses < 2) throw invalid('data.train', 'has no two classes to tell apart')
  if (data.test && data.test.classNames?.join('\n') !== classNames?.join('\n'))
    throw invalid('data.test', 'has other classes than data.train')
  const vision: VisionConfig = visionFor!(nClasses)
  const random = createRandom(seed)
  const source = pictureBatches(data, { pictures, vision, random: random.fork('data'), options })
  const run = await openRun({
    folder: options.folder,
    identity: { config: config as Json, seed, data: dataFacts(data) },
    code: options.code,
    resume: options.resume,
  })
  const nSteps = stepsOf(length, source.train.stepsPerEpoch)
  const objective = { kind: 'classification', vision, labelSmoothing, patchDropout } as const
  const { outcome, weights } = await trainModel({
    ...options,
    title: 'classification',
    run,
    setting: { objective, ...training, schedule, nMicroBatches, run: runSetting(runFields, nSteps) },
    batches: fed(source.train, [keptPatchesFeed(vision, patchDropout, random.fork('patches'))]),
    weights: initialWeights(objective, random.fork('weights'), init ? { vision: init } : {}),
    ...(source.test && { evaluate: classificationAccuracy(vision, source.test) }),
  })
  source.close()
  if (outcome.ended === 'stopped') return { outcome, written: [] }
  const folder = await writeTrained(options.folder, {
    weights,
    vision,
    preprocessing: source.preprocessing,
    ...(classNames && { classLabels: classNames }),
    outcome,
    data,
    kind: 'image-classification',
    written,
  })
  return { outcome, written: [folder] }
}

function invalid(path: string, problem: string): EngineError {
  return new EngineError('INPUT_INVALID', { path, problem })
}
