import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ByteWriter } from '../../src/catalog/byte-writer.js'
import type { Catalog } from '../../src/catalog/catalog.js'
import { readFeature, readSummary, type StoredExample, storedBytes, writeFeature } from '../../src/catalog/feature-codec.js'
import { orderOf, pageOfFeatures, placeOf, within } from '../../src/catalog/feature-order.js'
import type { FeatureListRequest, FeatureSetRecord, FeatureSummary, NewFeatureSet } from '../../src/catalog/feature-sets.js'
import {
  exampleKinds,
  type FeatureExample,
  type FeatureRecord,
  featureStatistics,
  type TokenKind,
  tokenKinds,
} from '../../src/engine/evaluation/feature-record.js'
import { aFeature, features } from './a-feature.js'
import { anSae } from './an-sae.js'
import { createTestCatalog } from './test-database.js'

const WIDTH = 40
const SAE = 'm.1-resid-post.vanilla-x4'

let catalog: Catalog
let close: () => Promise<void>
let set: FeatureSetRecord
beforeAll(async () => {
  const made = await createTestCatalog()
  catalog = made.catalog
  close = made.close
  await catalog.baseModels.add([{ id: 'm', name: 'm', repo: null, aliases: [], license: null }])
  await catalog.saes.create(anSae({ id: SAE, modelId: 'm', width: WIDTH }))
  set = await catalog.features.load(aSet({}), features())
})
afterAll(() => close())

function aSet(change: Partial<NewFeatureSet>): NewFeatureSet {
  return {
    ...{ saeId: SAE, dataset: { id: 'd', hash: 'h' }, width: WIDTH, seed: 1, dtype: 'float32', backend: 'onnxruntime' },
    ...{ codeVersion: '1', measuredAt: new Date('2026-01-01'), about: { nImages: 100, nTokens: 50, topLength: 4 } },
    ...change,
  }
}

const everything = (width: number) => ({ mask: new Uint8Array(width).fill(1), from: 0, limit: width })

const float32 = fc.float({ noNaN: true, noDefaultInfinity: true })
const statistic = fc.option(float32, { nil: null })
const index = fc.nat({ max: 2 ** 24 })
const weighted = fc.array(fc.record({ index, value: float32 }), { maxLength: 5 })
const histogram = fc.record({
  firstBin: fc.integer({ min: -600, max: 600 }),
  counts: fc.array(fc.nat({ max: 2 ** 32 - 1 }), { maxLength: 9 }),
})
const example: fc.Arbitrary<FeatureExample> = fc.record({
  kind: fc.constantFrom(...exampleKinds),
  token: fc.constantFrom(...tokenKinds),
  item: index,
  score: float32,
  position: fc.nat({ max: 5000 }),
})
const anyFeature: fc.Arbitrary<FeatureRecord> = fc.record({
  ...(Object.fromEntries(featureStatistics.map((name) => [name, statistic])) as Record<
    (typeof featureStatistics)[number],
    typeof statistic
  >),
  index,
  histogram,
  imageHistogram: histogram,
  // top first, as an index has them
  examples: fc.array(example, { maxLength: 9 }).map((all) => [...all].sort((a, b) => Number(b.kind === 'top') - Number(a.kind === 'top'))),
  ...{ labels: weighted, neighbours: weighted, coactive: weighted, classEffects: weighted, wordEffects: weighted },
})

const withoutPlace = ({ place: _, ...example }: StoredExample): FeatureExample => example

function bytesOf(feature: FeatureRecord): Uint8Array {
  const writer = new ByteWriter(8)
  writeFeature(writer.claim(storedBytes(feature)), feature)
  return writer.take()
}

describe('a stored feature', () => {
  test('is what was stored, whatever it was', () => {
    fc.assert(
      fc.property(anyFeature, (feature) => {
        const { statistics, examples, data } = readFeature(bytesOf(feature))
        const read = Object.fromEntries(featureStatistics.map((name, at) => [name, Number.isNaN(statistics[at]) ? null : statistics[at]]))
        expect({ index: feature.index, ...read, ...data, examples: examples.map(withoutPlace) }).toEqual(feature)
        for (const { kind, token, place, ...example } of examples) {
          const alike = feature.examples.filter((each) => each.kind === kind && each.token === token)
          expect(alike[place]).toEqual({ kind, token, ...example })
        }
      }),
    )
  })

  test('is summarised: statistics, and the top pictures that are shown first', () => {
    fc.assert(
      fc.property(anyFeature, fc.nat({ max: 9 }), (feature, nShown) => {
        const whole = readFeature(bytesOf(feature))
        const top = whole.examples.filter(({ kind }) => kind === 'top')
        const { statistics, examples } = readSummary(bytesOf(feature), nShown)
        expect(statistics).toEqual(whole.statistics)
        const shownFirst = (['patch', 'cls', 'register'] as const).flatMap((token) => top.filter((each) => each.token === token))
        expect(examples).toEqual(shownFirst.slice(0, nShown))
      }),
    )
  })
})

