import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { openDataset } from '../../../src/engine/datasets/open-dataset.js'
import { folderWith, itemsOf, limits, png, refusal, scratchFolder } from './pictures.js'

const open = (folder: string, config: object = {}) => openDataset({ kind: 'folder', folder, ...config }, { limits })

describe('a folder of class folders', () => {
  test('has its classes and pictures in the order of their names, whatever the file system says', async () => {
    const folder = await folderWith(['zebra/2.png', 'zebra/10.JPEG', 'ant/b/deep.png', 'ant/a.webp', 'Bee/x.png'])
    const dataset = await open(folder)
    expect(dataset.classNames).toEqual(['Bee', 'ant', 'zebra'])
    expect(itemsOf(dataset).map(({ name, label }) => [name, label])).toEqual([
      ['Bee/x.png', 0],
      ['ant/a.webp', 1],
      ['ant/b/deep.png', 1],
      ['zebra/10.JPEG', 2],
      ['zebra/2.png', 2],
    ])
    expect(dataset.nClasses).toBe(3)
  })

  test('has the hash of what is in it, not of where it is', async () => {
    const files = { 'a/1.png': await png(1), 'b/2.png': await png(2) }
    const { hash } = await open(await folderWith(files))
    expect((await open(await folderWith(files))).hash).toBe(hash)
    expect((await open(await folderWith({ ...files, 'b/2.png': await png(3) }))).hash).not.toBe(hash)
    expect((await open(await folderWith({ ...files, 'b/3.png': await png(3) }))).hash).not.toBe(hash)
    expect((await open(await folderWith({ 'a/1.png': await png(1), 'c/2.png': await png(2) }))).hash).not.toBe(hash)
    expect((await open(await folderWith(files), { check: 'header' })).hash).toBe(hash)
    expect((await open(await folderWith(files), { captions: [{ text: 'a {class}' }] })).hash).not.toBe(hash)
  })

  test('may have parts, whose classes are those of the training part', async () => {
    const folder = await folderWith(['train/a/1.png', 'train/b/1.png', 'val/b/2.png'])
    expect((await open(folder, { part: 'val' })).classNames).toEqual(['a', 'b'])
    expect(itemsOf(await open(folder, { part: 'val' })).map(({ label }) => label)).toEqual([1])
    expect((await refusal(open(folder))).message).toMatch(/"train" and "val".*part/)
    expect((await refusal(open(folder, { part: 'test' }))).message).toMatch(/no folder "test"/)
    await folderWith(['val/c/1.png'], folder)
    expect((await refusal(open(folder, { part: 'val' }))).message).toMatch(/^The data set .*c is no class of "train"/)
  })

  test('says what is in it that is no picture, and looks at nothing that is hidden', async () => {
    const folder = await folderWith({ 'a/1.png': await png(1), 'a/notes.txt': 'x', LICENSE: 'x', 'a/.DS_Store': 'x', '.git/config': 'x' })
    expect((await open(folder)).report.ignored).toEqual({ count: 2, first: ['LICENSE', 'a/notes.txt'] })
  })

  test('follows links to pictures and to class folders', async () => {
    const elsewhere = await folderWith(['1.png'])
    const folder = await folderWith(['a/0.png'])
    fs.symlinkSync(elsewhere, path.join(folder, 'b'))
    fs.symlinkSync(path.join(elsewhere, '1.png'), path.join(folder, 'a/linked.png'))
    expect(itemsOf(await open(folder)).map(({ name }) => name)).toEqual(['a/0.png', 'a/linked.png', 'b/1.png'])
  })

  test('whose links go in a circle is refused, not followed for ever', async () => {
    const folder = await folderWith(['a/1.png'])
    fs.symlinkSync(path.join(folder, 'a'), path.join(folder, 'a/again'))
    expect((await refusal(open(folder))).message).toMatch(/more than 16 folders deep/)
  })

  test.each([
    ['is not there', async () => path.join(scratchFolder(), 'nowhere'), /is not there/],
    ['is empty', async () => scratchFolder(), /is empty/],
    ['has pictures outside a class', () => folderWith(['a/1.png', 'stray.png']), /stray\.png is in no class folder/],
    [
      'has a class without pictures',
      async () => {
        const folder = await folderWith(['a/1.png'])
        fs.mkdirSync(path.join(folder, 'hollow'))
        return folder
      },
      /no pictures in the class hollow/,
    ],
  ])('that %s is refused', async (_, make, message) => {
    const error = await refusal(open(await make()))
    expect(error.code).toBe('DATASET_INVALID')
    expect(error.message).toMatch(message)
  })
})

