/** Reading the decoders of SAEs: single rows, and what all rows have to do with embeddings. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cosineBytes } from '../../../src/engine/host/decoder-reader.js'
import { Engine } from '../../../src/engine/host/engine.js'
import { loadModel } from '../../../src/engine/models/load.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import { reachesAnswer } from '../../../src/engine/saes/decoder-graphs.js'
import { loadSae } from '../../../src/engine/saes/load-sae.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { backends, onnxruntime } from '../each-backend.js'
import { folderOf } from '../models/fixtures.js'
import { saeSource } from '../saes/feature-goldens.js'
import { fakeHost } from './fake-host.js'

const clip = { key: 'clip', folder: folderOf('hf-clip'), processing: [] }
const { towers, description } = await loadModel(clip.folder)
const config = description.vision.config as VisionConfig
const sae = await loadSae(saeSource('relu').folder)
const { dSae, dOut } = sae.description.config
const decoder = (sae.weights.W_dec as Tensor<'float32'>).data

async function started(underTest: (typeof backends)[number] = onnxruntime) {
  const engine = new Engine(await underTest.create())
  await engine.load(clip)
  for (const name of ['relu', 'gated']) await engine.loadSae(saeSource(name))
  return engine
}

const normalised = (values: readonly number[]) => {
  const length = Math.hypot(...values)
  return values.map((value) => value / length)
}

/** By the definition: the row less its mean, times the gain, through the projection; in float64. */
function projected(latent: number): number[] {
  const row = Array.from(decoder.subarray(latent * dOut, (latent + 1) * dOut))
  const mean = row.reduce((sum, value) => sum + value, 0) / dOut
  const gain = towers.vision.weights['ln_final.w']!.data
  const head = towers.vision.weights['head.W_H']!.data
  const stream = row.map((value, d) => (value - mean) * gain[d]!)
  return Array.from({ length: config.head.dOut }, (_, e) => stream.reduce((sum, value, d) => sum + value * head[e * dOut + d]!, 0))
}

describe.each(backends)('a decoder on $name', (backend) => {
  test('gives the rows that are asked for, in that order, as the file has them', async () => {
    const engine = await started(backend)
    const rows = await engine.decoderRows('relu', [3, 0, 3])
    expect(rows.shape).toEqual([3, dOut])
    const expected = [3, 0, 3].flatMap((latent) => Array.from(decoder.subarray(latent * dOut, (latent + 1) * dOut)))
    expect(Array.from(rows.data)).toEqual(expected)
    await expect(engine.decoderRows('relu', [dSae])).rejects.toMatchObject({ code: 'INPUT_INVALID' })
  })

  test('has the cosines with embeddings that the definition gives', async () => {
    const engine = await started(backend)
    const embeddings = [1, 2].map((seed) => normalised(Array.from({ length: config.head.dOut }, (_, e) => Math.sin(seed * (e + 1)))))
    const cosines = await engine.decoderCosines({ model: 'clip', sae: 'relu' }, float32([2, config.head.dOut], embeddings.flat()))
    expect(cosines.shape).toEqual([dSae, 2])
    for (let latent = 0; latent < dSae; latent++) {
      const direction = normalised(projected(latent))
      for (const [n, embedding] of embeddings.entries()) {
        const expected = direction.reduce((sum, value, e) => sum + value * embedding[e]!, 0)
        expect(cosines.data[2 * latent + n]).toBeCloseTo(expected, 5)
      }
    }
  })
})

test('a row is nearest to itself: the cosine with its own projection is 1, and no other is larger', async () => {
  const engine = await started()
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: dSae - 1 }), async (latent) => {
      const own = float32([1, config.head.dOut], normalised(projected(latent)))
      const { data } = await engine.decoderCosines({ model: 'clip', sae: 'relu' }, own)
      expect(data[latent]).toBeCloseTo(1, 5)
      expect(Math.max(...data)).toBeLessThan(1 + 1e-5)
    }),
    { numRuns: 10 },
  )
})

test('folding the final LayerNorm into the projection changes no cosine', async () => {
  const engine = await started()
  await engine.load({ ...clip, key: 'folded', processing: ['fold-layer-norm'] })
  const embedding = normalised(Array.from({ length: config.head.dOut }, (_, e) => Math.cos(e + 1)))
  const cosines = async (model: string) =>
    (await engine.decoderCosines({ model, sae: 'relu' }, float32([1, config.head.dOut], embedding))).data
  const [plain, folded] = [await cosines('clip'), await cosines('folded')]
  for (let latent = 0; latent < dSae; latent++) expect(folded[latent]).toBeCloseTo(plain[latent]!, 5)
})

test('embeddings of another width are refused', async () => {
  const engine = await started()
  const wrong = engine.decoderCosines({ model: 'clip', sae: 'relu' }, float32([1, 1], [1]))
  await expect(wrong).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
})

test('what does not write to the residual stream, or is not pooled to one token or their mean, says nothing of embeddings', () => {
  const own = sae.description.config
  expect(reachesAnswer(own, config)).toBe(true)
  expect(reachesAnswer({ ...own, hookPoint: 'blocks.0.mlp.hook_post' }, config)).toBe(false)
  expect(reachesAnswer(own, { ...config, pooling: 'clsAndMean' })).toBe(false)
  expect(reachesAnswer({ ...own, dOut: dOut + 1 }, config)).toBe(false)
})

describe('in the host', () => {
  const source = { key: 'x', folder: 'x', overrides: {} }

  test('reading brings in the SAE, and the model where it is needed, each once', async () => {
    const { host, engine } = await fakeHost({ memoryBytes: 2000 })
    expect(Array.from((await host.decoderRows({ sae: source, latents: [1, 2] })).data)).toEqual([1, 2])
    const model = { key: 'a', folder: 'a', processing: [] }
    await host.decoderCosines({ model, sae: source, embeddings: float32([1, 1], [1]) })
    expect(engine.journal.filter((line) => line.startsWith('load'))).toEqual(['load sae x', 'load a'])
    expect(host.status().memory.byKind.run).toBe(0)
    await host.close()
  })

  test('what was cancelled while it waited is not read', async () => {
    const { host } = await fakeHost()
    const reading = host.decoderRows({ sae: source, latents: [1] }, AbortSignal.abort(new Error('gone')))
    await expect(reading).rejects.toMatchObject({ code: 'CANCELLED' })
    await host.close()
  })
})

test('the working memory grows with the rows of one step, not with the width of the SAE', () => {
  const wide = { ...sae.description.config, dSae: 49_152, dOut: 768 }
  const bytes = cosineBytes(wide, { width: 512, n: 1 })
  expect(bytes).toBeLessThan(60 * 2 ** 20)
  expect(cosineBytes({ ...wide, dSae: 4096 }, { width: 512, n: 1 })).toBeLessThan(bytes)
})
