import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Backend } from '../../../src/engine/backends/backend.js'
import type { FeatureRecord } from '../../../src/engine/evaluation/feature-record.js'
import { finishIndex } from '../../../src/engine/evaluation/finish-index.js'
import { indexFromBytes, indexToBytes } from '../../../src/engine/evaluation/index-bytes.js'
import {
  type FeatureIndexer,
  type IndexedBatch,
  type IndexShards,
  mergeIndexShards,
  openFeatureIndexer,
} from '../../../src/engine/evaluation/index-features.js'
import { defaultSampledPerPicture } from '../../../src/engine/evaluation/index-shard.js'
import type { StudiedSae } from '../../../src/engine/evaluation/studied-sae.js'
import { readout, weightStatistics } from '../../../src/engine/evaluation/weight-statistics.js'
import { type Tensor, tensor } from '../../../src/engine/tensor.js'
import { onnxruntime, referenceFloat64 } from '../each-backend.js'
import { batchesOf, type GoldenData, golden, goldenData } from './goldens.js'

let data: GoldenData
beforeAll(async () => {
  data = await goldenData()
})

const ALL_TOKENS = 10
const dEmbed = 6

function indexerOf(
  backend: Backend,
  { sampledPerPicture = ALL_TOKENS, saes = data.saes.slice(0, 1) }: { sampledPerPicture?: number; saes?: readonly StudiedSae[] } = {},
): Promise<FeatureIndexer> {
  return openFeatureIndexer({ backend, tower: data.model.towers.vision, config: data.config, saes, seed: 3, sampledPerPicture, dEmbed })
}

function batches(sizes: readonly number[] = golden.batches): IndexedBatch[] {
  const all = data.tensors.embeddings!.data as Float32Array
  return batchesOf(data.tensors.pixels!, data.labels, sizes).map(({ batch, items, pixels }) => ({
    batch,
    items,
    pixels,
    embeddings: tensor('float32', [items.length, dEmbed], all.slice(items[0]! * dEmbed, (items[0]! + items.length) * dEmbed)),
  }))
}

async function add(indexer: FeatureIndexer, of: readonly IndexedBatch[]): Promise<IndexShards> {
  let shards = indexer.empty()
  for (const batch of of) shards = await indexer.addBatch(shards, batch)
  return shards
}

const bytesOf = (shards: IndexShards) => Buffer.concat(Object.values(shards).map(indexToBytes))

describe("pictures that are compared by the model's own answers", () => {
  test('make the same bytes as if the answers had been given', async () => {
    const backend = await onnxruntime.create()
    const { towers } = data.model
    const graph = towers.vision.buildGraph(new Set())
    const [output] = graph.outputs as [string]
    const [program, weights] = [await backend.compile(graph), await backend.upload(towers.vision.weights)]
    const given: IndexedBatch[] = []
    for (const batch of batches()) {
      const made = await program.run({ inputs: { pixels: batch.pixels }, weights, fetch: [output] })
      given.push({ ...batch, embeddings: made[output] as Tensor<'float32'> })
    }
    const width = given[0]!.embeddings!.shape[1]!
    const open = (embedsItself: boolean) =>
      openFeatureIndexer({
        ...{ backend, tower: towers.vision, config: data.config, saes: data.saes.slice(0, 1), seed: 3 },
        ...{ sampledPerPicture: ALL_TOKENS, dEmbed: width, embedsItself },
      })
    const [itself, other] = [await open(true), await open(false)]
    const own = await add(
      itself,
      given.map(({ embeddings: _, ...batch }) => batch),
    )
    expect(Object.values(own)[0]!.embeddings!.weighted.some((value) => value !== 0)).toBe(true)
    expect(Buffer.compare(bytesOf(own), bytesOf(await add(other, given)))).toBe(0)
    await expect(other.addBatch(other.empty(), batches()[0]!)).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
    await Promise.all([itself, other, program, weights].map((each) => each.dispose()))
  })
})

