import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import { openCatalogDataset } from '../../src/catalog/catalog-dataset.js'
import type { AboutDataset, DatasetSource } from '../../src/catalog/import/dataset-source.js'
import { importDataset } from '../../src/catalog/import/import-dataset.js'
import { registerDatasetsInPlace } from '../../src/catalog/import/register-datasets-in-place.js'
import { openDataset } from '../../src/engine/datasets/open-dataset.js'
import { zipChunks } from '../../src/engine/io/zip-writer.js'
import { folderWith, itemsOf, limits, png, scratchFolder } from '../engine/datasets/pictures.js'
import { createTestCatalog, type TestDatabase } from './test-database.js'

let catalog: Catalog
let database: TestDatabase
let close: () => Promise<void>
beforeAll(async () => {
  ;({ catalog, database, close } = await createTestCatalog())
})
afterAll(() => close())

let nSources = 0
/** Each under an id of its own, so that tests do not meet. */
const register = (source: Partial<DatasetSource> & object, about: AboutDataset = { id: `set-${nSources++}` }) =>
  importDataset({
    ...{ catalog, about, dataDir: database.dataDir, limits },
    source: { kind: 'found', unreadable: 'fail', ...source } as DatasetSource,
  })
const open = (id: string) => openCatalogDataset({ catalog, blobs: catalog.blobs }, id)

type Files = Readonly<Record<string, string | Uint8Array>>
function zipOf(files: Files, name = 'pictures.zip'): string {
  const file = path.join(scratchFolder(), name)
  const contents = Object.entries(files).map(([name, content]) => ({ name, chunks: [Buffer.from(content)] }))
  fs.writeFileSync(file, Buffer.concat(zipChunks(contents)))
  return file
}
const read = async (id: string, index: number) => {
  const { picture } = (await open(id)).item(index)
  return picture.kind === 'stored' ? Buffer.from(await picture.read()) : undefined
}
const leftovers = () => fs.readdirSync(path.join(database.dataDir, 'incoming'))