describe('the order of features', () => {
  const values = fc.array(fc.float({ noDefaultInfinity: false }), { minLength: 1, maxLength: 60 }).map((list) => Float32Array.from(list))
  const order = fc.constantFrom('asc' as const, 'desc' as const)

  test('is that of a plain sort: equal ones by index, undefined ones last', () => {
    fc.assert(
      fc.property(values, (column) => {
        const plain = Array.from(column.keys()).sort((a, b) => {
          const [x, y] = [column[a]!, column[b]!]
          if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y)) || a - b
          return x === y ? a - b : x < y ? -1 : 1
        })
        const { ascending, defined } = orderOf(column)
        expect(Array.from(ascending)).toEqual(plain)
        expect(defined).toBe(column.filter((value) => !Number.isNaN(value)).length)
      }),
    )
  })

  test('is the other way round when it descends, but for undefined ones, which stay last', () => {
    fc.assert(
      fc.property(values, (column) => {
        const sorted = orderOf(column)
        const ascending = pageOfFeatures({ ...everything(column.length), sorted, order: 'asc' }).map(({ index }) => index)
        const descending = pageOfFeatures({ ...everything(column.length), sorted, order: 'desc' }).map(({ index }) => index)
        const isDefined = (at: number) => !Number.isNaN(column[at])
        expect(descending).toEqual([...ascending.filter(isDefined).reverse(), ...ascending.filter((at) => !isDefined(at))])
      }),
    )
  })

  test('goes on after any rank, and shows those within bounds only', () => {
    fc.assert(
      fc.property(values, order, fc.nat(), fc.float({ noNaN: true }), (column, direction, seed, min) => {
        const sorted = orderOf(column)
        const mask = within(column.length, [{ values: column, range: { min } }])
        const from = seed % column.length
        const ranks = Array.from(column.keys()).slice(from)
        const places = ranks.map((rank) => ({ rank, index: sorted.ascending[placeOf(rank, direction, sorted.defined)]! }))
        const walk = { sorted, order: direction, mask, from, limit: column.length }
        expect(pageOfFeatures(walk)).toEqual(places.filter(({ index }) => column[index]! >= min))
      }),
    )
  })
})

async function pagesOf(request: Omit<FeatureListRequest, 'limit' | 'cursor'>, limit: number): Promise<FeatureSummary[]> {
  const items: FeatureSummary[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await catalog.features.list(set, { ...request, limit, ...(cursor !== undefined && { cursor }) })
    items.push(...page.items)
    if (page.nextCursor === null) return items
    cursor = page.nextCursor
  }
}

