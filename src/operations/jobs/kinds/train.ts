/**
 * `train-model` and `train-sae`: the recipes of `refract train` as jobs. Their run folder lies in the job's, so whoever takes up a training
 * that was left goes on from its last checkpoint. What a finished training is catalogued as is decided after it, in a step of its own:
 * a name that is taken costs no training.
 */

import path from 'node:path'
import { type Static, Type } from 'typebox'
import type { Catalog } from '../../../catalog/catalog.js'
import { importModel } from '../../../catalog/import/import-model.js'
import { checkedSlug } from '../../../catalog/import/slug.js'
import { EngineError } from '../../../engine/errors.js'
import { describeModel } from '../../../engine/models/load.js'
import type { RecipeOptions, RecipeResult } from '../../../engine/training/recipes/recipe.js'
import { trainClassifier } from '../../../engine/training/recipes/train-classifier.js'
import { trainClip } from '../../../engine/training/recipes/train-clip.js'
import { trainSaesRecipe } from '../../../engine/training/recipes/train-saes-recipe.js'
import type { Progress } from '../../../engine/training/run/training-run.js'
import { version } from '../../capabilities.js'
import { defineJobKind, type JobContext, type Json } from '../job-kind.js'

type Train = (config: unknown, options: RecipeOptions) => Promise<RecipeResult>

const TrainingConfig = Type.Unsafe<Readonly<Record<string, unknown>>>({
  type: 'object',
  'x-scalar': 'Json',
  description: 'As in docs/training.md, in JSON. Relative paths are resolved against DATA_DIR.',
})

const recipes = { model: trainClassifier, clip: trainClip } as const satisfies Record<string, Train>

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
  example: { recipe: 'model', config: { data: { train: { kind: 'circle' } }, batchSize: 32, steps: 100 }, id: 'my-model' },
  place: 'data-folder',
  // configurations name folders of this machine
  scope: () => 'admin',

  async check({ id }, { catalog }) {
    if (id !== undefined && (await catalog.models.get(checkedSlug(id)))) throw taken(id)
  },

  plan: async (): Promise<readonly null[]> => [null],
  run: (_shard, { recipe, config }, context) => train(recipes[recipe], config, context),

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
  example: { config: { model: 'emoji-clip', data: { kind: 'circle' }, saes: [], steps: 100 } },
  place: 'data-folder',
  scope: () => 'admin',
  uses: ({ config }) => (typeof config.model === 'string' ? [`model:${config.model}`] : []),

  async check(input, { catalog }) {
    await withModelFolder(input, catalog)
  },

  plan: async (): Promise<readonly null[]> => [null],
  run: async (_shard, input, context) => train(trainSaesRecipe, await withModelFolder(input, context.catalog), context),
  finish: async (parts, _input, context): Promise<Json> => ({ ...((await parts.merged()) as Trained), folder: runFolder(context) }),
  merge: (left) => left,
})

/** `model` may be the id of a catalogued model: its folder then. */
async function withModelFolder({ config }: Static<typeof TrainSaeInput>, catalog: Pick<Catalog, 'models'>) {
  const model = typeof config.model === 'string' ? await catalog.models.get(config.model) : undefined
  if (model === undefined) return config
  if (model.processing.length > 0) {
    throw new EngineError('INPUT_INVALID', {
      path: 'input.config.model',
      problem: `${model.id} is catalogued with weight processing (${model.processing.join(', ')}), and SAEs are trained on a model as its files have it. Import it again without, under another id.`,
    })
  }
  return { ...config, model: model.folder }
}

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
