import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { cleanText } from '../../../src/engine/models/text-cleaning.js'
import { loadTokenizer, type TokenizerSetting } from '../../../src/engine/models/tokenizer.js'
import { fixtureFolder } from './fixtures.js'

const folder = path.join(fixtureFolder, 'tokenizers')
const { contextLength, rows } = JSON.parse(fs.readFileSync(path.join(folder, 'expected.json'), 'utf8')) as {
  contextLength: number
  rows: { text: string; hf: number[]; open_clip: number[] | null }[]
}
const setting = (style: TokenizerSetting['style']): TokenizerSetting => ({ contextLength, vocabSize: 5000, style })

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'tokenizer-'))
afterAll(() => fs.rmSync(scratch, { recursive: true }))

/** A folder of its own, as a copy of a fixture with some files changed or (null) left out. */
function folderWith(name: string, files: Record<string, string | null>): string {
  const copy = fs.mkdtempSync(path.join(scratch, `${name}-`))
  fs.cpSync(path.join(folder, name), copy, { recursive: true })
  for (const [file, content] of Object.entries(files)) {
    if (content === null) fs.rmSync(path.join(copy, file))
    else fs.writeFileSync(path.join(copy, file), content)
  }
  return copy
}

const loaded = new Map<string, ReturnType<typeof loadTokenizer>>()

const idsOf = async (where: string, style: TokenizerSetting['style'], text: string) => {
  const key = `${where} ${style}`
  if (!loaded.has(key)) loaded.set(key, loadTokenizer(where, setting(style)))
  const { data, shape } = (await loaded.get(key)!).encode([text])
  expect(shape).toEqual([1, contextLength])
  return Array.from(data, Number)
}

describe('as transformers, from tokenizer.json and from vocab.json with merges.txt', () => {
  test.each(rows)('$text', async ({ text, hf }) => {
    expect(await idsOf(path.join(folder, 'fast'), 'transformers', text)).toEqual(hf)
    expect(await idsOf(path.join(folder, 'slow'), 'transformers', text)).toEqual(hf)
  })
})

describe('as open_clip', () => {
  test.each(rows.filter(({ open_clip }) => open_clip))('$text', async ({ text, open_clip }) => {
    expect(await idsOf(path.join(folder, 'fast'), 'open-clip', text)).toEqual(open_clip)
    expect(await idsOf(path.join(folder, 'slow'), 'open-clip', text)).toEqual(open_clip)
  })

  test('special tokens in a text are plain characters', async () => {
    const ids = await idsOf(path.join(folder, 'fast'), 'open-clip', 'a <|endoftext|> b')
    expect(ids.filter((id) => id === 4513)).toHaveLength(1)
  })
})

test('several texts are several rows', async () => {
  const tokenizer = await loadTokenizer(path.join(folder, 'fast'), setting('transformers'))
  const together = tokenizer.encode(rows.map(({ text }) => text))
  expect(together.shape).toEqual([rows.length, contextLength])
  expect(Array.from(together.data, Number)).toEqual(rows.flatMap(({ hf }) => hf))
})

test('the pad token comes from the configuration', async () => {
  const config = JSON.stringify({ pad_token: { content: '!', lstrip: false }, eos_token: '<|endoftext|>' })
  const ids = await idsOf(folderWith('slow', { 'tokenizer_config.json': config }), 'transformers', 'a')
  expect(ids.slice(-2)).toEqual([0, 0]) // "!" is token 0
})

