import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { openDataset } from '../../../src/engine/datasets/open-dataset.js'
import { folderWith, itemsOf, limits, png, refusal } from './pictures.js'

const cat = {
  code: '1f431',
  name: 'CAT FACE',
  short: ['cat', 'kitty-face'],
  keywords: ['pet', 'whiskers'],
  category: 'Animals & Nature',
  subcategory: 'animal-mammal',
  pictures: { noto: ['noto/1f431.png'], twemoji: ['twemoji/1f431.png'] },
}
const wave = {
  code: '1f44b',
  name: 'WAVING HAND SIGN',
  short: ['wave'],
  keywords: [],
  category: 'People & Body',
  subcategory: 'hand-fingers-open',
  pictures: { noto: ['noto/1f44b.png', 'noto/1f44b-1f3fb.png', 'noto/1f44b-1f3ff.png'], twemoji: ['twemoji/1f44b.png'] },
}

async function prepared(entries: unknown = [cat, wave]): Promise<string> {
  const files = [
    'noto/1f431.png',
    'twemoji/1f431.png',
    'noto/1f44b.png',
    'noto/1f44b-1f3fb.png',
    'noto/1f44b-1f3ff.png',
    'twemoji/1f44b.png',
  ]
  const pictures = await Promise.all(files.map(async (file, index) => [file, await png(index, { alpha: 0.5 })] as const))
  return folderWith({ ...Object.fromEntries(pictures), 'index.json': JSON.stringify(entries) })
}

const open = async (config: object = {}, entries?: unknown) =>
  openDataset({ kind: 'emoji', folder: await prepared(entries), ...config }, { limits })

describe('emoji', () => {
  test('are items by artist and emoji, in the order of the artists', async () => {
    const dataset = await open()
    expect(itemsOf(dataset).map(({ name, label }) => [name, dataset.classNames![label!]])).toEqual([
      ['noto/1f431.png', 'animal-mammal'],
      ['noto/1f44b.png', 'hand-fingers-open'],
      ['twemoji/1f431.png', 'animal-mammal'],
      ['twemoji/1f44b.png', 'hand-fingers-open'],
    ])
    expect(dataset.item(1).facets).toEqual({
      artist: 'noto',
      code: '1f44b',
      name: 'waving hand sign',
      category: 'People & Body',
      subcategory: 'hand-fingers-open',
    })
  })

  test('of some artists have the classes of all', async () => {
    const train = await open({ exceptArtists: ['twemoji'] })
    const test = await open({ artists: ['twemoji'] })
    expect(itemsOf(train).every(({ facets }) => facets.artist === 'noto')).toBe(true)
    expect(itemsOf(test).every(({ facets }) => facets.artist === 'twemoji')).toBe(true)
    expect(train.classNames).toEqual(test.classNames)
    expect(train.hash).not.toBe(test.hash)
  })

  test('are labelled by category, subcategory or the emoji itself', async () => {
    expect((await open({ label: 'category' })).classNames).toEqual(['Animals & Nature', 'People & Body'])
    const dataset = await open({ label: 'emoji' })
    expect(dataset.classNames).toEqual(['cat face', 'waving hand sign'])
    expect(itemsOf(dataset).map(({ label }) => label)).toEqual([0, 1, 0, 1])
    const twice = await open({ label: 'emoji' }, [cat, { ...wave, name: 'CAT FACE' }])
    expect(twice.classNames).toEqual(['cat face (1f431)', 'cat face (1f44b)'])
  })

  test('have captions of name, short names and keywords', async () => {
    const dataset = await open()
    expect(dataset.item(0).captions).toEqual([
      { text: 'cat face', weight: 2 },
      { text: 'cat', weight: 0.5 },
      { text: 'kitty face', weight: 0.5 },
      { text: 'pet', weight: 0.5 },
      { text: 'whiskers', weight: 0.5 },
      { text: 'cat face, pet, whiskers', weight: 1 },
    ])
    // without keywords, none that need them
    expect(dataset.item(1).captions?.map(({ text }) => text)).toEqual(['waving hand sign', 'wave'])
    const own = await open({ captions: [{ text: 'an emoji of {name} by {artist}' }, { text: '{subcategory}' }] })
    expect(own.item(1).captions?.map(({ text }) => text)).toEqual(['an emoji of waving hand sign by noto', 'hand fingers open'])
  })

  test('have their skin tones as variants, where that is asked for', async () => {
    expect((await open()).item(1).variants).toBeUndefined()
    const dataset = await open({ variants: true })
    expect(dataset.item(0).variants).toEqual([])
    expect(dataset.item(1).variants?.map((source) => source.kind === 'file' && path.basename(source.path))).toEqual([
      '1f44b-1f3fb.png',
      '1f44b-1f3ff.png',
    ])
    expect(dataset.hash).not.toBe((await open()).hash)
  })

  test('whose variant is damaged lose it, and only it, if that is asked for', async () => {
    const folder = await prepared()
    fs.writeFileSync(path.join(folder, 'noto/1f44b-1f3fb.png'), 'no picture')
    const config = { kind: 'emoji', folder, variants: true }
    expect((await refusal(openDataset(config, { limits }))).message).toMatch(/variant 1 of noto\/1f44b\.png/)
    const dataset = await openDataset({ ...config, unreadable: 'skip' }, { limits })
    expect(dataset.size).toBe(4)
    expect(dataset.item(1).variants).toHaveLength(1)
    expect(dataset.report.unreadable.count).toBe(1)
  })

  test('by an artist who is not there are refused, with the nearest name', async () => {
    expect((await refusal(open({ artists: ['twemojy'] }))).message).toMatch(/did you mean "twemoji"/)
    expect((await refusal(open({ exceptArtists: ['noto', 'twemoji'] }))).message).toMatch(/no artist is left/)
  })

  test.each([
    ['{', /is not JSON/],
    ['{}', /is not a list/],
    [JSON.stringify([{ ...cat, name: 7 }]), /entry 0 has no name/],
    [JSON.stringify([cat, { ...cat, pictures: { noto: ['../../x.png'] } }]), /entry 1 names a file that leads out/],
    [JSON.stringify([{ ...cat, pictures: { noto: [3] } }]), /no names of files/],
    [JSON.stringify([{ ...cat, keywords: 'x' }]), /keywords that are no texts/],
  ])('with the index %s are refused', async (index, message) => {
    const folder = await folderWith({ 'index.json': index })
    const error = await refusal(openDataset({ kind: 'emoji', folder }, { limits }))
    expect(error.code).toBe('FILE_INVALID')
    expect(error.message).toMatch(message)
  })

  test('without an index say what writes it', async () => {
    const folder = await folderWith(['a/1.png'])
    expect((await refusal(openDataset({ kind: 'emoji', folder }, { limits }))).message).toMatch(/demo\/pictures\.mjs/)
  })
})
