import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Batch, type BatchSetting, createBatches } from '../../../src/engine/datasets/batches.js'
import { batchesPerEpoch, epochBatches } from '../../../src/engine/datasets/epoch-order.js'
import { openDataset } from '../../../src/engine/datasets/open-dataset.js'
import { readAugmentation } from '../../../src/engine/image/augment-config.js'
import { preprocess } from '../../../src/engine/image/preprocess.js'
import type { Preprocessing } from '../../../src/engine/image/preprocessing.js'
import { trainedClipTokenizer, trainTokenizer } from '../../../src/engine/models/tokenizer-training.js'
import { createRandom } from '../../../src/engine/random.js'
import { datasetOf, folderWith, itemsOf, limits, png, refusal } from './pictures.js'

const how: Preprocessing = {
  resize: { kind: 'exact', width: 8, height: 8 },
  resample: 'bicubic',
  crop: null,
  rescale: 1 / 255,
  mean: [0.5, 0.5, 0.5],
  std: [0.25, 0.25, 0.25],
  mode: 'RGB',
}
const setting = (rest: Partial<BatchSetting> = {}): BatchSetting => ({
  batchSize: 4,
  random: createRandom(7),
  dropLast: true,
  preprocessing: how,
  cacheBytes: 2 ** 20,
  limits,
  ...rest,
})
const augmentation = readAugmentation({
  affine: { rotate: [-20, 20] },
  background: { solid: 1 },
  colorJitter: { hue: [-0.2, 0.2] },
  noise: { probability: 1 },
})
const captions = ['a red cat', 'a blue dog', 'a green bird', 'a cat and a dog']
const tokenizer = trainedClipTokenizer(trainTokenizer(captions, { vocabSize: 600 }), 12)
const described = datasetOf(
  Array.from({ length: 22 }, (_, index) => ({
    label: index % 5,
    captions: captions.map((text, weight) => ({ text, weight: weight + 1 })),
    facets: { code: index % 8 },
  })),
  { nClasses: 5 },
)

async function steps(batches: ReturnType<typeof createBatches>, from: number, to: number): Promise<Batch[]> {
  const taken: Batch[] = []
  for (let step = from; step < to; step++) taken.push(await batches.at(step))
  batches.close()
  return taken
}

