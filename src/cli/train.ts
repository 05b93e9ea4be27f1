/** `refract train model | clip | sae`: from a configuration file to a folder that can be imported. */

import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import type { RecipeOptions, RecipeResult } from '../engine/training/recipes/recipe.js'
import { trainClassifier } from '../engine/training/recipes/train-classifier.js'
import { trainClip } from '../engine/training/recipes/train-clip.js'
import { trainSaesRecipe } from '../engine/training/recipes/train-saes-recipe.js'
import { version } from '../operations/capabilities.js'
import { openBackend } from '../operations/open-backend.js'
import { type Command, type CommandContext, UsageError } from './command.js'
import { overrideOptions, readTrainingConfig } from './training-config.js'
import { trainingDisplay } from './training-progress.js'

interface Recipe {
  readonly name: string
  readonly summary: string
  train(config: unknown, options: RecipeOptions): Promise<RecipeResult>
}

const recipes: readonly Recipe[] = [
  { name: 'model', summary: 'Train a vision transformer to classify pictures.', train: trainClassifier },
  { name: 'clip', summary: 'Train a CLIP: a vision and a text tower on pictures with captions.', train: trainClip },
  { name: 'sae', summary: "Train SAEs and transcoders on a model's activations, several in one pass.", train: trainSaesRecipe },
]

const details = [
  'The configuration is YAML; docs/training.md has every field. The folder of the run gets the configuration, the seed, hashes of the data,',
  'checkpoints, curves (curves.json, curves.svg) and, at the end, the model in a layout that others read. Ctrl-C stops after the update under',
  'way and saves; --resume goes on from the last checkpoint as if there had been no stop.',
].join('\n')

export const trainCommands: readonly Command[] = recipes.map((recipe) => ({
  name: `train ${recipe.name}`,
  positionals: [],
  summary: recipe.summary,
  details,
  options: {
    config: { type: 'string', short: 'c', value: '<file.yaml>', meaning: 'what to train, on what, and how' },
    out: { type: 'string', value: '<folder>', meaning: "the run's folder; default: runs/<name of the configuration>" },
    resume: { type: 'boolean', meaning: 'go on with the run that the folder holds' },
    ...overrideOptions,
    json: { type: 'boolean', meaning: 'print the result as JSON' },
  },
  run: (context) => run(recipe, context),
}))

async function run(recipe: Recipe, { config: settings, values, out, err, signal }: CommandContext): Promise<void> {
  if (typeof values.config !== 'string') throw new UsageError(`train ${recipe.name} needs --config <file.yaml>.`)
  const file = path.resolve(values.config)
  const config = await readTrainingConfig(file, values)
  const folder = path.resolve(typeof values.out === 'string' ? values.out : path.join('runs', path.parse(file).name))
  const backend = await openBackend(settings)
  const display = trainingDisplay(err)
  const commit = await commitOfCode()
  try {
    const { outcome, written } = await recipe.train(config, {
      backend,
      folder,
      baseFolder: path.dirname(file),
      resume: values.resume === true,
      code: { version, ...(commit !== undefined && { commit }) },
      limits: { maxPixels: settings.maxImagePixels },
      cacheBytes: (settings.memoryMb * 2 ** 20) / 4,
      now: () => performance.now(),
      onData: display.data,
      onNote: display.note,
      onProgress: display.step,
      signal,
    })
    display.end()
    const shown = { folder, ...outcome, written: written.map((name) => path.join(folder, name)) }
    out.write(values.json ? `${JSON.stringify(shown, null, 2)}\n` : summary(shown))
    // Whoever runs it must not take half a training for a whole one: the exit code says that it was stopped.
    if (outcome.ended === 'stopped') signal.throwIfAborted()
  } finally {
    display.end()
  }
}

function summary({
  folder,
  ended,
  step,
  evaluation,
  written,
}: RecipeResult['outcome'] & { folder: string; written: readonly string[] }): string {
  const measured = Object.entries(evaluation).map(([name, value]) => `  ${name}: ${(100 * value).toFixed(2)} %\n`)
  if (ended === 'stopped') return `Stopped at step ${step}; --resume goes on from there.\n`
  return `Trained for ${step} steps: ${folder}\n${measured.join('')}${written.map((name) => `Written: ${name}\n`).join('')}`
}

/** The commit of the code that trains, where it lies in a git checkout. */
async function commitOfCode(): Promise<string | undefined> {
  const git = promisify(execFile)('git', ['-C', import.meta.dirname, 'rev-parse', 'HEAD'], { timeout: 5000 })
  return git.then(({ stdout }) => stdout.trim()).catch(() => undefined)
}
