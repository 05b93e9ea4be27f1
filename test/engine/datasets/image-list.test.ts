import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openDataset } from '../../../src/engine/datasets/open-dataset.js'
import { readSeparated } from '../../../src/engine/datasets/separated-values.js'
import { folderWith, itemsOf, limits, refusal, scratchFolder } from './pictures.js'

const files = ['a.png', 'b.png', 'in/c.png']

/** A list beside three pictures. */
async function listOf(text: string, { name = 'list.csv', pictures = files }: { name?: string; pictures?: readonly string[] } = {}) {
  const folder = await folderWith(pictures)
  fs.writeFileSync(path.join(folder, name), text)
  return path.join(folder, name)
}

const open = async (text: string, config: object = {}, name?: string) =>
  openDataset({ kind: 'list', file: await listOf(text, name === undefined ? {} : { name }), ...config }, { limits })
const jsonl = (...rows: unknown[]) => rows.map((row) => JSON.stringify(row)).join('\n')

describe('a list of pictures', () => {
  test('in CSV has captions with commas, quotes and line breaks', async () => {
    const dataset = await open('\ufefffile,caption\r\na.png,"a ""cat"", sleeping"\r\nb.png,"two\nlines"\r\nin/c.png,plain')
    expect(itemsOf(dataset).map(({ name, captions }) => [name, captions?.map(({ text }) => text)])).toEqual([
      ['a.png', ['a "cat", sleeping']],
      ['b.png', ['two\nlines']],
      ['in/c.png', ['plain']],
    ])
    expect(dataset.nClasses).toBeUndefined()
  })

  test('in JSON Lines has captions with weights', async () => {
    const rows = jsonl(
      { file: 'a.png', captions: ['one', { text: 'two', weight: 3 }], label: 'cat' },
      { file: 'b.png', caption: 'b', label: 'dog' },
    )
    const dataset = await open(`${rows}\n\n`, {}, 'list.jsonl')
    expect(dataset.item(0).captions).toEqual([
      { text: 'one', weight: 1 },
      { text: 'two', weight: 3 },
    ])
    expect(dataset.classNames).toEqual(['cat', 'dog'])
    expect(itemsOf(dataset).map(({ label }) => label)).toEqual([0, 1])
  })

  test('may call its columns otherwise, and have others if they are to be ignored', async () => {
    const text = 'split\tfile_name\ttext\ntrain\ta.png\tx'
    const columns = { file: 'file_name', caption: 'text' }
    const dataset = await open(text, { columns, otherColumns: 'ignore' }, 'list.tsv')
    expect(dataset.item(0)).toMatchObject({ name: 'a.png', captions: [{ text: 'x' }] })
    expect((await refusal(open(text, { columns }, 'list.tsv'))).message).toMatch(/unknown column "split"/)
  })

  test('of which several rows have one file is one picture with several captions', async () => {
    const dataset = await open('file,caption,label\na.png,one,cat\nb.png,x,dog\na.png,two,cat')
    expect(dataset.size).toBe(2)
    expect(dataset.item(0).captions?.map(({ text }) => text)).toEqual(['one', 'two'])
  })

  test('has numbered classes up to the largest, or as many as are said', async () => {
    const text = 'file,label\na.png,0\nb.png,4'
    expect((await open(text)).nClasses).toBe(5)
    expect((await open(text, { nClasses: 10 })).nClasses).toBe(10)
    const named = await open(text, { classNames: ['0', '4'] })
    expect(itemsOf(named).map(({ label }) => label)).toEqual([0, 1])
  })

  test('has a hash of what it says, not of how it is written', async () => {
    const { hash } = await open('file,caption\na.png,x\nb.png,y')
    expect((await open(jsonl({ file: 'a.png', caption: 'x' }, { caption: 'y', file: 'b.png' }), {}, 'l.jsonl')).hash).toBe(hash)
    expect((await open('file,caption\na.png,x\nb.png,z')).hash).not.toBe(hash)
    expect((await open('file,caption\nb.png,y\na.png,x')).hash).not.toBe(hash)
  })
})

