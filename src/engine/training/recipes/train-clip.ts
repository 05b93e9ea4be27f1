/**
 * `refract train clip`: a vision and a text tower that learn which text belongs to which picture, with a tokenizer learned from the captions,
 * from a configuration to a folder that can be imported.
 */

import type { Dataset } from '../../datasets/dataset.js'
import { facetClasses } from '../../datasets/facets.js'
import { initSchemes } from '../../models/initialize.js'
import { type TrainedTokenizer, trainedClipTokenizer, trainedTokenizerFiles, trainTokenizer } from '../../models/tokenizer-training.js'
import { createRandom } from '../../random.js'
import { StrictFields } from '../../strict-fields.js'
import { initialWeights } from '../model-objective.js'
import type { Json } from '../run/checkpoints.js'
import { openRun } from '../run/run-folder.js'
import { trainModel } from '../train-model.js'
import { readClipText, readClipVision } from './architecture-fields.js'
import { fed, groupsFeed, keptPatchesFeed, readTemplates, readTextClasses, textClassesFeed } from './batch-feeds.js'
import { clipAccuracy, type ZeroShotQuestion } from './evaluate-model.js'
import { readModelTraining } from './model-fields.js'
import { pictureBatches } from './picture-batches.js'
import { dataFacts } from './picture-data.js'
import { type RecipeOptions, type RecipeResult, readSeed } from './recipe.js'
import { runSetting, stepsOf } from './run-fields.js'
import { writeTrained } from './write-trained.js'

function read(config: unknown, at = '') {
  const fields = new StrictFields(config, at)
  const model = fields.section('model')
  if (model === undefined && !fields.has('model')) fields.problem('model', 'is missing; expected { embeddingSize, vision, text }')
  const dEmbed = model?.number('embeddingSize', { min: 1, max: 65_536, integer: true }) ?? 1
  const [vision, text] = (['vision', 'text'] as const).map((tower) => {
    const section = model?.section(tower)
    if (model && section === undefined && !model.has(tower)) model.problem(tower, 'is missing; expected an architecture')
    return section
  })
  const evaluation = fields.section('evaluate')
  const read = {
    seed: readSeed(fields),
    vision: vision && readClipVision(vision, dEmbed),
    text: text && readClipText(text, dEmbed),
    init: model?.has('init') ? model.choice('init', initSchemes()) : undefined,
    sameBy: fields.has('sameBy') ? fields.string('sameBy') : undefined,
    contrastWeight: fields.number('contrastWeight', { min: 0, max: 1000, fallback: 1 }),
    textClasses: readTextClasses(fields),
    ...readModelTraining(fields),
    zeroShot: readQuestions(evaluation),
    retrieval: evaluation?.boolean('retrieval', true) ?? true,
  }
  fields.check()
  return read
}

function readQuestions(section: StrictFields | undefined): ZeroShotQuestion[] {
  const questions = section?.sections('zeroShot') ?? []
  return questions.map((question) => ({ facet: question.string('facet'), templates: readTemplates(question) }))
}

/**
 * Before anything is opened.
 * @param at  what problems call the configuration; nothing unless given
 * @throws CONFIG_INVALID with every problem of the configuration
 */
export function checkClipConfig(config: unknown, at?: string): void {
  read(config, at)
}

/** @throws CONFIG_INVALID with every problem of the configuration; what opening the data, training and writing throw */
export async function trainClip(config: unknown, options: RecipeOptions): Promise<RecipeResult> {
  const recipe = read(config)
  const { seed, pictures, sameBy, contrastWeight, patchDropout } = recipe
  const vision = recipe.vision!
  const data = await pictures.open(options)
  // before anything is trained, although they are asked at its end
  for (const { facet } of recipe.zeroShot) facetClasses(data.test ?? data.train, facet, 'evaluate.zeroShot.facet')
  const vocabulary = trainTokenizer(captionsOf(data.train), { vocabSize: recipe.text!.maxVocabulary })
  const { contextLength } = recipe.text!
  const tokenizer = trainedClipTokenizer(vocabulary, contextLength)
  const text = recipe.text!.config(vocabulary.vocabSize, endOf(vocabulary))
  const random = createRandom(seed)
  const source = pictureBatches(data, { pictures, vision, random: random.fork('data'), tokenizer, options })
  const run = await openRun({
    folder: options.folder,
    identity: { config: config as Json, seed, data: dataFacts(data) },
    code: options.code,
    resume: options.resume,
  })
  const nSteps = stepsOf(recipe.length, source.train.stepsPerEpoch)
  const asked = textClassesFeed(recipe.textClasses, { dataset: data.train, tokenizer, random: random.fork('text classes') })
  const { textClasses } = asked
  const objective = { kind: 'clip', vision, text, grouped: sameBy !== undefined, contrastWeight, textClasses, patchDropout } as const
  const feeds = [
    ...(sameBy === undefined ? [] : [groupsFeed(data.train, sameBy)]),
    ...(textClasses.length === 0 ? [] : [asked.feed]),
    keptPatchesFeed(vision, patchDropout, random.fork('patches')),
  ]
  const { schedule, nMicroBatches, init, training, zeroShot, retrieval } = recipe
  const { outcome, weights } = await trainModel({
    ...options,
    title: 'CLIP',
    run,
    setting: { objective, ...training, schedule, nMicroBatches, run: runSetting(recipe.run, nSteps) },
    batches: fed(source.train, feeds),
    weights: initialWeights(objective, random.fork('weights'), init ? { vision: init, text: init } : { vision: 'clip', text: 'clip' }),
    ...(data.test &&
      source.test && {
        evaluate: clipAccuracy({ vision, text, tokenizer, dataset: data.test, batches: source.test, zeroShot, retrieval }),
      }),
  })
  source.close()
  if (outcome.ended === 'stopped') return { outcome, written: [] }
  const folder = await writeTrained(options.folder, {
    weights,
    vision,
    text: { config: text, files: trainedTokenizerFiles(vocabulary, contextLength) },
    preprocessing: source.preprocessing,
    outcome,
    data,
    kind: 'zero-shot-image-classification',
    written: recipe.written,
  })
  return { outcome, written: [folder] }
}

function* captionsOf(dataset: Dataset): Generator<string> {
  for (let index = 0; index < dataset.size; index++) {
    for (const { text } of dataset.item(index).captions ?? []) yield text
  }
}

const endOf = ({ end }: TrainedTokenizer) => end.id
