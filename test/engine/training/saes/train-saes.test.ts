import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRandom } from '../../../../src/engine/random.js'
import type { SaeConfig } from '../../../../src/engine/saes/sae.js'
import { float32 } from '../../../../src/engine/tensor.js'
import { openRun } from '../../../../src/engine/training/run/run-folder.js'
import { type SaePlan, type SaeTrainingSetting, type TrainSaesOptions, trainSaes } from '../../../../src/engine/training/saes/train-saes.js'
import { onnxruntime } from '../../each-backend.js'

const backend = await onnxruntime.create()
let scratch = ''
beforeAll(async () => {
  scratch = await fs.mkdtemp(path.join(os.tmpdir(), 'train-saes-'))
})
afterAll(() => fs.rm(scratch, { recursive: true, force: true }))

const [dIn, nDirections, nActive, rowsPerPicture, picturesPerBatch] = [16, 20, 2, 8, 16]

/** Unit directions, more than there are dimensions. */
const directions = (() => {
  const random = createRandom(5)
  return Array.from({ length: nDirections }, () => {
    const raw = Array.from({ length: dIn }, () => random.normal())
    return raw.map((value) => value / Math.hypot(...raw))
  })
})()

/** Each row is the sum of a few directions; `out` is twice that, turned by one place. */
const source: TrainSaesOptions['source'] = {
  rowsPerPicture,
  widths: { in: dIn, out: dIn },
  async read({ data }) {
    const random = createRandom(9).fork(`pictures ${data[0]}`)
    const rows = new Float32Array(picturesPerBatch * rowsPerPicture * dIn)
    for (let row = 0; row < rows.length; row += dIn) {
      for (let active = 0; active < nActive; active++) {
        const direction = directions[random.below(nDirections)]!
        const size = 1 + random.uniform()
        for (let at = 0; at < dIn; at++) rows[row + at]! += size * direction[at]!
      }
    }
    return { in: rows, out: rows.map((_, at) => 2 * rows[at - (at % dIn) + ((at + 1) % dIn)]!) }
  },
}
const pictures = { at: async (step: number) => ({ pixels: float32([picturesPerBatch], new Array<number>(picturesPerBatch).fill(step)) }) }

const config: SaeConfig = {
  architecture: 'topk',
  activation: 'topk',
  k: 3,
  dIn,
  dOut: dIn,
  dSae: 32,
  normalization: 'none',
  subtractsDecoderBias: true,
  hookPoint: 'in',
}
const topk: SaePlan = { name: 'topk', config, loss: { reconstruction: 'sum-of-squares', auxK: { coefficient: 1 / 32 } } }
const standard: SaePlan = {
  name: 'standard',
  config: { ...config, architecture: 'standard', activation: 'relu', k: undefined! },
  loss: { reconstruction: 'sum-of-squares', sparsity: { kind: 'lp', p: 1, weightedByDecoderNorm: false } },
  sparsityCoefficient: 0.3,
  sparsityWarmupSteps: 50,
  clipNorm: 1,
}
delete (standard.config as { k?: number }).k

const base: SaeTrainingSetting = {
  saes: [topk],
  batchSize: 128,
  bufferBytes: 2 ** 20,
  learningRate: 1e-2,
  schedule: { kind: 'warmup-linear', warmupSteps: 20 },
  deadAfterSteps: 100,
  frequencyWindow: 50,
  run: { nSteps: 500, checkpointEvery: 1000 },
}

let count = 0
async function train(
  changes: Partial<SaeTrainingSetting>,
  {
    folder = path.join(scratch, `${count++}`),
    resume = false,
    seed = 1,
    ...more
  }: { folder?: string; resume?: boolean; seed?: number } & Partial<TrainSaesOptions> = {},
) {
  const setting = { ...base, ...changes }
  const points: Readonly<Record<string, number>>[] = []
  let ticks = 0
  const run = await openRun({ folder, identity: { config: 'test', seed, data: 'made up' }, code: { version: '0.0.0' }, resume })
  const trained = await trainSaes({
    backend,
    run,
    setting,
    source,
    pictures,
    picturesPerBatch,
    title: 'test',
    now: () => ticks++,
    onProgress: ({ numbers }) => points.push(numbers),
    ...more,
  })
  return { ...trained, points, folder }
}

/** For each true direction the largest cosine of a decoder row with it: their mean. */
function recovered(W_dec: Float32Array): number {
  const rows = Array.from({ length: W_dec.length / dIn }, (_, row) => [...W_dec.subarray(row * dIn, (row + 1) * dIn)])
  const cosine = (a: number[], b: number[]) => a.reduce((sum, value, at) => sum + value * b[at]!, 0) / (Math.hypot(...a) * Math.hypot(...b))
  return (
    directions.map((direction) => Math.max(...rows.map((row) => cosine(row, direction)))).reduce((sum, best) => sum + best, 0) / nDirections
  )
}