describe.each([referenceFloat64, onnxruntime])('an index on %s', (backend) => {
  let records: FeatureRecord[]
  beforeAll(async () => {
    const made = await backend.create()
    const indexer = await indexerOf(made)
    const [shard] = Object.values(await add(indexer, batches()))
    const classes = readout(data.classes, data.config, data.model.towers.vision.weights)
    const weights = await weightStatistics({ backend: made, sae: data.saes[0]!, classes, words: classes, nEffects: 5 })
    records = [...finishIndex(shard!, { weights, labelOf: (item) => data.labels[item] })]
    await indexer.dispose()
  })

  test('has the statistics that numpy computes from all codes, naively', () => {
    const statistics = Object.keys(golden.index[0]!).filter((name) => typeof golden.index[0]![name] === 'number')
    expect(statistics.length).toBeGreaterThan(14)
    const off = records.flatMap((record) =>
      statistics.flatMap((name) => {
        const [made, wanted] = [record[name as 'density'], golden.index[record.index]![name] as number | null]
        const isClose = made === null || wanted === null ? made === wanted : Math.abs(made - wanted) <= 2e-5 * Math.max(1, Math.abs(wanted))
        return isClose ? [] : [{ feature: record.index, name, made, wanted }]
      }),
    )
    expect(off).toEqual([])
  })

  test('has the top and the most negative pictures in order, with their scores and where they are', () => {
    for (const record of records) {
      const of = (kind: string) => record.examples.filter((example) => example.kind === kind && example.token === 'patch')
      const { top, negative } = golden.index[record.index]!
      expect(of('top').map(({ item, position }) => [item, position])).toEqual(top.map(([item, , position]) => [item, position]))
      for (const [at, { score }] of of('top').entries()) expect(score).toBeCloseTo(top[at]![1], 4)
      expect(of('negative').map(({ item }) => item)).toEqual(negative.map(([item]) => item))
      for (const [at, { score }] of of('negative').entries()) expect(score).toBeCloseTo(negative[at]![1], 4)
      const threshold = top.toReversed().slice(0, 4)
      expect(of('threshold').map(({ item }) => item)).toEqual(threshold.map(([item]) => item))
    }
  })

  test('has the histogram of all activations where all tokens are sampled', () => {
    for (const { index, histogram } of records) {
      const expected = golden.index[index]!.histogram
      const made = Object.fromEntries(
        histogram.counts.flatMap((count, at) => (count > 0 ? [[String(histogram.firstBin + at), count]] : [])),
      )
      expect(made).toEqual(expected)
    }
  })

  test('has neighbours, co-active features and effects on classes', () => {
    for (const { index, neighbours, coactive, classEffects, wordEffects } of records) {
      const wanted = golden.index[index]!
      expect(neighbours.map((each) => each.index)).toEqual(wanted.neighbours.map(([other]) => other))
      for (const [at, { value }] of neighbours.entries()) expect(value).toBeCloseTo(wanted.neighbours[at]![1], 5)
      expect(coactive.map(({ value }) => value.toFixed(9))).toEqual(wanted.coactive.map(([, value]) => value.toFixed(9)))
      expect(classEffects.map((each) => each.index)).toEqual(
        wanted.classEffects.map((_, at) => at).sort((a, b) => wanted.classEffects[b]! - wanted.classEffects[a]!),
      )
      for (const { index: c, value } of classEffects) expect(value).toBeCloseTo(wanted.classEffects[c]!, 3)
      expect(wordEffects).toEqual(classEffects)
    }
  })

  test('says of a dead feature that it is dead, and no more', () => {
    const dead = records[3]!
    expect(dead).toMatchObject({
      density: 0,
      imageDensity: 0,
      mean: null,
      max: null,
      deviation: null,
      monosemanticity: null,
      labelEntropy: null,
    })
    expect(dead).toMatchObject({ histogram: { counts: [] }, imageHistogram: { counts: [] }, coactive: [], labels: [] })
    expect(dead.examples.map(({ kind }) => kind)).toEqual(Array.from({ length: 8 }, () => 'negative'))
    expect(dead.neighbours.length).toBe(5)
  })

  test('keeps the kinds of tokens apart', () => {
    for (const { examples } of records) {
      for (const { token, position } of examples) expect(position === 0).toBe(token === 'cls')
    }
  })
})

