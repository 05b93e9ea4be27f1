/**
 * `train-model` and `train-sae`: the recipes of `refract train` as jobs. Their run folder lies in the job's, so whoever takes up a training
 * that was left goes on from its last checkpoint. What a finished training is catalogued as is decided after it, in a step of its own:
 * a name that is taken costs no training.
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import { type Static, Type } from 'typebox'
import type { Catalog, ModelRecord } from '../../../catalog/catalog.js'
import { importModel } from '../../../catalog/import/import-model.js'
import { importTrainedSaes } from '../../../catalog/import/import-trained-saes.js'
import { checkedSlug } from '../../../catalog/import/slug.js'
import { EngineError } from '../../../engine/errors.js'
import { describeModel } from '../../../engine/models/load.js'
import type { RecipeOptions, RecipeResult } from '../../../engine/training/recipes/recipe.js'
import { checkClassifierConfig, trainClassifier } from '../../../engine/training/recipes/train-classifier.js'
import { checkClipConfig, trainClip } from '../../../engine/training/recipes/train-clip.js'
import { checkSaesConfig, trainSaesRecipe } from '../../../engine/training/recipes/train-saes-recipe.js'
import type { Progress } from '../../../engine/training/run/training-run.js'
import { version } from '../../capabilities.js'
import { Problems } from '../../errors.js'
import { defineJobKind, type JobContext, type Json } from '../job-kind.js'

type Train = (config: unknown, options: RecipeOptions) => Promise<RecipeResult>

const TrainingConfig = Type.Unsafe<Readonly<Record<string, unknown>>>({
  type: 'object',
  'x-scalar': 'Json',
  description: 'As in docs/training.md, in JSON. Relative paths are resolved against DATA_DIR.',
})

const recipes = {
  model: { check: checkClassifierConfig, train: trainClassifier },
  clip: { check: checkClipConfig, train: trainClip },
} as const satisfies Record<string, { check(config: unknown, at: string): void; train: Train }>

/** What problems of a configuration are said to be in. */
const AT = 'input.config'

const TrainModelInput = Type.Object(
  {
    recipe: Type.Enum(Object.keys(recipes) as (keyof typeof recipes)[], {
      description: '`model`: a vision transformer that classifies; `clip`: a vision and a text tower.',
    }),
    config: TrainingConfig,
    id: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 100,
        description: 'What the trained model is catalogued as; it is not unless this is given.',
      }),
    ),
  },
  { title: 'TrainModelJob', additionalProperties: false },
)

export const trainModelJob = defineJobKind({
  name: 'train-model',
  summary: 'Train a vision transformer or a CLIP, as `refract train model` and `refract train clip` do',
  input: TrainModelInput,
  example: {
    recipe: 'model',
    config: {
      model: { nLayers: 2, dModel: 64, nHeads: 4, imageSize: 32, patchSize: 8 },
      data: { train: { kind: 'circle' } },
      batchSize: 32,
      steps: 100,
    },
    id: 'my-model',
  },
  place: 'data-folder',
  // configurations name folders of this machine
  scope: () => 'admin',

  async check({ recipe, config, id }, { catalog }) {
    const problems = new Problems()
    problems.collect(AT, () => recipes[recipe].check(config, AT))
    const slug = id === undefined ? undefined : problems.collect('input.id', () => checkedSlug(id))
    if (slug !== undefined && (await catalog.models.get(slug))) problems.add('input.id', taken(slug))
    problems.throwIfAny()
  },

  plan: async (): Promise<readonly null[]> => [null],
  run: (_shard, { recipe, config }, context) => train(recipes[recipe].train, config, context),

  async finish(parts, { id }, context): Promise<Json> {
    const trained = (await parts.merged()) as Trained
    const folder = runFolder(context)
    const [written] = trained.written
    if (id === undefined || written === undefined) return { ...trained, folder }
    context.progress(0, `registering ${id}`)
    const { catalog, config, signal } = context
    const { model } = await importModel({
      source: path.join(folder, written),
      id,
      catalog,
      config,
      inspect: (source, inspectSignal) => describeModel(source.folder, inspectSignal ? { signal: inspectSignal } : {}),
      signal,
    })
    return { ...trained, folder, model: model.id }
  },
  merge: (left) => left,
})

const TrainSaeInput = Type.Object({ config: TrainingConfig }, { title: 'TrainSaeJob', additionalProperties: false })