describe('training SAEs', () => {
  test('two of them, from one stream, find the directions that the data is made of', async () => {
    const { saes, points } = await train({ saes: [topk, standard] })
    for (const { weights } of saes) expect(recovered(weights.W_dec!.data)).toBeGreaterThan(0.95)
    const last = points.at(-1)!
    expect(last['topk/explainedVariance']).toBeGreaterThan(0.95)
    expect(last['topk/l0']).toBeLessThanOrEqual(3)
    expect(last['standard/l0']).toBeLessThan(6)
    expect(last.loss).toBeCloseTo(last['topk/loss']! + last['standard/loss']!, 6)
    for (const { logFeatureSparsity } of saes) expect(Math.max(...logFeatureSparsity.data)).toBeLessThan(0)
    const { W_dec } = saes[1]!.weights
    for (let row = 0; row < 32; row++) expect(Math.hypot(...W_dec!.data.subarray(row * dIn, (row + 1) * dIn))).toBeCloseTo(1, 5)
  })

  test.each([
    [
      'batch-top-k, whose threshold lets as many through',
      { ...topk, config: { ...config, architecture: 'batch-topk', activation: 'batch-topk' } },
    ],
    [
      'Matryoshka',
      {
        ...topk,
        loss: { reconstruction: 'mse' },
        config: { ...config, architecture: 'matryoshka', activation: 'batch-topk', widths: [8, 16, 32] },
      },
    ],
    [
      'JumpReLU',
      {
        ...standard,
        config: { ...standard.config, architecture: 'jumprelu' },
        loss: { reconstruction: 'sum-of-squares', sparsity: { kind: 'l0', bandwidth: 0.2, toInput: true } },
        sparsityCoefficient: 0.05,
      },
    ],
    ['gated', { ...standard, config: { ...standard.config, architecture: 'gated' } }],
    [
      'a standard one with ghost gradients',
      {
        ...standard,
        loss: { ...standard.loss, reconstruction: 'mse-over-centred-norm', ghostGradients: true },
        sparsityCoefficient: 0.02,
      },
    ],
    [
      'a transcoder',
      {
        ...topk,
        config: { ...config, normalization: 'layer_norm', transcoder: { hookPointOut: 'out', skip: 'linear', denormalizes: true } },
      },
    ],
  ] as [string, SaePlan][])('%s explains most of what it is to reconstruct', async (_, plan) => {
    const { points, saes } = await train({ saes: [plan], run: { nSteps: 300, checkpointEvery: 1000 } })
    expect(points.at(-1)!.explainedVariance).toBeGreaterThan(0.85)
    expect(points.at(-1)!.l0).toBeLessThan(9)
    const { topk_threshold } = saes[0]!.weights
    if (topk_threshold) expect(topk_threshold.data[0]).toBeGreaterThan(0.1)
  })

  test('that is stopped and taken up again goes the same way, number by number', async () => {
    const setting = {
      saes: [{ ...topk, config: { ...config, architecture: 'batch-topk', activation: 'batch-topk', dSae: 64 } } as SaePlan, standard],
      deadAfterSteps: 5,
      run: { nSteps: 60, checkpointEvery: 25 },
    }
    const whole = await train(setting)
    expect(whole.points.some((point) => point.deadShare! > 0)).toBe(true)
    const stop = new AbortController()
    let folder = ''
    const first = await train(setting, { signal: stop.signal, onProgress: ({ step }) => step === 37 && stop.abort() })
    folder = first.folder
    expect(first.outcome).toMatchObject({ ended: 'stopped', step: 37 })
    const second = await train(setting, { folder, resume: true })
    expect(second.points).toEqual(whole.points.slice(37))
    expect(second.saes).toEqual(whole.saes)
    expect(await fs.readFile(path.join(folder, 'curves.json'), 'utf8')).toBe(
      await fs.readFile(path.join(whole.folder, 'curves.json'), 'utf8'),
    )
  })

  test('is the same for the same seed and another for another', async () => {
    const setting = { run: { nSteps: 5, checkpointEvery: 5 } }
    const [one, same, other] = [await train(setting), await train(setting), await train(setting, { seed: 2 })]
    expect(same.points).toEqual(one.points)
    expect(other.points).not.toEqual(one.points)
  })

  test('with a rate that is far too high ends with a reason', async () => {
    await expect(train({ saes: [{ ...standard, decoderRows: 'free' }], learningRate: 1e30 })).rejects.toMatchObject({
      code: 'TRAINING_DIVERGED',
    })
  })

  test('with too many dead latents ends where a bound says so', async () => {
    const dead = { ...standard, sparsityCoefficient: 1e3, sparsityWarmupSteps: 0 }
    const attempt = train({ saes: [dead], deadAfterSteps: 10, run: { nSteps: 400, checkpointEvery: 400, bounds: { deadShare: 0.5 } } })
    await expect(attempt).rejects.toThrow(/deadShare is (0\.[5-9]\d*|1), above its bound of 0\.5/)
  })

  test('refuses plans that do not fit, all at once', async () => {
    const attempt = train({
      saes: [
        topk,
        { ...topk, config: { ...config, dIn: 8, dOut: 8 } },
        {
          ...topk,
          name: 'a/b',
          config: { ...config, hookPoint: 'elsewhere', k: 40 },
          loss: { reconstruction: 'mse', sparsity: standard.loss.sparsity! },
        },
      ],
      batchSize: 1,
    })
    await expect(attempt).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      problems: [
        { path: 'batchSize' },
        { path: 'saes[1].name' },
        { path: 'saes[1].config.dIn' },
        { path: 'saes[2].name' },
        { path: 'saes[2].config.k' },
        { path: 'saes[2].loss.sparsity' },
        { path: 'saes[2].config' },
      ].map((problem) => expect.objectContaining(problem)),
    })
  })
})
