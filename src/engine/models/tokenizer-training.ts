/**
 * Learns a tokenizer of CLIP's kind from captions: byte-level byte-pair encoding with `</w>` at the end of words, lower case. The vocabulary
 * is laid out as CLIP's: 256 bytes, the same at the end of a word, what was merged, start, end. The end has the largest id.
 */

import { EngineError } from '../errors.js'
import { BytePairs, type Word } from './byte-pairs.js'
import type { ClipTokenizer } from './tokenizer.js'
import { normalizedText, tokenizerOf } from './tokenizer.js'
import { type ClipVocabulary, clipTokenizerJson, endToken, startToken, wordPattern } from './tokenizer-json.js'

export interface TokenizerTraining {
  /** Tokens wanted, at least 514: bytes and special tokens. There are fewer when the captions have no more pairs to merge. */
  readonly vocabSize: number
  /** How often a pair has to occur to be merged. Default 2. */
  readonly minFrequency?: number
}

export interface TrainedTokenizer extends ClipVocabulary {
  readonly vocab: Readonly<Record<string, number>>
  readonly vocabSize: number
}

const N_BYTES = 256
const N_SPECIAL = 2
const END_OF_WORD = '</w>'

/** @throws INPUT_INVALID when the vocabulary cannot hold all bytes; TEXT_INVALID when there is no text */
export function trainTokenizer(captions: Iterable<string>, { vocabSize, minFrequency = 2 }: TokenizerTraining): TrainedTokenizer {
  const smallest = 2 * N_BYTES + N_SPECIAL
  if (!Number.isInteger(vocabSize) || vocabSize < smallest || vocabSize > 2 ** 20) {
    const problem = `${vocabSize} is not a whole number from ${smallest} (bytes and special tokens) to ${2 ** 20}`
    throw new EngineError('INPUT_INVALID', { path: 'vocabSize', problem })
  }
  const tokens = [...byteCharacters, ...byteCharacters.map((character) => character + END_OF_WORD)]
  const ids = new Map(tokens.map((token, id) => [token, id]))
  const words = wordsOf(captions)
  if (words.length === 0) throw new EngineError('TEXT_INVALID', { problem: 'there are no captions to learn a vocabulary from.' })
  const pairs = new BytePairs(words)
  const merges: [string, string][] = []
  while (tokens.length < vocabSize - N_SPECIAL) {
    const best = pairs.mostFrequent()
    if (best === undefined || best.count < minFrequency) break
    const [left, right] = [tokens[best.left]!, tokens[best.right]!]
    // "ab" + "c" and "a" + "bc" are one token
    const merged = ids.get(left + right) ?? tokens.push(left + right) - 1
    ids.set(left + right, merged)
    merges.push([left, right])
    pairs.merge(best, merged)
  }
  const start = { token: startToken, id: tokens.push(startToken) - 1 }
  const end = { token: endToken, id: tokens.push(endToken) - 1 }
  return { vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges, start, end, vocabSize: tokens.length }
}

/** The tokenizer itself. */
export function trainedClipTokenizer(trained: TrainedTokenizer, contextLength: number): ClipTokenizer {
  return tokenizerOf(clipTokenizerJson(trained), { contextLength, vocabSize: trained.vocabSize })
}

/** The files that a model's folder has for it, by name, as transformers writes and reads them. */
export function trainedTokenizerFiles(trained: TrainedTokenizer, contextLength: number): Record<string, string> {
  const special = { bos_token: startToken, eos_token: endToken, pad_token: endToken, unk_token: endToken }
  const config = { ...special, model_max_length: contextLength, do_lower_case: true, errors: 'replace', tokenizer_class: 'CLIPTokenizer' }
  return {
    'tokenizer.json': `${JSON.stringify(clipTokenizerJson(trained))}\n`,
    'tokenizer_config.json': `${JSON.stringify(config, null, 2)}\n`,
    'special_tokens_map.json': `${JSON.stringify(special, null, 2)}\n`,
    'vocab.json': `${JSON.stringify(trained.vocab)}\n`,
    'merges.txt': `#version: 0.2\n${trained.merges.map((pair) => `${pair.join(' ')}\n`).join('')}`,
  }
}

/** A character for each byte, as GPT-2 writes them: printable ones stand for themselves, in its order. */
const byteCharacters: readonly string[] = byteOrder().map(([, character]) => String.fromCodePoint(character))
const byteIds: ReadonlyMap<number, number> = new Map(byteOrder().map(([byte], id) => [byte, id]))

/** Bytes and the code points that stand for them. */
function byteOrder(): [byte: number, character: number][] {
  const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index)
  const printable = [...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff)]
  const others = range(0, 0xff).filter((byte) => !printable.includes(byte))
  return [
    ...printable.map((byte): [number, number] => [byte, byte]),
    ...others.map((byte, index): [number, number] => [byte, N_BYTES + index]),
  ]
}

/** Different words in the order in which they first occur. */
function wordsOf(captions: Iterable<string>): Word[] {
  const counts = new Map<string, number>()
  const pattern = new RegExp(wordPattern, 'gu')
  for (const caption of captions) {
    const text = normalizedText(caption)
    for (const [word] of text.matchAll(pattern)) {
      if (word !== startToken && word !== endToken) counts.set(word, (counts.get(word) ?? 0) + 1)
    }
  }
  return Array.from(counts, ([word, count]) => ({ symbols: symbolsOf(word), count }))
}

/** Ids of its bytes, the last one as the end of a word. */
function symbolsOf(word: string): number[] {
  const symbols = Array.from(Buffer.from(word, 'utf8'), (byte) => byteIds.get(byte)!)
  symbols[symbols.length - 1]! += N_BYTES
  return symbols
}