export const trainSaeJob = defineJobKind({
  name: 'train-sae',
  summary: "Train SAEs and transcoders on a model's activations, as `refract train sae` does",
  input: TrainSaeInput,
  example: {
    config: {
      model: 'emoji-clip',
      data: { kind: 'folder', folder: 'pictures' },
      saes: [{ name: 'middle', hookPoint: 'blocks.3.hook_resid_post', architecture: 'topk', k: 32, expansionFactor: 8 }],
      steps: 10_000,
    },
  },
  place: 'data-folder',
  scope: () => 'admin',
  uses: ({ config }) => (typeof config.model === 'string' ? [`model:${config.model}`] : []),

  async check({ config }, { catalog, config: { dataDir } }) {
    const model = await catalogued(config, catalog)
    const problems = new Problems()
    if (model) problems.collect(AT, () => requireUnprocessed(model))
    else if (typeof config.model === 'string' && !(await isFolder(path.resolve(dataDir, config.model)))) {
      problems.add(`${AT}.model`, invalidModel(`"${config.model.slice(0, 100)}" is neither a catalogued model nor a folder`))
    }
    problems.collect(AT, () => checkSaesConfig(config, { at: AT, ...(model && { hookPoints: model.description.vision.hookPoints }) }))
    problems.throwIfAny()
  },

  plan: async (): Promise<readonly null[]> => [null],

  async run(_shard, { config }, context) {
    const model = await catalogued(config, context.catalog)
    if (model) requireUnprocessed(model)
    return train(trainSaesRecipe, model ? { ...config, model: model.folder } : config, context)
  },

  async finish(parts, { config: training }, context): Promise<Json> {
    const trained = (await parts.merged()) as Trained
    const folder = runFolder(context)
    const { catalog, config, job, log, signal } = context
    const model = await catalogued(training, catalog)
    if (model === undefined) {
      log(
        'The model is not in the catalog, and so its SAEs are not, either: refract import brings the model, then the folders below "written".',
      )
      return { ...trained, folder, saes: [] }
    }
    const folders = trained.written.map((name) => path.join(folder, name))
    const options = { modelId: model.id, training: job.id, catalog, config, signal }
    const saes = await importTrainedSaes({
      ...options,
      folders,
      onProgress: ({ step, what }) => context.progress(0, step === 'register' ? `registering ${what}` : undefined),
    })
    return { ...trained, folder, saes }
  },
  merge: (left) => left,
})

/** `model` may be the id of a catalogued model. */
async function catalogued({ model }: Static<typeof TrainSaeInput>['config'], catalog: Pick<Catalog, 'models'>) {
  return typeof model === 'string' ? catalog.models.get(model) : undefined
}

function requireUnprocessed({ id, processing }: ModelRecord): void {
  if (processing.length === 0) return
  throw invalidModel(
    `${id} is catalogued with weight processing (${processing.join(', ')}), and SAEs are trained on a model as its files have it. Import it again without, under another id.`,
  )
}

function invalidModel(problem: string): EngineError {
  const place = `${AT}.model`
  return new EngineError('INPUT_INVALID', { path: place, problem }, [{ path: place, message: problem }])
}

const isFolder = async (folder: string) => (await fs.stat(folder).catch(() => undefined))?.isDirectory() ?? false

interface Trained {
  readonly steps: number
  readonly evaluation: Readonly<Record<string, number>>
  readonly best: { readonly step: number; readonly value: number } | null
  /** Folders of what was trained, within the run's. */
  readonly written: readonly string[]
  readonly [key: string]: Json
}

const runFolder = ({ folder }: Pick<JobContext, 'folder'>) => path.join(folder, 'run')

async function train(recipe: Train, config: unknown, context: JobContext): Promise<Trained> {
  const { signal, config: settings, progress, log } = context
  const { outcome, written } = await recipe(config, {
    backend: await context.backend(),
    folder: runFolder(context),
    baseFolder: settings.dataDir,
    // from the start when there is nothing to go on with
    resume: true,
    code: { version },
    limits: { maxPixels: settings.maxImagePixels },
    cacheBytes: settings.memoryMb * 2 ** 18,
    now: () => performance.now(),
    onData: (what, done, total) => progress(0, `${what}: ${done} of ${total}`),
    onNote: (note) => log(note),
    onProgress: (step) => progress(step.step / step.nSteps, described(step)),
    signal,
  })
  signal.throwIfAborted()
  const { step, evaluation, best = null } = outcome
  return { steps: step, evaluation, best, written }
}

function described({ step, nSteps, numbers, secondsLeft }: Progress): string {
  const parts = [`step ${step} of ${nSteps}`]
  if (numbers.loss !== undefined) parts.push(`loss ${numbers.loss.toPrecision(4)}`)
  if (secondsLeft !== undefined) parts.push(`${Math.ceil(secondsLeft)} s left`)
  return parts.join(', ')
}

function taken(id: string): EngineError {
  return new EngineError('MODEL_CONFLICT', {
    id,
    problem: 'there is such a model already',
    instead: 'Choose another id, or remove that one first.',
  })
}
