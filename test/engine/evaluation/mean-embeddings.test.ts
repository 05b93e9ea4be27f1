/** Mean embeddings of features, held against a plain computation from all pictures' codes. */

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { indexFromBytes, indexToBytes } from '../../../src/engine/evaluation/index-bytes.js'
import {
  type FeatureIndexer,
  type IndexedBatch,
  type IndexShards,
  mergeIndexShards,
  openFeatureIndexer,
} from '../../../src/engine/evaluation/index-features.js'
import { embeddingsFromBytes, embeddingsToBytes, meanEmbeddings } from '../../../src/engine/evaluation/mean-embeddings.js'
import { findHookPoints } from '../../../src/engine/graph/edit.js'
import { prune } from '../../../src/engine/graph/prune.js'
import { float32 } from '../../../src/engine/tensor.js'
import { onnxruntime } from '../each-backend.js'
import { batchesOf, type GoldenData, golden, goldenData } from './goldens.js'

const SIZES = [2, 3, 1, 4, 5]

let data: GoldenData
let backend: Backend
let indexer: FeatureIndexer
let dEmbed: number
beforeAll(async () => {
  data = await goldenData()
  backend = await onnxruntime.create()
  dEmbed = data.config.head.dOut
  indexer = await openIndexer()
})
afterAll(() => indexer.dispose())

const openIndexer = (own: { dEmbed?: number } = { dEmbed }) =>
  openFeatureIndexer({
    ...{ backend, tower: data.model.towers.vision, config: data.config, saes: data.saes.slice(0, 1), seed: 3, sampledPerPicture: 3 },
    ...(own.dEmbed !== undefined && { dEmbed: own.dEmbed, embedsItself: true }),
  })

const batches = (sizes: readonly number[] = golden.batches): IndexedBatch[] =>
  batchesOf(data.tensors.pixels!, data.labels, sizes).map(({ batch, items, pixels }) => ({ batch, items, pixels }))

async function add(of: readonly IndexedBatch[]): Promise<IndexShards> {
  let shards = indexer.empty()
  for (const batch of of) shards = await indexer.addBatch(shards, batch)
  return shards
}

const bytesOf = (shards: IndexShards) => embeddingsToBytes(meanEmbeddings(Object.values(shards)[0]!)!)

/** `[picture][latent]` scores and `[picture][d]` unit answers, from what the model says at the hook point, token by token. */
async function direct() {
  const { config, weights } = data.saes[0]!
  const { towers } = data.model
  const graph = towers.vision.buildGraph(new Set([config.hookPoint]))
  const at = findHookPoints(graph, [config.hookPoint])[0]!.firings.at(-1)!
  const answer = graph.outputs[0]!
  const program = await backend.compile(prune({ ...graph, outputs: [answer, at] }))
  const uploaded = await backend.upload(towers.vision.weights)
  const { W_enc, b_enc, b_dec } = Object.fromEntries(Object.entries(weights).map(([name, { data }]) => [name, data as Float32Array]))
  const scores: number[][] = []
  const embeddings: number[][] = []
  for (const { pixels } of batches()) {
    const values = await program.run({ inputs: { pixels }, weights: uploaded, fetch: [answer, at] })
    const [nImages, nTokens] = values[at]!.shape as [number, number]
    const x = values[at]!.data as Float32Array
    const out = values[answer]!.data as Float32Array
    for (let image = 0; image < nImages; image++) {
      const row = Array.from(out.subarray(image * dEmbed, (image + 1) * dEmbed))
      embeddings.push(row.map((value) => value / Math.hypot(...row)))
      const own = Array.from({ length: config.dSae }, () => 0)
      for (let token = 0; token < nTokens; token++) {
        const from = (image * nTokens + token) * config.dIn
        const saeIn = normalized(Array.from(x.subarray(from, from + config.dIn)))
        for (let latent = 0; latent < config.dSae; latent++) {
          let sum = b_enc![latent]!
          for (let d = 0; d < config.dIn; d++) sum += (saeIn[d]! - b_dec![d]!) * W_enc![d * config.dSae + latent]!
          own[latent] = Math.max(own[latent]!, sum)
        }
      }
      scores.push(own)
    }
  }
  await Promise.all([program.dispose(), uploaded.dispose()])
  return { scores, embeddings, dSae: config.dSae }
}

