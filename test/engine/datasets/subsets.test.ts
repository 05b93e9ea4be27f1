import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concat, holdOut, subset, where } from '../../../src/engine/datasets/subsets.js'
import { datasetOf, itemsOf } from './pictures.js'

const drawings = datasetOf(
  Array.from({ length: 60 }, (_, index) => ({ label: index % 3, facets: { artist: ['noto', 'openmoji'][index % 2]!, code: index % 20 } })),
  { nClasses: 3 },
)
const names = (dataset: typeof drawings) => itemsOf(dataset).map(({ name }) => name)

describe('what is held out', () => {
  const holding = fc.record({
    fraction: fc.double({ min: 0.01, max: 0.99, noNaN: true }),
    seed: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    by: fc.constantFrom(undefined, 'code', 'artist'),
  })

  test('and the rest are all items, each once, the same for the same seed', () => {
    fc.assert(
      fc.property(holding, ({ by, ...how }) => {
        const setting = { ...how, ...(by !== undefined && { by }) }
        const { rest, heldOut } = holdOut(drawings, setting)
        expect([...names(rest), ...names(heldOut)].sort()).toEqual(names(drawings).sort())
        expect(names(holdOut(drawings, setting).heldOut)).toEqual(names(heldOut))
        expect(rest.hash).not.toBe(heldOut.hash)
      }),
    )
  })

  test('has the fraction of every class', () => {
    const { heldOut } = holdOut(drawings, { fraction: 0.25, seed: 1 })
    const counts = [0, 1, 2].map((label) => itemsOf(heldOut).filter((item) => item.label === label).length)
    expect(counts).toEqual([5, 5, 5])
  })

  test('depends on the seed', () => {
    expect(names(holdOut(drawings, { fraction: 0.3, seed: 1 }).heldOut)).not.toEqual(
      names(holdOut(drawings, { fraction: 0.3, seed: 2 }).heldOut),
    )
  })

  test('by a facet shares no value with the rest', () => {
    const { rest, heldOut } = holdOut(drawings, { fraction: 0.3, seed: 5, by: 'code' })
    const codes = (dataset: typeof drawings) => new Set(itemsOf(dataset).map(({ facets }) => facets.code))
    expect(codes(heldOut).size).toBe(6)
    expect([...codes(heldOut)].some((code) => codes(rest).has(code))).toBe(false)
  })

  test('by a facet that is not there is refused', () => {
    expect(() => holdOut(drawings, { fraction: 0.3, seed: 5, by: 'artits' })).toThrow('did you mean "artist"?')
  })
})

describe('the items of which a facet has a value', () => {
  test('and the others are all', () => {
    const [noto, others] = [where(drawings, 'artist', ['noto']), where(drawings, 'artist', ['noto'], { except: true })]
    expect(noto.size + others.size).toBe(60)
    expect(itemsOf(noto).every(({ facets }) => facets.artist === 'noto')).toBe(true)
    expect(itemsOf(others).some(({ facets }) => facets.artist === 'noto')).toBe(false)
  })

  test('are refused where nothing has it, for a misspelt one would test on nothing', () => {
    expect(() => where(drawings, 'artist', ['notto'])).toThrow('did you mean "noto"?')
    expect(() => where(drawings, 'style', ['flat'])).toThrow('its items have no "style"')
    expect(() => where(drawings, 'artist', ['noto', 'openmoji'], { except: true })).toThrow('nothing is left')
  })
})

test('several are one after the other', () => {
  const [first, second] = [subset(drawings, [3, 1], 'first'), subset(drawings, [7], 'second')]
  const both = concat([first, second], 'both')
  expect(names(both)).toEqual(['item 3', 'item 1', 'item 7'])
  expect(both.nClasses).toBe(3)
  expect(concat([second, first], 'both').hash).not.toBe(both.hash)
})

test('several whose classes differ are refused', () => {
  const named = datasetOf([{ label: 0 }], { nClasses: 1, classNames: ['cat'], name: 'cats' })
  const others = datasetOf([{ label: 0 }], { nClasses: 1, classNames: ['dog'], name: 'dogs' })
  expect(() => concat([named, others], 'both')).toThrow(/classes of dogs are not those of cats: 1 \(dog\) and 1 \(cat\)/)
  expect(() => concat([named, datasetOf([{}])], 'both')).toThrow(/none and 1 \(cat\)/)
})