describe('refuses', () => {
  const load = (where: string, changes: Partial<TokenizerSetting> = {}) => loadTokenizer(where, { ...setting('transformers'), ...changes })

  test('a text of any length beyond reason, before it costs time', async () => {
    const tokenizer = await load(path.join(folder, 'fast'))
    expect(() => tokenizer.encode(['x'.repeat(10_000_000)])).toThrow(/10000000 characters/)
  })
  test('a vocabulary larger than the model', async () => {
    await expect(load(path.join(folder, 'fast'), { vocabSize: 4000 })).rejects.toThrow(/largest token id is 4513/)
  })
  test('texts for a model without a tokenizer, saying so', async () => {
    const tokenizer = await load(folderWith('slow', { 'merges.txt': null }))
    expect(() => tokenizer.encode(['a'])).toThrow(/no tokenizer\.json/)
  })
  test('texts for a model with another kind of tokenizer', async () => {
    const json = JSON.stringify({ model: { type: 'Unigram', vocab: [] } })
    const tokenizer = await load(folderWith('fast', { 'tokenizer.json': json }))
    expect(() => tokenizer.encode(['a'])).toThrow(/not of the CLIP kind/)
  })
  test('a damaged file, without quoting it', async () => {
    await expect(load(folderWith('fast', { 'tokenizer.json': 'root:x:0:0' }))).rejects.toThrow(/^tokenizer\.json: is not JSON\.$/)
  })
  describe('what a tokenizer.json could do to the thread that reads it:', () => {
    const json = JSON.parse(fs.readFileSync(path.join(folder, 'fast/tokenizer.json'), 'utf8'))
    const loadWith = (changes: object) => load(folderWith('fast', { 'tokenizer.json': JSON.stringify({ ...json, ...changes }) }))
    const split = (Regex: string) => ({ pre_tokenizer: { type: 'Split', pattern: { Regex }, behavior: 'Removed', invert: true } })

    test.each(['(a+)+$', 'a*a*a*$', '(?:a|a)+', 'a?a?a?a', 'a{9}b{9}', `${'a'.repeat(2000)}`])('the pattern %s', async (pattern) => {
      await expect(loadWith(split(pattern))).rejects.toThrow(/could take for ever/)
    })
    test.each(["'s|'t|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+", ' ?\\p{L}+|\\(+'])('but not the pattern %s', async (pattern) => {
      expect((await loadWith(split(pattern))).encode(['a text']).shape).toEqual([1, contextLength])
    })
    test('a replacement that grows a text', async () => {
      const doubling = { type: 'Replace', pattern: { String: 'a' }, content: 'aa' }
      await expect(loadWith({ normalizer: { type: 'Sequence', normalizers: new Array(40).fill(doubling) } })).rejects.toThrow(
        /more than one/,
      )
    })
    test.each([
      ['a pattern that is none', split('[')],
      ['merges that are numbers', { model: { ...json.model, merges: [1, 2] } }],
      ['token ids below 0', { model: { ...json.model, vocab: { ...json.model.vocab, a: -5 } } }],
      ['token ids that are no numbers', { model: { ...json.model, vocab: { ...json.model.vocab, a: '5' } } }],
      ['an unknown part', { normalizer: { type: 'Sideways' } }],
    ])('%s', async (_, changes) => {
      await expect(loadWith(changes)).rejects.toMatchObject({ code: 'FILE_INVALID' })
    })
    test('parts nested without end', async () => {
      const text = JSON.stringify({ ...json, decoder: 'DEEP' }).replace('"DEEP"', `${'['.repeat(200_000)}${']'.repeat(200_000)}`)
      await expect(load(folderWith('fast', { 'tokenizer.json': text }))).rejects.toMatchObject({ code: 'FILE_INVALID' })
    })
  })

  test('a vocabulary without the end of text', async () => {
    await expect(load(folderWith('slow', { 'vocab.json': '{"a": 1, "<|startoftext|>": 2}' }))).rejects.toThrow(/no token "<\|endoftext\|>"/)
  })
})

describe('cleaning, as ftfy and html.unescape', () => {
  test.each([
    ['  A\u00a0B\u3000C  ', 'a b c'],
    ['\ufb01ne \ufb03ce', 'fine ffice'],
    ['\uff28\uff25\uff2c\uff2c\uff2f', 'hello'],
    ['\u201cquote\u201d \u2018s\u2019', '"quote" \'s\''],
    ['&amp;amp;lt;', '<'],
    ['\u001b[31mred\u001b[0m', 'red'],
    ['x\u0093y\u0094', 'x"y"'],
    ['half \ud83d pair', 'half \ufffd pair'],
  ])('%j is %j', (text, clean) => expect(cleanText(text)).toBe(clean))
})