/** As `layer_norm` of an SAE's input: with the deviation of a sample. */
function normalized(row: readonly number[]): number[] {
  const mean = row.reduce((sum, value) => sum + value, 0) / row.length
  const deviation = Math.sqrt(row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (row.length - 1))
  return row.map((value) => (value - mean) / (deviation + 1e-5))
}

describe('the mean embedding of a feature', () => {
  test('is the mean of all pictures weighted with their scores, at unit length; zeros of one that is never active', async () => {
    const means = meanEmbeddings(Object.values(await add(batches()))[0]!)!
    const { scores, embeddings, dSae } = await direct()
    expect(means.shape).toEqual([dSae, dEmbed])
    let nDead = 0
    for (let latent = 0; latent < dSae; latent++) {
      const total = scores.reduce((sum, own) => sum + own[latent]!, 0)
      const mean = Array.from({ length: dEmbed }, (_, d) => embeddings.reduce((sum, row, at) => sum + scores[at]![latent]! * row[d]!, 0))
      const made = Array.from(means.data.subarray(latent * dEmbed, (latent + 1) * dEmbed))
      if (total === 0) {
        nDead++
        expect(made).toEqual(made.map(() => 0))
        continue
      }
      const length = Math.hypot(...mean)
      for (const [d, value] of made.entries()) expect(value).toBeCloseTo(mean[d]! / length, 5)
      expect(Math.hypot(...made)).toBeCloseTo(1, 6)
    }
    expect(nDead).toBeGreaterThan(0)
    expect(nDead).toBeLessThan(dSae)
  })

  test('is the same bytes however pictures are split into shards, and in whatever order these are merged', async () => {
    const whole = bytesOf(await add(batches(SIZES)))
    const parts: IndexShards[] = []
    for (const batch of batches(SIZES)) parts.push(await add([batch]))
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([0, 1, 2, 3, 4], { minLength: 5 }), fc.nat(3), async (order, first) => {
        const mergeAll = (own: readonly number[]) => own.map((at) => parts[at]!).reduce(mergeIndexShards)
        const merged = mergeIndexShards(mergeAll(order.slice(0, first + 1)), mergeAll(order.slice(first + 1)))
        expect(Buffer.compare(bytesOf(merged), whole)).toBe(0)
        // as a worker hands it on
        const [stored] = Object.values(merged).map(indexToBytes)
        expect(Buffer.compare(embeddingsToBytes(meanEmbeddings(await indexFromBytes(stored!))!), whole)).toBe(0)
      }),
      { numRuns: 20 },
    )
  })

  test('is not there where pictures were not embedded', async () => {
    const without = await openIndexer({})
    expect(meanEmbeddings(Object.values(without.empty())[0]!)).toBeUndefined()
    await without.dispose()
  })
})

describe('mean embeddings in a file', () => {
  test('come back as they were', async () => {
    const shape = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }))
    const number = fc.float({ noNaN: true })
    await fc.assert(
      fc.asyncProperty(shape, fc.array(number, { minLength: 81, maxLength: 81 }), async ([rows, columns], values) => {
        const given = float32([rows, columns], values.slice(0, rows * columns))
        expect(await embeddingsFromBytes(embeddingsToBytes(given))).toEqual(given)
      }),
    )
  })

  test.each<[string, (bytes: Buffer) => Uint8Array]>([
    ['is cut short', (bytes) => bytes.subarray(0, bytes.length - 1)],
    ['is of another kind', (bytes) => Buffer.from(bytes.toString('latin1').replace('embeddings-1', 'embeddings-2'), 'latin1')],
    ['has other tensors', (bytes) => Buffer.from(bytes.toString('latin1').replace('"embeddings"', '"embedding_"'), 'latin1')],
    ['has no shape of a matrix', (bytes) => Buffer.from(bytes.toString('latin1').replace('[2,3]', '[6]  '), 'latin1')],
    ['is empty', () => new Uint8Array(0)],
  ])('are refused when it %s', async (_, spoil) => {
    const bytes = Buffer.from(embeddingsToBytes(float32([2, 3], [1, 2, 3, 4, 5, 6])))
    await expect(embeddingsFromBytes(spoil(bytes))).rejects.toMatchObject({ code: 'FILE_INVALID' })
  })
})
