/**
 * Trains SAEs and transcoders, any number of them from one stream of activations, into the folder of a run.
 */

import type { Backend } from '../../backends/backend.js'
import { EngineError, type Problem } from '../../errors.js'
import { createRandom } from '../../random.js'
import { checkSaeConfig, type SaeConfig } from '../../saes/sae.js'
import type { Tensor } from '../../tensor.js'
import type { RunFolder } from '../run/run-folder.js'
import { type RunOptions, type RunOutcome, type RunSetting, type Trainee, trainRun } from '../run/training-run.js'
import { learningRateAt, type Schedule } from '../schedules.js'
import { type ActivationSource, readName, readsOf } from './activation-source.js'
import { type ActivationStream, createActivationStream, type PictureBatches } from './activation-stream.js'
import { initializeSae, type SaeInitialization, type SampleRows } from './initialize.js'
import { checkLossOptions } from './loss-options.js'
import { type SaeSnapshot, type SaeStepOptions, SaeStepper } from './sae-stepper.js'

/** One of the SAEs of a run. */
export interface SaePlan extends Omit<SaeStepOptions, 'batchSize' | 'deadAfterSteps' | 'frequencyWindow'> {
  /** Of its curves, its weights in checkpoints and its result; of letters, digits, `.`, `_` and `-`. */
  readonly name: string
  readonly initialization?: SaeInitialization
  /** Times the run's learning rate. Default 1. */
  readonly learningRateFactor?: number
}

export interface SaeTrainingSetting {
  readonly saes: readonly SaePlan[]
  /** Tokens in a batch. */
  readonly batchSize: number
  /** For shuffling activations. */
  readonly bufferBytes: number
  readonly learningRate: number
  readonly schedule: Schedule
  /** A latent that was not active in more steps than this is dead. Default 1000. */
  readonly deadAfterSteps?: number
  /** Steps over which frequencies are counted. Default 1000. */
  readonly frequencyWindow?: number
  /** Tokens that the decoder's bias begins at the median of. Default 8192. */
  readonly initialRows?: number
  readonly run: RunSetting
}

export interface TrainSaesOptions extends Pick<RunOptions, 'title' | 'now' | 'onProgress' | 'signal' | 'evaluate'> {
  readonly backend: Backend
  readonly run: RunFolder
  readonly setting: SaeTrainingSetting
  /** Of the hook points that the SAEs read; see `openActivationSource`. */
  readonly source: Pick<ActivationSource, 'rowsPerPicture' | 'widths' | 'read'>
  readonly pictures: PictureBatches
  readonly picturesPerBatch: number
}

export interface TrainedSae {
  readonly name: string
  readonly config: SaeConfig
  readonly weights: Readonly<Record<string, Tensor<'float32'>>>
  readonly logFeatureSparsity: Tensor<'float32'>
}

export interface TrainedSaes {
  readonly outcome: RunOutcome
  /** In the order of the plans. */
  readonly saes: readonly TrainedSae[]
}

/**
 * What is measured: for each SAE `<name>/loss`, its terms, `l0`, `explainedVariance`, `deadShare`, ... (without the name where there is one SAE
 * only); `loss`, the sum of all; `deadShare`, the largest; `learningRate`.
 *
 * @throws INPUT_INVALID, TRAINING_DIVERGED, CHECKPOINT_MISMATCH, STORAGE_FULL; what `pictures` throws
 */
export async function trainSaes(options: TrainSaesOptions): Promise<TrainedSaes> {
  const { backend, run, setting, source, pictures, picturesPerBatch, ...rest } = options
  checkPlans(setting, source)
  const { batchSize, bufferBytes } = setting
  const random = createRandom(run.seed).fork('saes')
  const stream = createActivationStream({ source, pictures, picturesPerBatch, batchSize, bufferBytes, random: random.fork('stream') })
  const trained: { plan: SaePlan; stepper: SaeStepper }[] = []
  try {
    const sample = run.from ? undefined : await sampleRows(stream, setting)
    for (const plan of setting.saes) {
      const from = run.from
        ? snapshotOf(run.from, plan.name)
        : { weights: initializeSae(plan.config, rowsOf(sample!, plan.config), random.fork(`sae ${plan.name}`), plan.initialization) }
      trained.push({ plan, stepper: await SaeStepper.create(backend, stepOptions(plan, setting), from) })
    }
    const outcome = await trainRun({ ...rest, run, setting: setting.run, trainee: traineeOf(trained, stream, setting) })
    const saes: TrainedSae[] = []
    for (const { plan, stepper } of trained) {
      const { name, config } = plan
      saes.push({ name, config, weights: await stepper.weights(), logFeatureSparsity: stepper.activity.logFrequency() })
    }
    return { outcome, saes }
  } finally {
    for (const { stepper } of trained) await stepper.dispose()
  }
}

