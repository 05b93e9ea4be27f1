/** Sweeps against PyTorch's: hooks that add to what a module of transformers' CLIP puts out (test/fixtures/make/sweeps.py). */

import fs from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { sweep } from '../../../src/engine/analyses/steering/sweep.js'
import type { SweepInput } from '../../../src/engine/analyses/steering/sweep-contract.js'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { backends } from '../each-backend.js'
import '../close-tensor.js'
import { goldenSae } from './compare-bench.js'
import { goldenBench } from './golden-bench.js'

const folder = path.resolve(import.meta.dirname, '../../fixtures/sweeps')
const { strengths, latents } = JSON.parse(fs.readFileSync(path.join(folder, 'manifest.json'), 'utf8')) as Record<string, number[]>
const places: SweepInput['places'] = [{ positions: 'all' }, { positions: 'cls' }, { positions: [1, 3] }]

let golden: Record<string, Tensor<'float32'>>
beforeAll(async () => {
  const file = 'expected.safetensors'
  const opened = await openWeights(await openFileSource(path.join(folder, file), file), file)
  golden = Object.fromEntries(
    await Promise.all([...opened.entries.keys()].map(async (key) => [key, await opened.read(key)])),
  ) as typeof golden
  await opened.close()
})

const rowsOf = ({ shape, data }: Tensor<'float32'>) =>
  Array.from({ length: shape[0]! }, (_, row) => data.slice(row * shape[1]!, (row + 1) * shape[1]!))

/** Lines in the order of the golden axes: picture, direction, place. */
function inputOf(pixels: Tensor<'float32'>, directions: SweepInput['directions'], more: Partial<SweepInput>): SweepInput {
  const targets = rowsOf(golden.targets!).map((direction, answer) => ({ label: String(answer), direction, answer }))
  const images = Array.from({ length: pixels.shape[0]! }, (_, image) => image)
  const lines = images.flatMap((image) => directions.flatMap((_, direction) => places.map((_, place) => ({ image, direction, place }))))
  return {
    ...{ pixels, hookPoint: 'blocks.0.hook_resid_post', op: 'add', unit: 'raw', directions, places, lines, strengths: strengths!, targets },
    answers: targets,
    ...more,
  }
}

describe.each(backends)("a sweep on %s has PyTorch's numbers", (each) => {
  test('of directions that are added: scores, probabilities, divergences', async () => {
    const bench = await goldenBench(await each.create(), 'hf-clip')
    const directions = rowsOf(golden.vectors!).map((vector) => ({ vector }))
    const { defaults, points } = await sweep.run(bench, inputOf(bench.pixels, directions, {}))
    expect(float32(golden.default!.shape, defaults.scores)).toBeCloseTensor(golden.default!, { tolerance: 2e-5 })
    for (const name of ['scores', 'probabilities', 'divergences'] as const) {
      const expected = golden[`add/${name}`]!
      expect(float32(expected.shape, points[name]!)).toBeCloseTensor(expected, { tolerance: 5e-5 })
    }
  })

  test('of latents that are set, with the error of the SAE kept', async () => {
    const sae = await goldenSae('relu')
    const bench = await goldenBench(await each.create(), 'hf-clip', [sae])
    const { dOut } = sae.config
    const directions = latents!.map((latent) => ({ latent, vector: sae.weights.W_dec!.data.slice(latent * dOut, (latent + 1) * dOut) }))
    const { points } = await sweep.run(
      bench,
      inputOf(bench.pixels, directions, { op: 'feature-set', hookPoint: 'blocks.1.hook_resid_post' }),
    )
    const expected = golden['set/scores']!
    expect(float32(expected.shape, points.scores)).toBeCloseTensor(expected, { tolerance: 5e-5 })
  })
})