describe('shards of an index', () => {
  let indexer: FeatureIndexer
  beforeAll(async () => {
    indexer = await indexerOf(await onnxruntime.create(), { sampledPerPicture: 3, saes: data.saes })
  })
  afterAll(() => indexer.dispose())

  test('split in any way and merged in any order are the same bytes', async () => {
    const sizes = [2, 3, 1, 4, 5]
    const whole = bytesOf(await add(indexer, batches(sizes)))
    const shuffled = fc.shuffledSubarray([0, 1, 2, 3, 4], { minLength: 5 })
    await fc.assert(
      fc.asyncProperty(shuffled, fc.array(fc.nat(), { minLength: 5, maxLength: 5 }), fc.nat(3), async (order, picks, nTogether) => {
        const all = batches(sizes)
        const parts = [
          await add(
            indexer,
            order.slice(0, nTogether).map((at) => all[at]!),
          ),
        ]
        for (const at of order.slice(nTogether)) parts.push(await add(indexer, [all[at]!]))
        while (parts.length > 1) {
          const at = picks[parts.length - 2]! % (parts.length - 1)
          parts.splice(at, 2, mergeIndexShards(parts[at]!, parts[at + 1]!))
        }
        expect(Buffer.compare(bytesOf(parts[0]!), whole)).toBe(0)
      }),
      { numRuns: 12 },
    )
  })

  test('come back from their bytes as they were', async () => {
    for (const shard of Object.values(await add(indexer, batches()))) {
      const bytes = indexToBytes(shard)
      expect(Buffer.compare(indexToBytes(await indexFromBytes(bytes)), bytes)).toBe(0)
    }
    const [shard] = Object.values(await add(indexer, batches()))
    const spoilt = Buffer.from(indexToBytes(shard!))
    spoilt.write('<', spoilt.indexOf('"plan":"{') + '"plan":"'.length)
    await expect(indexFromBytes(spoilt)).rejects.toMatchObject({ code: 'FILE_INVALID' })
    await expect(indexFromBytes(new Uint8Array(64))).rejects.toMatchObject({ code: 'FILE_INVALID' })
  })

  test('with a batch in common, of other plans, or of items that make no sense are refused', async () => {
    const [first, second] = batches()
    const shards = await add(indexer, [first!])
    await expect(indexer.addBatch(shards, first!)).rejects.toMatchObject({ code: 'CHECKPOINT_MISMATCH' })
    expect(() => mergeIndexShards(shards, shards)).toThrow(/batch 0/)
    const other = await indexerOf(await onnxruntime.create(), { sampledPerPicture: 2, saes: data.saes })
    expect(() => mergeIndexShards(shards, other.empty())).toThrow(/planned alike/)
    await other.dispose()
    await expect(indexer.addBatch(shards, { ...second!, items: [1] })).rejects.toThrow(/1 for 4 pictures/)
    await expect(indexer.addBatch(shards, { ...second!, items: [1, 1, 2, 3] })).rejects.toThrow(/twice/)
    await expect(
      indexer.addBatch(shards, { ...second!, embeddings: tensor('float32', [4, 2], new Float32Array(8)) }),
    ).rejects.toMatchObject({
      code: 'SHAPE_MISMATCH',
    })
  })
})

describe('an encoder in pieces', () => {
  test('indexes as one of few latents does', async () => {
    // 24 latents, repeated to fill more than one piece.
    const [sae] = data.saes
    const copies = 200
    const { dSae, dIn } = sae!.config
    const wide = (name: string, rows: number): Tensor<'float32'> => {
      const own = sae!.weights[name]!.data as Float32Array
      const made = Float32Array.from(
        { length: rows * dSae * copies },
        (_, at) => own[Math.floor(at / (dSae * copies)) * dSae + (at % dSae)]!,
      )
      return tensor('float32', rows === 1 ? [dSae * copies] : [rows, dSae * copies], made)
    }
    const decoder = sae!.weights.W_dec!.data as Float32Array
    const weights = {
      ...sae!.weights,
      W_enc: wide('W_enc', dIn),
      b_enc: wide('b_enc', 1),
      W_dec: tensor(
        'float32',
        [dSae * copies, dIn],
        Float32Array.from({ length: dSae * copies * dIn }, (_, at) => decoder[at % decoder.length]!),
      ),
    }
    const backend = await onnxruntime.create()
    const [narrow, wideIndexer] = [
      await indexerOf(backend),
      await indexerOf(backend, { saes: [{ ...sae!, weights, config: { ...sae!.config, dSae: dSae * copies } }] }),
    ]
    const [expected, made] = [(await add(narrow, batches())).all!, (await add(wideIndexer, batches())).all!]
    for (const latent of [0, 7, 2063, 2064, 4127, 4799]) {
      expect(made.kinds.patch!.counts[latent]).toBe(expected.kinds.patch!.counts[latent % dSae])
      expect(made.kinds.cls!.max[latent]).toBeCloseTo(expected.kinds.cls!.max[latent % dSae]!, 5)
      expect(made.pictureCounts[latent]).toBe(expected.pictureCounts[latent % dSae])
    }
    await Promise.all([narrow.dispose(), wideIndexer.dispose()])
  })
})

test('few pictures have all their tokens sampled, many at least one each', () => {
  expect(defaultSampledPerPicture(100, 50)).toBe(50)
  expect(defaultSampledPerPicture(50_000, 50)).toBe(6)
  expect(defaultSampledPerPicture(1e7, 50)).toBe(1)
})