describe('a data set is registered', () => {
  test('from class folders, their pictures in the blob store and among the images', async () => {
    const [cat, dog] = [await png(1), await png(2, { width: 9 })]
    const folder = await folderWith({ 'dog/a.png': dog, 'cat/b.png': cat, 'readme.txt': 'x' })
    const { dataset, isNew } = await register({ file: folder }, { id: 'animals', name: 'Animals', license: 'cc0-1.0' })
    expect(isNew).toBe(true)
    expect(dataset).toMatchObject({
      id: 'animals',
      name: 'Animals',
      license: 'cc0-1.0',
      nItems: 2,
      nClasses: 2,
      classNames: ['cat', 'dog'],
    })
    expect(dataset.report).toMatchObject({ ignored: { count: 1, first: ['readme.txt'] }, unreadable: { count: 0 } })
    const [first, second] = itemsOf(await open('animals'))
    expect([first!.name, first!.label, second!.name, second!.label]).toEqual(['cat/b.png', 0, 'dog/a.png', 1])
    expect(await read('animals', 0)).toEqual(cat)
    const id = `sha256:${createHash('sha256').update(dog).digest('hex')}`
    expect(await catalog.images.get(id)).toMatchObject({ format: 'png', width: 9, height: 8, bytes: dog.length })
  })

  test('from a plain folder, without labels', async () => {
    const { dataset } = await register({ file: await folderWith({ 'b.png': await png(11), 'a.png': await png(12) }) })
    expect(dataset).toMatchObject({ nItems: 2, nClasses: null, classNames: [] })
    expect(itemsOf(await open(dataset.id)).map(({ name, label }) => [name, label])).toEqual([
      ['a.png', undefined],
      ['b.png', undefined],
    ])
  })

  test('from a list with captions, labels and what else its columns say', async () => {
    const list = ['file,caption,label,artist', 'p/1.png,"a red, round thing",apple,Ann', 'p/1.png,an apple,apple,Ann', 'p/2.png,,pear,Bob']
    const folder = await folderWith({ 'list.csv': list.join('\n'), 'p/1.png': await png(21), 'p/2.png': await png(22) })
    const { dataset } = await register({ file: path.join(folder, 'list.csv') })
    expect(itemsOf(await open(dataset.id))).toMatchObject([
      { captions: [{ text: 'a red, round thing', weight: 1 }, { text: 'an apple' }], label: 0, facets: { artist: 'Ann', class: 'apple' } },
      { label: 1, facets: { artist: 'Bob' } },
    ])
    expect((await register({ file: folder })).dataset.id).toBe(dataset.id)
  })

  test('from a description, with variants, under the hash that training knows', async () => {
    const entry = (code: string) => ({
      code,
      name: code,
      short: [code],
      category: 'c',
      subcategory: `s ${code}`,
      pictures: { ann: [`${code}.png`, `${code}-tone.png`] },
    })
    const files = Object.fromEntries(
      await Promise.all(['x', 'x-tone', 'y', 'y-tone'].map(async (name, index) => [`${name}.png`, await png(30 + index)])),
    )
    const folder = await folderWith({ ...files, 'index.json': JSON.stringify([entry('x'), entry('y')]) })
    const description = { kind: 'emoji', folder, variants: true }
    const { dataset } = await register({ kind: 'described', description })
    const inTraining = await openDataset(description, { limits })
    expect(dataset.hash).toBe(inTraining.hash)
    const opened = await open(dataset.id)
    expect(itemsOf(opened).map(({ captions, facets, label, variants }) => [captions, facets, label, variants?.length])).toEqual(
      itemsOf(inTraining).map(({ captions, facets, label }) => [captions, facets, label, 1]),
    )
    const { dataset: found } = await register({ file: folder })
    expect(found).toMatchObject({ nItems: 2, classNames: ['s x', 's y'] })
  })

  test('from a zip file as from the folder that it holds, whatever folder is around it', async () => {
    const files = { 'cat/1.png': await png(41), 'dog/2.png': await png(42), 'dataset.json': '{"id": "zipped", "license": "mit"}' }
    const fromFolder = await openDataset({ kind: 'folder', folder: await folderWith({ ...files }) }, { limits })
    const { dataset, isNew } = await register({ file: zipOf({ ...files, '__MACOSX/cat/._1.png': 'x', 'cat/.DS_Store': 'x' }) }, {})
    expect(dataset).toMatchObject({ id: 'zipped', name: 'pictures', license: 'mit', hash: fromFolder.hash })
    expect(isNew).toBe(true)
    const wrapped = Object.fromEntries(Object.entries(files).map(([name, content]) => [`my pictures/${name}`, content]))
    expect(await register({ file: zipOf(wrapped) }, {})).toEqual({ dataset, isNew: false })
    expect(leftovers()).toEqual([])
  })

  test('once: by five at once, one', async () => {
    const file = zipOf({ 'a.png': await png(51), 'b.png': await png(52) })
    const made = await Promise.all([1, 2, 3, 4, 5].map(() => register({ file }, { id: 'five-at-once' })))
    expect(new Set(made.map(({ dataset }) => dataset.createdAt.getTime())).size).toBe(1)
    expect(await open('five-at-once')).toMatchObject({ size: 2 })
  })

  test('whole, though some of its pictures were stored before and one of them is damaged', async () => {
    const bytes = await png(61)
    const sha256 = await catalog.blobs.put(bytes)
    fs.writeFileSync(path.join(database.dataDir, 'blobs/sha256', sha256.slice(0, 2), sha256), 'damaged')
    const { dataset } = await register({ file: await folderWith({ 'a.png': bytes, 'b.png': await png(62), 'c.png': bytes }) })
    expect(dataset.report!.identical).toEqual({ count: 1, first: ['c.png (as a.png)'] })
    expect(await read(dataset.id, 2)).toEqual(bytes)
  })
})

describe('pictures that cannot be read', () => {
  const files = async () => ({ 'a.png': await png(71), 'b.png': 'no picture', 'c.jpg': Buffer.from('ffd8ffe0', 'hex'), 'd.gif': 'GIF89a' })

  test('are refused, all named, and nothing is left behind', async () => {
    const before = await catalog.datasets.ids()
    const refused = register({ file: await folderWith(await files()) })
    await expect(refused).rejects.toMatchObject({
      code: 'DATASET_INVALID',
      message: expect.stringMatching(/3 of 4.*b\.png.*c\.jpg.*d\.gif/),
      problems: [{ path: 'b.png' }, { path: 'c.jpg' }, { path: 'd.gif' }],
    })
    expect([await catalog.datasets.ids(), leftovers()]).toEqual([before, []])
  })

  test('are left out and counted when that is asked for', async () => {
    const { dataset } = await register({ file: zipOf(await files()), unreadable: 'skip' })
    expect(dataset).toMatchObject({ nItems: 1, report: { unreadable: { count: 3 } } })
    expect((await catalog.datasets.get(dataset.id))!.report!.unreadable.first).toHaveLength(3)
  })
})