function traineeOf(
  trained: readonly { readonly plan: SaePlan; readonly stepper: SaeStepper }[],
  stream: ActivationStream,
  setting: SaeTrainingSetting,
): Trainee {
  const { schedule, learningRate, run } = setting
  return {
    async update(step) {
      const batch = await stream.at(step)
      const rate = learningRateAt(schedule, { step, nSteps: run.nSteps, learningRate })
      const measured: Record<string, number>[] = []
      for (const { plan, stepper } of trained) {
        measured.push(await stepper.update(batch, { step, learningRate: rate * (plan.learningRateFactor ?? 1) }))
      }
      if (trained.length === 1) return { ...measured[0]!, learningRate: rate }
      const named = measured.flatMap((numbers, at) =>
        Object.entries(numbers).map(([name, value]) => [`${trained[at]!.plan.name}/${name}`, value] as const),
      )
      return {
        ...Object.fromEntries(named),
        loss: measured.reduce((sum, { loss }) => sum + loss!, 0),
        deadShare: Math.max(...measured.map(({ deadShare }) => deadShare!)),
        learningRate: rate,
      }
    },
    async snapshot() {
      const weights: Record<string, Tensor> = {}
      const state: Record<string, Tensor> = {}
      for (const { plan, stepper } of trained) {
        const snapshot = await stepper.snapshot()
        for (const [name, tensor] of Object.entries(snapshot.weights)) weights[`${plan.name}/${name}`] = tensor
        for (const [name, tensor] of Object.entries(snapshot.state)) state[`${plan.name}/${name}`] = tensor
      }
      return { weights, state }
    },
  }
}

/** One SAE's part of a checkpoint. */
function snapshotOf({ weights, state }: SaeSnapshot, name: string): SaeSnapshot {
  const own = (tensors: Readonly<Record<string, Tensor>>) => {
    const found = Object.entries(tensors).filter(([key]) => key.startsWith(`${name}/`))
    return Object.fromEntries(found.map(([key, tensor]) => [key.slice(name.length + 1), tensor]))
  }
  return { weights: own(weights), state: own(state) }
}

function stepOptions(plan: SaePlan, { batchSize, deadAfterSteps = 1000, frequencyWindow = 1000 }: SaeTrainingSetting): SaeStepOptions {
  return { ...plan, batchSize, deadAfterSteps, frequencyWindow }
}

/** The first batches: they are trained on too. */
async function sampleRows(
  stream: ActivationStream,
  { batchSize, initialRows = 8192 }: SaeTrainingSetting,
): Promise<Readonly<Record<string, Float32Array>>> {
  const nBatches = Math.max(1, Math.floor(Math.min(initialRows, stream.rowsPerWindow / 2) / batchSize))
  const parts: Record<string, Float32Array[]> = {}
  for (let step = 0; step < nBatches; step++) {
    for (const [name, { data }] of Object.entries(await stream.at(step))) parts[name] = [...(parts[name] ?? []), data]
  }
  return Object.fromEntries(Object.entries(parts).map(([name, arrays]) => [name, joined(arrays)]))
}

function joined(arrays: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const array of arrays) {
    all.set(array, at)
    at += array.length
  }
  return all
}

function rowsOf(sample: Readonly<Record<string, Float32Array>>, config: SaeConfig): SampleRows {
  const [input, target] = readsOf(config)
  return { inputs: sample[readName(input)]!, ...(target && { targets: sample[readName(target)]! }) }
}

/** @throws INPUT_INVALID with everything that is wrong */
function checkPlans({ saes, batchSize, run }: SaeTrainingSetting, { widths }: Pick<ActivationSource, 'widths'>): void {
  const problems: Problem[] = []
  const collect = (path: string, check: () => void) => {
    try {
      check()
    } catch (error) {
      if (!(error instanceof EngineError)) throw error
      problems.push(...(error.problems.length > 0 ? error.problems : [{ path, message: error.message }]))
    }
  }
  if (saes.length === 0) problems.push({ path: 'saes', message: 'there is none to train' })
  if (!Number.isInteger(batchSize) || batchSize < 2)
    problems.push({ path: 'batchSize', message: `${batchSize} is not a whole number from 2` })
  if (!Number.isInteger(run.nSteps) || run.nSteps < 1)
    problems.push({ path: 'run.nSteps', message: `${run.nSteps} is not a whole number from 1` })
  for (const [at, { name, config, loss }] of saes.entries()) {
    const path = `saes[${at}]`
    if (!/^[\w.-]+$/.test(name))
      problems.push({ path: `${path}.name`, message: `"${name}" has other than letters, digits, ".", "_" and "-"` })
    if (saes.findIndex((other) => other.name === name) < at)
      problems.push({ path: `${path}.name`, message: `"${name}" is the name of another` })
    collect(`${path}.config`, () => checkSaeConfig(config, `${path}.config`))
    collect(`${path}.loss`, () => checkLossOptions(loss, config, `${path}.loss`))
    for (const [index, read] of readsOf(config).entries()) {
      const [field, width] = index === 0 ? ['dIn', config.dIn] : ['dOut', config.dOut]
      const actual = widths[readName(read!)]
      if (actual === undefined) problems.push({ path: `${path}.config`, message: `the stream has no rows of "${readName(read!)}"` })
      else if (actual !== width)
        problems.push({ path: `${path}.config.${field}`, message: `is ${width}; rows of "${readName(read!)}" have ${actual}` })
    }
  }
  const [first] = problems
  if (first) throw new EngineError('INPUT_INVALID', { path: first.path, problem: `${first.message}.` }, problems)
}