describe('a list is refused', () => {
  test.each([
    ['../secret.png', /leads out of the folder/],
    ['in/../../x.png', /leads out of the folder/],
    ['/etc/passwd', /is absolute/],
    ['C:\\x.png', /backslash|absolute/],
    ['in//c.png', /empty part/],
    ['./a.png', /empty part/],
    ['a\u0000.png', /control characters/],
  ])('that names %j', async (file, message) => {
    const error = await refusal(open(jsonl({ file }), {}, 'l.jsonl'))
    expect(error.code).toBe('DATASET_INVALID')
    expect(error.message).toMatch(message)
  })

  test('that names a link out of its folder', async () => {
    const secret = await folderWith(['secret.png'])
    const list = await listOf('file\nlink.png')
    fs.symlinkSync(path.join(secret, 'secret.png'), path.join(path.dirname(list), 'link.png'))
    expect((await refusal(openDataset({ kind: 'list', file: list }, { limits }))).message).toMatch(/is a link out of the folder/)
  })

  test.each([
    ['an unknown column', 'file,captoin\na.png,x', 'FILE_INVALID', /did you mean "caption"/],
    ['no column for the file', 'caption\nx', 'FILE_INVALID', /no column "file"/],
    ['a column twice', 'file,caption,caption\na.png,x,y', 'FILE_INVALID', /two columns are "caption"/],
    ['an open quote', 'file,caption\na.png,"x\nb.png,y', 'FILE_INVALID', /line 2: a quote is not closed/],
    ['a row that is too long', 'file,caption\na.png,x,y\nb.png,z', 'DATASET_INVALID', /line 2: has 3 values/],
    ['no rows', 'file,caption\n', 'DATASET_INVALID', /is empty/],
    ['nothing', '', 'DATASET_INVALID', /is empty/],
    ['the same row twice', 'file,caption\na.png,x\na.png,x', 'DATASET_INVALID', /line 3: says again what line 2 said/],
    ['a file twice without captions', 'file,label\na.png,1\na.png,1', 'DATASET_INVALID', /line 3: says again/],
    ['two labels for a file', 'file,label\na.png,1\na.png,2', 'DATASET_INVALID', /line 3: "a.png" has the label 2; line 2 says 1/],
    ['a label that is missing', 'file,label\na.png,1\nb.png,', 'DATASET_INVALID', /line 3: "b.png" has no label/],
    ['a label below 0', 'file,label\na.png,0\nb.png,-1', 'DATASET_INVALID', /line 3: the label -1 is not a whole number from 0/],
    ['a picture that is not there', 'file\nnowhere.png', 'DATASET_INVALID', /nowhere\.png \(it is not there\)/],
  ])('that has %s', async (_, text, code, message) => {
    const error = await refusal(open(text))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(message)
  })

  test.each([
    [{ nClasses: 3 }, 'file,label\na.png,3', /line 2: the label 3 is outside 0 to 2/],
    [{ classNames: ['cat', 'dog'] }, 'file,label\na.png,2', /outside 0 to 1/],
    [{ classNames: ['cat', 'dog'] }, 'file,label\na.png,dgo', /none of the 2 classes; did you mean "dog"/],
  ])('that has labels outside of %j', async (config, text, message) => {
    expect((await refusal(open(text, config))).message).toMatch(message)
  })

  test.each([
    ['[1]', /line 1: is not a JSON object/],
    ['{"file": 3}', /"file" is not a text/],
    ['{"caption": "x"}', /names no file/],
    ['{"file":"a.png","captions":"x"}', /captions are not texts/],
    ['{"file":"a.png","captions":[{"text":"x","weight":0}]}', /captions are not texts/],
    ['{"file":"a.png","captions":[{"text":"x","wieght":1}]}', /captions are not texts/],
    ['{"file":"a.png","caption":"x","captions":["y"]}', /has "caption" and "captions"/],
    ['{"file":"a.png","label":null}', /neither a text nor a number/],
    ['{"file":"a.png","label":1.5}', /not a whole number/],
    ['{"file":"a.png","lable":1}', /unknown field "lable"; did you mean "label"/],
    ['{"file":"a.png","label":123456789}', /more than 999999/],
  ])('whose JSON is %s', async (text, message) => {
    const error = await refusal(open(text, {}, 'l.jsonl'))
    expect(error.code).toBe('DATASET_INVALID')
    expect(error.message).toMatch(message)
  })

  test('with the first of many problems, and the number of the others', async () => {
    const text = `file,label\n${Array.from({ length: 5000 }, (_, index) => `../${index}.png,1`).join('\n')}`
    const { message } = await refusal(open(text))
    expect(message).toMatch(/line 2: .*line 11: .*and 4990 more/)
    expect(message.length).toBeLessThan(2000)
  })

  test('that is not there, is a folder, or of another kind', async () => {
    const folder = scratchFolder()
    const of = (file: string) => refusal(openDataset({ kind: 'list', file }, { limits }))
    expect((await of(path.join(folder, 'x.csv'))).message).toMatch(/is not there/)
    expect((await of(folder)).message).toMatch(/is not a file/)
    expect((await of(await listOf('x', { name: 'x.parquet' }))).message).toMatch(/is not \.csv, \.tsv or \.jsonl/)
  })

  test('with a line without an end', async () => {
    const error = await refusal(open(`{"file":"${'a'.repeat(3_000_000)}"}`, {}, 'l.jsonl'))
    expect(error.message).toMatch(/line 1: is longer than a million characters/)
  })
})

describe('separated values', () => {
  const parse = async (chunks: readonly string[], separator: ',' | '\t' = ',') => {
    const stream = async function* () {
      yield* chunks
    }
    const records: string[][] = []
    for await (const { values } of readSeparated(stream(), separator)) records.push([...values])
    return records
  }

  test('come back as they were written, wherever the chunks are cut', async () => {
    const value = fc.oneof(fc.string(), fc.constantFrom('', '"', ',', '\r\n', 'a"b', '\n', '\t', ' '))
    // a record of one empty value would be an empty line
    const record = fc.array(value, { minLength: 2, maxLength: 5 })
    await fc.assert(
      fc.asyncProperty(
        fc.array(record, { maxLength: 6 }),
        fc.constantFrom('\n', '\r\n'),
        fc.integer({ min: 1, max: 7 }),
        async (records, end, step) => {
          const text = records.map((values) => `${values.map((each) => `"${each.replaceAll('"', '""')}"`).join(',')}${end}`).join('')
          const chunks = Array.from({ length: Math.ceil(text.length / step) }, (_, index) => text.slice(index * step, (index + 1) * step))
          expect(await parse(chunks)).toEqual(records)
        },
      ),
    )
  })

  test('need no quotes where there is nothing to quote', async () => {
    expect(await parse(['a,b\nc,', '\n\n,d\r', '\ne,f'])).toEqual([
      ['a', 'b'],
      ['c', ''],
      ['', 'd'],
      ['e', 'f'],
    ])
  })

  test('are refused with the line of what is wrong', async () => {
    await expect(parse(['a,b\n"c"d,e'])).rejects.toThrow('line 2: something follows a closing quote')
    await expect(parse(['a,b\nc"d,e'])).rejects.toThrow('line 2: a quote inside')
  })
})
