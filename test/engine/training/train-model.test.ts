/** A tiny CLIP trained from batches to a folder, and read while it is trained. */

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { textGraph } from '../../../src/engine/models/text-tower.js'
import { visionGraph } from '../../../src/engine/models/vit.js'
import { createRandom } from '../../../src/engine/random.js'
import { float32, int64, type Tensor } from '../../../src/engine/tensor.js'
import { prefixed } from '../../../src/engine/training/extend-graph.js'
import { initialWeights, logScaleName, type ModelObjective, towerWeights } from '../../../src/engine/training/model-objective.js'
import { openRun } from '../../../src/engine/training/run/run-folder.js'
import { type BatchSource, type ModelInTraining, trainModel } from '../../../src/engine/training/train-model.js'
import { onnxruntime, runOnce } from '../each-backend.js'
import { settings } from './golden.js'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'refract-clip-'))
afterAll(() => fs.rmSync(folder, { recursive: true }))

const objective = { ...settings.clip.objective, grouped: true } as Extract<ModelObjective, { kind: 'clip' }>
const things = 5

/** Pictures of one grey each, and the token of that grey between the marks of a text. */
const greys: BatchSource = {
  async at(step) {
    const random = createRandom(3).fork(`step ${step}`)
    const shown = Array.from({ length: 8 }, () => random.below(things))
    return {
      pixels: float32(
        [8, 3, 8, 8],
        shown.flatMap((thing) => Array.from({ length: 192 }, (_, at) => Math.sin((thing + 1) * at) + 0.3 * random.normal())),
      ),
      tokens: int64(
        [8, 7],
        shown.flatMap((thing) => [17, thing + 1, 19, 0, 0, 0, 0]),
      ),
      groups: int64([8], shown),
    }
  },
}

test('a CLIP learns which text belongs to which picture, and each tower can be read at any step', async () => {
  const backend = await onnxruntime.create()
  const [vision, text] = await Promise.all([
    backend.compile(prefixed(visionGraph(objective.vision), 'vision')),
    backend.compile(prefixed(textGraph(objective.text), 'text')),
  ])
  const unseen = await greys.at(1_000_000)
  const embed = async ({ weights }: Pick<ModelInTraining, 'weights'>) => {
    const one = async (program: typeof vision, inputs: Record<string, Tensor>, output: string) =>
      (await program.run({ inputs, weights, fetch: [output] }))[output]!.data as Float32Array
    return [
      await one(vision, { pixels: unseen.pixels! }, prefixed(visionGraph(objective.vision), 'vision').outputs[0]!),
      await one(text, { tokens: unseen.tokens! }, prefixed(textGraph(objective.text), 'text').outputs[0]!),
    ] as const
  }
  /** The share of pictures whose nearest text is of the same thing. */
  const retrieval = async (model: Pick<ModelInTraining, 'weights'>) => {
    const [images, texts] = await embed(model)
    const cosine = (row: number, column: number) =>
      [0, 1, 2, 3, 4, 5].reduce((sum, at) => sum + images[row * 6 + at]! * texts[column * 6 + at]!, 0)
    const groups = unseen.groups!.data
    const hits = Array.from({ length: 8 }, (_, row) => {
      const nearest = Array.from({ length: 8 }, (_, column) => cosine(row, column)).reduce(
        (best, value, at, all) => (value > all[best]! ? at : best),
        0,
      )
      return Number(groups[nearest] === groups[row])
    })
    return hits.reduce((sum, hit) => sum + hit) / 8
  }
  const weights = initialWeights(objective, createRandom(1), { vision: 'clip' })
  const { outcome, weights: trained } = await trainModel({
    backend,
    run: await openRun({ folder: path.join(folder, 'run'), identity: { config: {}, seed: 3, data: 'greys' }, code: { version: '0' } }),
    setting: {
      objective,
      optimizer: { kind: 'adamw', weightDecay: 0.01 },
      learningRate: 0.01,
      schedule: { kind: 'warmup-cosine', warmupSteps: 5 },
      clipNorm: 1,
      nMicroBatches: 2,
      run: { nSteps: 60, checkpointEvery: 30, evaluateEvery: 20, best: { name: 'retrieval', goal: 'highest' } },
    },
    batches: greys,
    weights,
    title: 'greys',
    now: () => 0,
    evaluate: async (model) => ({ retrieval: await retrieval(model) }),
  })
  expect(outcome.evaluation.retrieval).toBe(1)
  expect(outcome.best!.value).toBe(1)
  const curves = JSON.parse(fs.readFileSync(path.join(folder, 'run/curves.json'), 'utf8')) as Record<string, number[]>
  expect(curves.loss!.at(-1)).toBeLessThan(curves.loss![0]! - 0.3)
  expect(curves.logitScale![0]).toBeCloseTo(1 / 0.07, 4)
  // The towers' weights, by the names of their own graphs, are what was trained.
  expect(Object.keys(trained).sort()).toEqual(Object.keys(weights).sort())
  const alone = await runOnce(backend, visionGraph(objective.vision), {
    inputs: { pixels: unseen.pixels! },
    weights: towerWeights(trained, 'vision'),
  })
  const resident = await backend.upload(trained)
  expect(Object.values(alone)[0]!.data).toEqual((await embed({ weights: resident }))[0])
  expect(trained[logScaleName]!.shape).toEqual([])
  await Promise.all([vision.dispose(), text.dispose(), resident.dispose()])
})
