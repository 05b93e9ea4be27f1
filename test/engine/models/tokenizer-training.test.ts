import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { loadTokenizer } from '../../../src/engine/models/tokenizer.js'
import { trainedClipTokenizer, trainedTokenizerFiles, trainTokenizer } from '../../../src/engine/models/tokenizer-training.js'

const golden = JSON.parse(fs.readFileSync(path.join(import.meta.dirname, '../../fixtures/tokenizer-training/expected.json'), 'utf8')) as {
  contextLength: number
  captions: string[]
  texts: string[]
  cases: { wanted: number; vocabSize: number; merges: string[]; ids: number[][] }[]
}
const { contextLength, captions, texts } = golden

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'tokenizer-training-'))
afterAll(() => fs.rmSync(scratch, { recursive: true }))

function written(files: Readonly<Record<string, string>>, without: readonly string[] = []): string {
  const folder = fs.mkdtempSync(path.join(scratch, 'folder-'))
  for (const [name, content] of Object.entries(files)) if (!without.includes(name)) fs.writeFileSync(path.join(folder, name), content)
  return folder
}

const rowsOf = (data: BigInt64Array) =>
  Array.from({ length: data.length / contextLength }, (_, row) =>
    Array.from(data.slice(row * contextLength, (row + 1) * contextLength), Number),
  )

describe.each(golden.cases)('a vocabulary of $wanted tokens', ({ wanted, vocabSize, merges, ids }) => {
  const trained = trainTokenizer(captions, { vocabSize: wanted })

  test('has the merges of the plainest implementation', () => {
    expect(trained.merges.map((pair) => pair.join(' '))).toEqual(merges)
    expect(trained.vocabSize).toBe(vocabSize)
  })

  test('gives the ids that transformers gives, in memory and from each form of its files', async () => {
    expect(rowsOf(trainedClipTokenizer(trained, contextLength).encode(texts).data)).toEqual(ids)
    const files = trainedTokenizerFiles(trained, contextLength)
    for (const without of [
      [],
      ['tokenizer.json'],
      ['vocab.json', 'merges.txt'],
      ['tokenizer.json', 'special_tokens_map.json', 'tokenizer_config.json'],
    ]) {
      const tokenizer = await loadTokenizer(written(files, without), { contextLength, vocabSize, style: 'transformers' })
      expect(rowsOf(tokenizer.encode(texts).data)).toEqual(ids)
    }
  })
})

describe('a learned vocabulary', () => {
  test('is laid out as that of CLIP: bytes, bytes at the end of words, what was merged, start and end', () => {
    const { vocab, vocabSize } = trainTokenizer(captions, { vocabSize: 600 })
    expect(Object.values(vocab).toSorted((a, b) => a - b)).toEqual(Array.from({ length: vocabSize }, (_, id) => id))
    expect([vocab['!'], vocab.a, vocab['!</w>'], vocab['a</w>']]).toEqual([0, 64, 256, 320])
    expect([vocab['<|startoftext|>'], vocab['<|endoftext|>']]).toEqual([vocabSize - 2, vocabSize - 1])
  })

  test('is the same whatever the order of captions that occur equally often', () => {
    const merges = trainTokenizer(captions, { vocabSize: 640 }).merges
    expect(trainTokenizer(captions.toReversed(), { vocabSize: 640 }).merges).toEqual(merges)
  })

  test('can say every text, whatever it was learned from', () => {
    const trained = trainTokenizer(captions, { vocabSize: 600 })
    const tokenizer = trainedClipTokenizer(trained, contextLength)
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        const ids = Array.from(tokenizer.encode([text]).data, Number)
        expect(ids[0]).toBe(trained.start.id)
        expect(ids).toContain(trained.end.id)
        expect(ids.every((id) => id >= 0 && id < trained.vocabSize)).toBe(true)
      }),
    )
  })

  test('merges only pairs that occur as often as is asked for', () => {
    expect(trainTokenizer(['abab cd'], { vocabSize: 1000 }).merges).toEqual([])
    expect(trainTokenizer(['cd cd'], { vocabSize: 1000 }).merges).toEqual([['c', 'd</w>']])
    expect(trainTokenizer(['cd cd'], { vocabSize: 1000, minFrequency: 3 }).merges).toEqual([])
    expect(trainTokenizer(['aaaa'], { vocabSize: 1000, minFrequency: 1 }).merges).toEqual([
      ['a', 'a'],
      ['a', 'a</w>'],
      ['aa', 'aa</w>'],
    ])
  })

  test('does not learn special tokens from captions that hold them', () => {
    expect(trainTokenizer(['<|endoftext|> <|endoftext|> <|endoftext|>', 'ab ab'], { vocabSize: 1000 }).merges).toEqual([['a', 'b</w>']])
  })

  test.each([513, 700.5, Number.NaN, 2 ** 21])('of %s tokens is refused', (vocabSize) => {
    expect(() => trainTokenizer(captions, { vocabSize })).toThrow(/is not a whole number from 514/)
  })

  test('of no text is refused', () => {
    expect(() => trainTokenizer([], { vocabSize: 600 })).toThrow(/no captions/)
    expect(() => trainTokenizer([' ', '\n'], { vocabSize: 600 })).toThrow(/no captions/)
  })
})
