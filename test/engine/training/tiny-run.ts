/** A tiny classifier on made-up pictures, trained into a folder: by tests in their own process, and in one that they kill. */

import { createOnnxRuntimeBackend } from '../../../src/engine/backends/onnxruntime/backend.js'
import { createRandom } from '../../../src/engine/random.js'
import { float32, int64 } from '../../../src/engine/tensor.js'
import { initialWeights } from '../../../src/engine/training/model-objective.js'
import { openRun } from '../../../src/engine/training/run/run-folder.js'
import type { RunSetting } from '../../../src/engine/training/run/training-run.js'
import { type BatchSource, type TrainModelOptions, trainModel } from '../../../src/engine/training/train-model.js'
import { settings } from './golden.js'

const { objective, optimizer, clipNorm } = settings.classifier
export const tinySetting = {
  objective,
  optimizer,
  clipNorm: clipNorm!,
  learningRate: 0.01,
  schedule: { kind: 'warmup-cosine', warmupSteps: 3 },
} as const

/** Pictures of noise whose mean says their class. */
export const noisyBatches = (seed: number): BatchSource => ({
  async at(step) {
    const random = createRandom(seed).fork(`step ${step}`)
    const labels = Array.from({ length: 4 }, () => random.below(5))
    const pixels = labels.flatMap((label) => Array.from({ length: 3 * 8 * 8 }, () => random.normal() + label - 2))
    return { pixels: float32([4, 3, 8, 8], pixels), labels: int64([4], labels) }
  },
})

export interface TinyRun extends Partial<Pick<TrainModelOptions, 'onProgress' | 'signal' | 'batches' | 'evaluate' | 'backend'>> {
  readonly folder: string
  readonly resume?: boolean
  readonly seed?: number
  readonly run?: Partial<RunSetting>
  readonly learningRate?: number
}

export async function trainTiny({ folder, resume = false, seed = 4, run = {}, learningRate = 0.01, ...more }: TinyRun) {
  const setting = { ...tinySetting, learningRate, run: { nSteps: 24, checkpointEvery: 5, ...run } }
  let ticks = 0
  return trainModel({
    backend: await createOnnxRuntimeBackend({ intraOpThreads: 1 }),
    run: await openRun({
      folder,
      identity: { config: { model: JSON.parse(JSON.stringify(objective)), learningRate }, seed, data: { name: 'noise', hash: 'none' } },
      code: { version: '0.0.0', commit: 'abc' },
      resume,
    }),
    setting,
    batches: noisyBatches(seed),
    weights: initialWeights(objective, createRandom(seed)),
    title: 'tiny',
    now: () => 100 * ticks++,
    ...more,
  })
}