describe('the features of an SAE', () => {
  const all = [...features()]

  test('are listed by any statistic, in pages of any size', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('index' as const, ...featureStatistics),
        fc.constantFrom('asc' as const, 'desc' as const),
        fc.integer({ min: 1, max: 60 }),
        async (sort, order, limit) => {
          const listed = await pagesOf({ sort, order }, limit)
          const sorted = orderOf(Float32Array.from(all, (feature) => feature[sort] ?? Number.NaN))
          const wanted = pageOfFeatures({ ...everything(WIDTH), sorted, order })
          expect(listed.map((feature) => feature.index)).toEqual(wanted.map(({ index }) => index))
        },
      ),
      { numRuns: 15 },
    )
  })

  test('are listed in the same order where an older version has loaded them', async () => {
    const old = await catalog.features.load(aSet({ dataset: { id: 'old', hash: 'o' } }), features())
    await catalog.prisma.featureStatistic.updateMany({ where: { setId: old.id }, data: { ascending: null, defined: null } })
    for (const order of ['asc', 'desc'] as const) {
      const request = { sort: 'mean', order, limit: 25 } as const
      const [here, there] = [await catalog.features.list(set, request), await catalog.features.list(old, request)]
      expect(there.items.map(({ index }) => index)).toEqual(here.items.map(({ index }) => index))
      expect(there.totalCount).toBe(here.totalCount)
    }
    await catalog.features.remove(old)
  })

  test('are filtered by any statistics, with exact counts; the bound that an answer showed includes its feature', async () => {
    const bound = all[3]!.density!
    const page = await catalog.features.list(set, { limit: 5, ranges: { density: { min: bound }, max: { max: 0.5 } } })
    const wanted = all.filter(({ density, max }) => density! >= bound && max !== null && max <= 0.5)
    expect(page.totalCount).toBe(wanted.length)
    expect(page.items.map((feature) => feature.index)).toEqual(wanted.slice(0, 5).map((feature) => feature.index))
    expect((await catalog.features.list(set, { limit: 1, ranges: { density: { min: bound, max: bound } } })).items[0]!.index).toBe(3)
  })

  test('show their top pictures in a list, and everything one by one', async () => {
    const { items } = await catalog.features.list(set, { limit: WIDTH, nExamples: 3 })
    const topOf = ({ examples }: FeatureRecord, token: TokenKind) => examples.filter((each) => each.kind === 'top' && each.token === token)
    const shown = all.map((feature) => [...topOf(feature, 'patch'), ...topOf(feature, 'cls')].slice(0, 3))
    expect(items.map(({ examples }) => examples.map(withoutPlace))).toEqual(shown)
    expect(await catalog.features.summaries(set, [7, 1000], 3)).toEqual([items[7]])
    const [seventh, dead] = await catalog.features.get(set, [7, 9, 1000])
    const { index: _, ...rest } = aFeature(7)
    expect({ ...seventh!.statistics, ...seventh!.data, examples: seventh!.examples.map(withoutPlace) }).toEqual(rest)
    expect(dead!.statistics).toMatchObject({ density: 0, max: null })
    expect(dead!.examples).toEqual([])
  })

  test('are found by what is said of them', async () => {
    const said = { saeId: SAE, author: 'ada', method: 'human', score: null }
    await catalog.explanations.add({ ...said, index: 5, text: 'barking dogs' })
    await catalog.explanations.add({ ...said, index: 8, text: 'a dog\0 on grass', score: 0.5 })
    await catalog.explanations.add({ ...said, index: 8, text: 'green' })
    const { items, totalCount } = await catalog.features.list(set, { limit: 10, text: 'dog', sort: 'index', order: 'desc' })
    expect(totalCount).toBe(2)
    expect(items.map(({ index, explanations }) => [index, explanations.map(({ text }) => text)])).toEqual([
      [8, ['a dog on grass', 'green']],
      [5, ['barking dogs']],
    ])
    expect((await catalog.explanations.search({ text: 'dog -grass', limit: 5 })).map(({ index }) => index)).toEqual([5])
    expect((await catalog.explanations.search({ text: '"on grass"', saeId: SAE, limit: 5 }))[0]).toMatchObject({ index: 8, score: 0.5 })
    expect(await catalog.explanations.search({ text: "'; drop table features; --", limit: 5 })).toEqual([])
  })

  test('that were indexed again replace the old ones as a whole, and a page of the old ones does not go on', async () => {
    const before = await catalog.features.load(aSet({ dataset: { id: 'again', hash: 'a' } }), features())
    const { nextCursor } = await catalog.features.list(before, { limit: 5 })
    const after = await catalog.features.load(
      aSet({ dataset: { id: 'again', hash: 'b' } }),
      (async function* () {
        for (const feature of features()) yield { ...feature, density: 0.25 }
      })(),
    )
    // who still holds the old set is given the new one
    expect((await catalog.features.get(before, [1]))[0]!.statistics.density).toBe(0.25)
    expect((await catalog.features.list(before, { limit: 1, sort: 'density' })).items[0]!.statistics.density).toBe(0.25)
    expect((await catalog.features.list(after, { limit: 1, sort: 'density' })).items[0]!.statistics.density).toBe(0.25)
    await expect(catalog.features.list(after, { limit: 5, cursor: nextCursor! })).rejects.toMatchObject({ code: 'CURSOR_INVALID' })
    expect((await catalog.features.sets(SAE)).map(({ dataset }) => dataset)).toEqual([
      { id: 'again', hash: 'b' },
      { id: 'd', hash: 'h' },
    ])
  })

  test.each<[string, () => Iterable<FeatureRecord>, RegExp]>([
    ['one is missing', () => [...features()].slice(1), /39 of 40/],
    ['one comes twice', () => [...features(), aFeature(3)], /3 comes twice/],
    ['one is beyond the SAE', () => [aFeature(WIDTH)], /40 of 40/],
  ])('are not replaced when %s', async (_, rows, message) => {
    await expect(catalog.features.load(aSet({}), rows())).rejects.toThrow(message)
    expect((await catalog.features.list(set, { limit: 1 })).totalCount).toBe(WIDTH)
    expect(await catalog.features.get(set, [0])).toHaveLength(1)
  })

  test('have their top pictures in a list, too, where they were seen at every kind of token', async () => {
    const tops = tokenKinds.flatMap((token) =>
      Array.from({ length: 4 }, (_, item): FeatureExample => ({ kind: 'top', token, item, score: 1, position: 1 })),
    )
    const rows = [...features()].map((feature) => ({
      ...feature,
      examples: [...tops, ...feature.examples.filter(({ kind }) => kind !== 'top')],
    }))
    const made = await catalog.features.load(aSet({ dataset: { id: 'kinds', hash: 'k' } }), rows)
    const [first] = (await catalog.features.list(made, { limit: 1, nExamples: 100 })).items
    const byToken = (['patch', 'cls', 'register'] as const).flatMap((token) => tops.filter((each) => each.token === token))
    expect(first!.examples.map(withoutPlace)).toEqual(byToken)
    await catalog.features.remove(made)
  })

  test('go with their SAE', async () => {
    const id = 'm.1-resid-post.gone'
    await catalog.saes.create(anSae({ id, modelId: 'm', width: WIDTH }))
    const gone = await catalog.features.load(aSet({ saeId: id }), features())
    await catalog.saes.remove(id)
    expect(await catalog.prisma.feature.count({ where: { setId: gone.id } })).toBe(0)
    expect(await catalog.prisma.featureStatistic.count({ where: { setId: gone.id } })).toBe(0)
  })
})