describe('batches', () => {
  test('of a run that is resumed are those that it would have had', async () => {
    const make = () => createBatches(described, setting({ augmentation, tokenizer, variantProbability: 0.5, distinctBy: 'code' }))
    const all = await steps(make(), 0, 17)
    expect(await steps(make(), 8, 17)).toEqual(all.slice(8))
    expect(await make().at(12)).toEqual(all[12])
    const backwards = make()
    for (const step of [16, 3, 3, 9]) expect(await backwards.at(step)).toEqual(all[step])
  })

  test('have each item once an epoch, in another order each epoch', async () => {
    const batches = createBatches(described, setting({ dropLast: false }))
    expect(batches.stepsPerEpoch).toBe(6)
    const taken = await steps(batches, 0, 12)
    const order = (epoch: number) => taken.filter((batch) => batch.epoch === epoch).flatMap(({ items }) => [...items])
    for (const epoch of [0, 1]) expect(order(epoch).toSorted((a, b) => a - b)).toEqual([...itemsOf(described).keys()])
    expect(order(0)).not.toEqual(order(1))
    expect(taken.map(({ items }) => items.length)).toEqual([4, 4, 4, 4, 4, 2, 4, 4, 4, 4, 4, 2])
    expect(taken[5]!.pixels.shape).toEqual([2, 3, 8, 8])
  })

  test('leave out what does not fill one, if so told', async () => {
    const batches = createBatches(described, setting())
    expect(batches.stepsPerEpoch).toBe(5)
    expect((await steps(batches, 0, 5)).every(({ items }) => items.length === 4)).toBe(true)
  })

  test('hold the pixels, labels and tokens of their items', async () => {
    const batch = await createBatches(described, setting({ tokenizer })).at(0)
    expect(batch.pixels.dtype).toBe('float32')
    expect(batch.labels).toMatchObject({ dtype: 'int64', shape: [4] })
    expect(batch.tokens).toMatchObject({ dtype: 'int64', shape: [4, 12] })
    batch.items.forEach((item, row) => {
      expect(Number(batch.labels!.data[row])).toBe(item % 5)
      const first = batch.pixels.data[row * 3 * 64]!
      expect(first).toBeCloseTo((item / 255 - 0.5) / 0.25, 5)
      const ids = batch.tokens!.data.slice(row * 12, (row + 1) * 12)
      expect(captions.map((text) => String(tokenizer.encode([text]).data))).toContain(String(ids))
    })
  })

  test('without labels or captions have no labels and no tokens', async () => {
    const batch = await createBatches(datasetOf(new Array(8).fill({})), setting()).at(0)
    expect(Object.keys(batch).sort()).toEqual(['epoch', 'items', 'pixels', 'step'])
  })

  test('draw captions by their weights', async () => {
    const batches = createBatches(described, setting({ tokenizer, batchSize: 22 }))
    const counts = new Map<string, number>()
    for (const { tokens } of await steps(batches, 0, 100)) {
      for (let row = 0; row < 22; row++) {
        const ids = String(tokens!.data.slice(row * 12, (row + 1) * 12))
        counts.set(ids, (counts.get(ids) ?? 0) + 1)
      }
    }
    captions.forEach((text, index) => {
      const share = counts.get(String(tokenizer.encode([text]).data))! / 2200
      expect(Math.abs(share - (index + 1) / 10)).toBeLessThan(0.04)
    })
  })

  test('without random numbers are in order, with the first caption, and as the model sees the pictures', async () => {
    const { random: _, ...fixed } = setting({ tokenizer, batchSize: 5, dropLast: false })
    const taken = await steps(createBatches(described, fixed), 0, 10)
    expect(taken.slice(0, 5).flatMap(({ items }) => [...items])).toEqual([...itemsOf(described).keys()])
    expect(taken.slice(5).map(({ items, pixels }) => ({ items, pixels }))).toEqual(
      taken.slice(0, 5).map(({ items, pixels }) => ({ items, pixels })),
    )
    expect(taken[0]!.tokens!.data.slice(0, 12)).toEqual(tokenizer.encode([captions[0]!]).data)
  })

  test('draw variants as often as they are told to', async () => {
    const grey = (value: number) =>
      ({ kind: 'drawn', draw: () => ({ width: 8, height: 8, channels: 1, data: new Uint8Array(64).fill(value) }) }) as const
    const dataset = datasetOf(Array.from({ length: 10 }, () => ({ picture: grey(0), variants: [grey(100), grey(200)] })))
    const batches = createBatches(dataset, setting({ batchSize: 10, variantProbability: 0.4 }))
    const seen = (await steps(batches, 0, 60)).flatMap(({ pixels }) => Array.from({ length: 10 }, (_, row) => pixels.data[row * 192]!))
    const share = (value: number) => seen.filter((each) => Math.abs(each - (value / 255 - 0.5) / 0.25) < 1e-4).length / seen.length
    expect(Math.abs(share(0) - 0.6)).toBeLessThan(0.08)
    expect(Math.abs(share(100) - 0.2)).toBeLessThan(0.06)
    expect(Math.abs(share(200) - 0.2)).toBeLessThan(0.06)
  })
})

describe('pictures from files', () => {
  test('are what the model sees when it is used, where nothing moves them', async () => {
    const files = { 'a/1.png': await png(40, { width: 30, height: 21 }), 'a/2.png': await png(90, { width: 8, height: 8 }) }
    const dataset = await openDataset({ kind: 'folder', folder: await folderWith(files) }, { limits })
    const crop: Preprocessing = { ...how, resize: { kind: 'shortestEdge', size: 10 }, crop: { width: 8, height: 8 } }
    for (const step of [0, 1]) {
      // the second time from memory
      const { pixels, items } = await createBatches(dataset, setting({ batchSize: 2, preprocessing: crop })).at(step)
      for (const [row, item] of items.entries()) {
        const expected = await preprocess(Object.values(files)[item]!, crop, limits)
        expect(pixels.data.slice(row * 192, (row + 1) * 192)).toEqual(expected.data)
      }
    }
  })

  test('are the same whether they fit in memory or not', async () => {
    const folder = await folderWith(Array.from({ length: 9 }, (_, index) => `a/${index}.png`))
    const dataset = await openDataset({ kind: 'folder', folder }, { limits })
    const taken = await Promise.all(
      [0, 1200, 2 ** 20].map((cacheBytes) => steps(createBatches(dataset, setting({ cacheBytes, augmentation })), 0, 6)),
    )
    expect(taken[1]).toEqual(taken[0])
    expect(taken[2]).toEqual(taken[0])
  })

  test('that are gone, or damaged, when they are needed are an error that names them', async () => {
    const folder = await folderWith(['a/1.png', 'a/2.png'])
    const dataset = await openDataset({ kind: 'folder', folder }, { limits })
    fs.rmSync(path.join(folder, 'a/2.png'))
    const { random: _, ...fixed } = setting({ batchSize: 1 })
    const batches = createBatches(dataset, fixed)
    await batches.at(0)
    expect(await refusal(batches.at(1))).toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringContaining('a/2.png cannot be read (it is not there)'),
    })
    fs.writeFileSync(path.join(folder, 'a/2.png'), 'no picture')
    expect((await refusal(batches.at(1))).message).toContain('a/2.png')
  })

  test('with transparency show the background that is drawn for them', async () => {
    const dataset = await openDataset({ kind: 'folder', folder: await folderWith({ 'a/1.png': await png(7, { alpha: 0 }) }) }, { limits })
    const white = readAugmentation({ background: { white: 1 } })
    const { pixels } = await createBatches(dataset, setting({ batchSize: 1, augmentation: white })).at(0)
    expect(new Set(pixels.data)).toEqual(new Set([2]))
  })

  test('are of one channel where the model is, with and without transparency', async () => {
    const files = { 'a/1.png': await png(30), 'a/2.png': await png(60, { alpha: 0.5 }) }
    const dataset = await openDataset({ kind: 'folder', folder: await folderWith(files) }, { limits })
    const grey: Preprocessing = { ...how, mode: 'L', mean: [0], std: [1] }
    for (const each of [undefined, readAugmentation({ background: { white: 1 }, affine: {} })]) {
      const { pixels } = await createBatches(
        dataset,
        setting({ batchSize: 2, preprocessing: grey, ...(each && { augmentation: each }) }),
      ).at(0)
      expect(pixels.shape).toEqual([2, 1, 8, 8])
      expect(pixels.data.every((value) => value >= 0 && value <= 1)).toBe(true)
    }
  })
})