describe('a zip file is refused', () => {
  test.each<[string, Files, RegExp]>([
    ['with a name that leads out', { '../evil.png': 'x' }, /"\.\.\/evil\.png" leads out/],
    ['with an absolute name', { '/etc/evil.png': 'x' }, /absolute/],
    ['with a drive', { 'C:/evil.png': 'x' }, /absolute/],
    ['with a backslash', { 'a\\..\\evil.png': 'x' }, /backslash/],
    ['with control characters', { 'a\nb.png': 'x' }, /control characters/],
    ['with an empty part', { 'a//b.png': 'x' }, /empty part/],
    ['with a name that is too long', { [`${'a'.repeat(300)}.png`]: 'x' }, /too long/],
    ['with names that differ in case', { 'a/B.png': 'x', 'A/b.png': 'y' }, /same file as "a\/B\.png"/],
    ['with a file that is a folder, too', { a: 'x', 'a/b.png': 'y' }, /below something that is a file/],
    ['with nothing in it', {}, /no file in it/],
    ['with nothing but hidden files', { '.DS_Store': 'x', '__MACOSX/a.png': 'x' }, /no file in it/],
    ['without pictures', { 'readme.md': 'x' }, /empty; each picture is expected/],
    ['with several lists', { 'a.csv': 'file\n', 'b.csv': 'file\n' }, /several lists: a\.csv, b\.csv/],
    ['with a list of files outside', { 'list.csv': 'file\n../../secret.png\n' }, /leads out of the folder/],
    ['with a dataset.json of other fields', { 'cat/a.png': 'x', 'dataset.json': '{"licence": "x"}' }, /licence/],
    ['with a dataset.json that is none', { 'cat/a.png': 'x', 'dataset.json': '{' }, /dataset\.json.*not JSON/],
  ])('%s', async (_, files, message) => {
    await expect(register({ file: zipOf(files) })).rejects.toMatchObject({
      code: expect.stringMatching(/^(DATASET|CONFIG)_INVALID$/),
      message: expect.stringMatching(message),
    })
    expect(leftovers()).toEqual([])
  })

  test('cut short anywhere, or with any byte changed, or is the same data set', async () => {
    const whole = fs.readFileSync(zipOf({ 'cat/1.png': await png(81), 'dog/2.png': await png(82) }))
    const file = path.join(scratchFolder(), 'damaged.zip')
    fs.writeFileSync(file, whole)
    const { dataset } = await register({ file })
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), async (at, change, isCut) => {
        const damaged = Buffer.from(isCut ? whole.subarray(0, at) : whole)
        if (!isCut) damaged[at]! ^= change
        fs.writeFileSync(file, damaged)
        const outcome = await register({ file }).then(
          (made) => (made.dataset.nItems === dataset.nItems ? 'taken' : 'other'),
          ({ code }: { code: string }) => code,
        )
        // a name may become another name, and a date another date
        expect(['DATASET_INVALID', 'taken']).toContain(outcome)
      }),
      { numRuns: 60 },
    )
    expect(leftovers()).toEqual([])
  })

  test('with a file that would fill the memory when it is unpacked', async () => {
    const file = zipOf({ 'a.png': Buffer.alloc(300_000) })
    const bomb = fs.readFileSync(file)
    const header = bomb.lastIndexOf(Buffer.from('PK\x01\x02', 'latin1'))
    bomb.writeUInt16LE(8, header + 10)
    bomb.writeUInt32LE(300_000_000, header + 24)
    fs.writeFileSync(file, bomb)
    const message = expect.stringMatching(/"a\.png" has 300000000 bytes; files of up to 268435456/)
    await expect(register({ file })).rejects.toMatchObject({ code: 'DATASET_INVALID', message })
  })

  test('by what sees its sizes, before anything is unpacked', async () => {
    const source: DatasetSource = { kind: 'found', file: zipOf({ 'a.png': await png(91), 'b.png': 'x'.repeat(1000) }), unreadable: 'fail' }
    const seen: unknown[] = []
    const onZip = (contents: { nFiles: number; bytes: number }) => {
      seen.push([contents.nFiles, contents.bytes > 1000])
      throw new Error('too large')
    }
    await expect(importDataset({ catalog, source, about: {}, dataDir: database.dataDir, limits, onZip })).rejects.toThrow('too large')
    expect([seen, leftovers()]).toEqual([[[2, true]], []])
  })
})