describe('pictures that cannot be read', () => {
  const damaged = async (rest: Record<string, Uint8Array | string> = {}) => {
    const noisy = await png(5, { width: 64, height: 64 })
    return folderWith({
      'a/1.png': await png(1),
      'a/cut.png': noisy.subarray(0, noisy.length - 20),
      'a/empty.png': '',
      'b/2.png': await png(2),
      'b/old.gif': 'GIF89a',
      ...rest,
    })
  }

  test('stop it, all of them named', async () => {
    const error = await refusal(open(await damaged()))
    expect(error.code).toBe('DATASET_INVALID')
    expect(error.message).toMatch(
      /3 of 5 pictures cannot be read: a\/cut\.png \(.*truncated.*a\/empty\.png \(it is empty.*b\/old\.gif \(it is a GIF/,
    )
    expect(error.message).toMatch(/unreadable to "skip"/)
  })

  test('are left out where the configuration says so, counted and named', async () => {
    const dataset = await open(await damaged(), { unreadable: 'skip' })
    expect(dataset.size).toBe(2)
    expect(dataset.report.unreadable.count).toBe(3)
    expect(dataset.report.unreadable.first.map((text) => text.split(' ')[0])).toEqual(['a/cut.png', 'a/empty.png', 'b/old.gif'])
    const clean = await folderWith({ 'a/1.png': await png(1), 'b/2.png': await png(2) })
    expect(dataset.hash).toBe((await open(clean)).hash)
  })

  test('are counted, and the first ten named, where they are many', async () => {
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`a/x${String(index).padStart(3, '0')}.png`, 'no picture']))
    const dataset = await open(await damaged(many), { unreadable: 'skip' })
    expect(dataset.report.unreadable.count).toBe(303)
    expect(dataset.report.unreadable.first).toHaveLength(10)
    const { message } = await refusal(open(await damaged(many)))
    expect(message).toContain('and 293 more')
    expect(message.length).toBeLessThan(3000)
  })

  test('must leave something of every class', async () => {
    const folder = await folderWith({ 'a/1.png': await png(1), 'b/2.png': 'no picture' })
    expect((await refusal(open(folder, { unreadable: 'skip' }))).message).toMatch(/none of the pictures of class "b"/)
  })

  test('pass a look at the header if they start well', async () => {
    const noisy = await png(5, { width: 64, height: 64 })
    const folder = await folderWith({ 'a/cut.png': noisy.subarray(0, noisy.length - 20), 'b/1.png': await png(1) })
    expect((await open(folder, { check: 'header' })).size).toBe(2)
  })

  test('are those with more pixels than the limit, too', async () => {
    const folder = await folderWith({ 'a/1.png': await png(1, { width: 1001, height: 1000 }), 'b/1.png': await png(1) })
    expect((await refusal(open(folder))).message).toMatch(/a\/1\.png \(The image has 1001 x 1000 pixels/)
  })
})

test('pictures that are there twice are kept and reported', async () => {
  const folder = await folderWith({ 'a/1.png': await png(1), 'b/2.png': await png(1), 'b/3.png': await png(3) })
  const { report, size } = await open(folder)
  expect(size).toBe(3)
  expect(report.identical).toEqual({ count: 1, first: ['b/2.png (as a/1.png)'] })
})

test('opening says how far it is and can be stopped', async () => {
  const folder = await folderWith(Array.from({ length: 70 }, (_, index) => `a/${index}.png`))
  const seen: number[] = []
  await openDataset({ kind: 'folder', folder }, { limits, onProgress: (done, total) => seen.push(done / total) })
  expect(seen.at(-1)).toBe(1)
  expect(seen.length).toBeGreaterThan(1)
  const controller = new AbortController()
  const stopped = openDataset(
    { kind: 'folder', folder },
    { limits, signal: controller.signal, onProgress: () => controller.abort(new Error('stop')) },
  )
  await expect(stopped).rejects.toThrow('stop')
})

test('captions are made of the name of the class', async () => {
  const folder = await folderWith(['red_panda/1.png'])
  const dataset = await open(folder, { captions: [{ text: 'a photo of a {class}' }, { text: 'a {class}, a {class}', weight: 3 }] })
  expect(dataset.item(0).captions).toEqual([
    { text: 'a photo of a red panda', weight: 1 },
    { text: 'a red panda, a red panda', weight: 3 },
  ])
  expect((await refusal(open(folder, { captions: [{ text: 'a {clas}' }] }))).message).toContain('did you mean {class}?')
})
