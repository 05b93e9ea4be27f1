/**
 * Trains a vision model or a CLIP from batches to a folder.
 */

import type { Backend, ResidentWeights } from '../backends/backend.js'
import type { Tensor } from '../tensor.js'
import { type ModelObjective, objectiveGraph, objectiveProjections } from './model-objective.js'
import type { Optimizer } from './optimizers.js'
import type { RunFolder } from './run/run-folder.js'
import { type RunOptions, type RunOutcome, type RunSetting, type Trainee, trainRun } from './run/training-run.js'
import { learningRateAt, type Schedule } from './schedules.js'
import { type Batch, Stepper } from './stepper.js'

/** Batches by the number of the update that they are for. */
export interface BatchSource {
  /** The same batch for the same step, however often and from wherever a run is begun; asked for in order. */
  at(step: number): Promise<Batch>
}

export interface ModelTrainingSetting {
  readonly objective: ModelObjective
  readonly optimizer: Optimizer
  readonly learningRate: number
  readonly schedule: Schedule
  readonly clipNorm?: number
  /** Equal parts that each batch is computed in. A contrastive loss then compares within a part only. Default 1. */
  readonly nMicroBatches?: number
  readonly run: RunSetting
}

/** The model as it is at a step. Its parameters have the prefixes of `objectiveGraph`; see `prefixed` for graphs that read them. */
export interface ModelInTraining {
  readonly step: number
  readonly backend: Backend
  readonly weights: ResidentWeights
}

export interface TrainModelOptions extends Pick<RunOptions, 'title' | 'now' | 'onProgress' | 'signal'> {
  readonly backend: Backend
  readonly run: RunFolder
  readonly setting: ModelTrainingSetting
  readonly batches: BatchSource
  /** To begin with; a run that goes on takes its checkpoint's. */
  readonly weights: Readonly<Record<string, Tensor>>
  readonly evaluate?: (model: ModelInTraining) => Promise<Readonly<Record<string, number>>>
}

export interface TrainedModel {
  readonly outcome: RunOutcome
  /** As they are at the end; see `towerWeights`. */
  readonly weights: Readonly<Record<string, Tensor>>
}

/**
 * @throws CONFIG_INVALID, TRAINING_DIVERGED, CHECKPOINT_MISMATCH, STORAGE_FULL; FEED_MISSING for a batch without what the objective needs; what
 *   `batches` throws
 */
export async function trainModel(options: TrainModelOptions): Promise<TrainedModel> {
  const { backend, run, setting, batches, weights, evaluate, ...rest } = options
  const graph = objectiveGraph(setting.objective)
  const stepper = await Stepper.create({
    backend,
    graph,
    loss: 'loss',
    trainable: Object.keys(graph.parameters),
    optimizer: setting.optimizer,
    projections: objectiveProjections(setting.objective),
    weights,
    ...(setting.clipNorm !== undefined && { clipNorm: setting.clipNorm }),
    ...(setting.nMicroBatches !== undefined && { nMicroBatches: setting.nMicroBatches }),
    ...(run.from && { from: { updates: run.from.step, parameters: run.from.weights, state: run.from.state } }),
  })
  try {
    const trainee = stepperTrainee(stepper, setting, async (step) => {
      const batch = await batches.at(step)
      return Object.fromEntries(Object.entries(batch).filter(([name]) => Object.hasOwn(graph.inputs, name)))
    })
    const outcome = await trainRun({
      ...rest,
      run,
      trainee,
      setting: setting.run,
      ...(evaluate && { evaluate: (step: number) => evaluate({ step, backend, weights: stepper.weights }) }),
    })
    return { outcome, weights: (await stepper.snapshot()).parameters }
  } finally {
    await stepper.dispose()
  }
}

/** A stepper with a schedule and batches, as the loop of a run takes it. The curves get `learningRate`. */
export function stepperTrainee(
  stepper: Stepper,
  { learningRate, schedule, run }: Pick<ModelTrainingSetting, 'learningRate' | 'schedule' | 'run'>,
  batchAt: (step: number) => Promise<Batch>,
): Trainee {
  return {
    async update(step) {
      const rate = learningRateAt(schedule, { step, nSteps: run.nSteps, learningRate })
      const { numbers } = await stepper.update(await batchAt(step), rate)
      return { ...numbers, learningRate: rate }
    },
    async snapshot() {
      const { parameters, state } = await stepper.snapshot()
      return { weights: parameters, state }
    },
  }
}