describe('what is said of a data set', () => {
  test.each<[string, AboutDataset, RegExp]>([
    ['an id that is no slug', { id: 'Not a slug' }, /lower-case letters/],
    ['an id of another data set', { id: 'taken' }, /"taken" is the id of another/],
    ['an empty name and an endless license', { name: ' ', license: 'x'.repeat(201) }, /name.*1 to 200/],
  ])('is refused with %s', async (_, about, message) => {
    await register({ file: await folderWith({ 'a.png': await png(101) }) }, { id: 'taken' })
    const file = await folderWith({ 'a.png': await png(102) })
    await expect(register({ file }, about)).rejects.toMatchObject({ code: 'INPUT_INVALID', message: expect.stringMatching(message) })
  })

  test.each<[string, Partial<DatasetSource> & object, RegExp]>([
    ['of generated pictures', { kind: 'described', description: { kind: 'circle' } }, /generated/],
    ['of a kind that is none', { kind: 'described', description: { kind: 'foldr' } }, /kind/],
    ['of nothing', { file: '/nowhere/at/all' }, /not there/],
    ['of a file that is no list', { file: import.meta.filename }, /neither a folder nor a list/],
  ])('is refused when it is %s', async (_, source, message) => {
    await expect(register(source)).rejects.toThrow(message)
  })
})

describe('data sets that come with the repository', () => {
  const inPlace = (folder: string) => registerDatasetsInPlace(folder, { catalog, dataDir: database.dataDir, limits })

  test('are registered at the first start, and again only when they changed', async () => {
    const folder = scratchFolder()
    const place = async (shade: number) => fs.copyFileSync(zipOf({ 'a.png': await png(shade) }), path.join(folder, 'shipped.zip'))
    await place(111)
    expect(await inPlace(folder)).toMatchObject([{ id: 'shipped', nItems: 1 }])
    expect(await inPlace(folder)).toEqual([])
    const { hash } = (await catalog.datasets.get('shipped'))!
    await place(112)
    expect(await inPlace(folder)).toHaveLength(1)
    expect((await catalog.datasets.get('shipped'))!.hash).not.toBe(hash)
    await catalog.datasets.remove('shipped')
    expect(await inPlace(folder)).toEqual([])
  })

  test("leave a user's own data set of the same id alone", async () => {
    const folder = scratchFolder()
    const { dataset } = await register({ file: await folderWith({ 'a.png': await png(121) }) }, { id: 'mine' })
    fs.copyFileSync(zipOf({ 'a.png': await png(122) }), path.join(folder, 'mine.zip'))
    expect(await inPlace(folder)).toEqual([])
    expect(await catalog.datasets.get('mine')).toEqual(dataset)
    expect(await inPlace(path.join(folder, 'nowhere'))).toEqual([])
  })
})

test('the emoji of the repository are those that its SAEs were measured on', async () => {
  const demo = path.resolve(import.meta.dirname, '../../demo')
  const { dataset, isNew } = await register({ file: path.join(demo, 'datasets/emoji-twemoji.zip') }, {})
  expect(isNew).toBe(true)
  expect(dataset).toMatchObject({ id: 'emoji-twemoji', nItems: 1906, license: 'cc-by-4.0' })
  const saes = fs.readdirSync(path.join(demo, 'saes'))
  expect(saes.length).toBeGreaterThan(0)
  for (const sae of saes) {
    const { dataset: measuredOn } = JSON.parse(fs.readFileSync(path.join(demo, 'saes', sae, 'metrics.json'), 'utf8'))
    expect(measuredOn.hash).toBe(dataset.hash)
  }
  const first = (await open('emoji-twemoji')).item(0)
  expect(first).toMatchObject({ facets: { artist: 'twemoji', name: 'hash key', category: 'Symbols', subcategory: 'keycap' } })
  expect(first.captions).toContainEqual({ text: 'hash key', weight: 2 })
}, 60_000)