describe('a setting is refused', () => {
  const { random: _, ...fixed } = setting()
  test.each([
    ['batches larger than the data set', setting({ batchSize: 23 }), /batchSize: 23 is more than the 22 items/],
    ['augmentation without random numbers', { ...fixed, augmentation }, /augment: needs random numbers/],
    ['a facet that is not there', setting({ distinctBy: 'artist' }), /"artist" is not known of item 0; code is/],
    ['more of a facet than batches', setting({ distinctBy: 'code', batchSize: 11 }), /3 items have the code "0".*only 2 batches/],
    ['pictures of different sizes', setting({ preprocessing: { ...how, resize: null } }), /would have different sizes/],
  ])('that wants %s', (_, wrong, message) => {
    expect(() => createBatches(described, wrong)).toThrow(message)
  })

  test('that wants captions where there are none', () => {
    expect(() => createBatches(datasetOf(new Array(8).fill({})), setting({ tokenizer }))).toThrow('item 0 has no caption')
  })
})

describe('the order of an epoch', () => {
  const plans = fc
    .record({
      size: fc.integer({ min: 1, max: 200 }),
      batchSize: fc.integer({ min: 1, max: 20 }),
      dropLast: fc.boolean(),
      nGroups: fc.integer({ min: 1, max: 60 }),
      seed: fc.nat(),
    })
    .filter(({ size, batchSize, dropLast }) => batchesPerEpoch({ size, batchSize, dropLast }) > 0)

  test('takes no item twice, and all of them if none are to be left out', () => {
    fc.assert(
      fc.property(plans, ({ size, batchSize, dropLast, nGroups, seed }) => {
        for (const groups of [undefined, Array.from({ length: size }, (_, item) => item % nGroups)]) {
          const batches = epochBatches({ size, batchSize, dropLast, ...(groups && { groups }) }, createRandom(seed))
          const items = batches.flatMap((batch) => [...batch])
          expect(new Set(items).size).toBe(items.length)
          if (!dropLast) expect(items.length).toBe(size)
          expect(batches.every((batch) => batch.length > 0 && batch.length <= batchSize)).toBe(true)
          if (dropLast) expect(batches.every((batch) => batch.length === batchSize)).toBe(true)
        }
      }),
    )
  })

  test('puts no two items of a group into one batch, where there are batches enough', () => {
    fc.assert(
      fc.property(plans, ({ size, batchSize, dropLast, nGroups, seed }) => {
        const groups = Array.from({ length: size }, (_, item) => item % nGroups)
        fc.pre(Math.ceil(size / nGroups) <= batchesPerEpoch({ size, batchSize, dropLast }))
        for (const batch of epochBatches({ size, batchSize, dropLast, groups }, createRandom(seed))) {
          expect(new Set(Array.from(batch, (item) => groups[item])).size).toBe(batch.length)
        }
      }),
    )
  })
})
