/**
 * CLIP's tokenizer, from the model's own files: `tokenizer.json`, or `vocab.json` with `merges.txt`. Byte-pair encoding itself is
 * @huggingface/tokenizers; here are what the two libraries do around it, which differs:
 *
 *   transformers  NFC, whitespace and lower case; special tokens may stand in the text; padding with the pad token
 *   open_clip     ftfy and HTML entities first (text-cleaning.ts); special tokens in a text are plain characters; padding with 0
 *
 * Both keep the end-of-text token when they cut a text to the context length.
 */

import { Tokenizer } from '@huggingface/tokenizers'
import { EngineError } from '../errors.js'
import { type Tensor, tensor } from '../tensor.js'
import { isJsonObject } from './config-fields.js'
import { type JsonObject, readJsonFile, readTextFile } from './json-file.js'
import { cleanText, wellFormed } from './text-cleaning.js'
import { clipTokenizerJson, endToken, startToken } from './tokenizer-json.js'
import { checkPatterns } from './tokenizer-patterns.js'

export interface ClipTokenizer {
  readonly contextLength: number
  /**
   * Token ids `[batch, contextLength]`: start, text, end, padding.
   * @throws TEXT_INVALID when a text is too long to be tokenized, or the folder has no tokenizer that can be used
   */
  readonly encode: (texts: readonly string[]) => Tensor<'int64'>
}

export interface TokenizerSetting {
  readonly contextLength: number
  readonly vocabSize: number
  /** Whose rules around the encoding. */
  readonly style: 'transformers' | 'open-clip'
}

/** A context is 77 tokens; this many characters are more than any text that says something in it. */
const MAX_CHARACTERS = 20_000
const MAX_FILE_BYTES = 64 * 2 ** 20

/**
 * Reads a folder's tokenizer. A folder without one, or with one that is not CLIP's, still has a text tower for token ids: its tokenizer
 * refuses every text and says why.
 * @throws FILE_INVALID when a file is damaged or does not fit the model
 */
export async function loadTokenizer(folder: string, setting: TokenizerSetting): Promise<ClipTokenizer> {
  const config = (await readJsonFile(folder, 'tokenizer_config.json')) ?? {}
  const special = specialTokens({ ...((await readJsonFile(folder, 'special_tokens_map.json')) ?? {}), ...config })
  const json = (await readJsonFile(folder, 'tokenizer.json', MAX_FILE_BYTES)) ?? (await fromVocabulary(folder, special))
  if (json === undefined) return refusingTokenizer(setting, 'the model has no tokenizer.json, and no vocab.json with merges.txt.')
  if (!isClip(json))
    return refusingTokenizer(setting, 'the model has a tokenizer that is not of the CLIP kind (byte-level BPE with "</w>").')
  return clipTokenizer(json, config, { ...setting, special })
}

/** A tokenizer that refuses every text, and says why. */
export function refusingTokenizer({ contextLength }: { readonly contextLength: number }, problem: string): ClipTokenizer {
  return {
    contextLength,
    encode: () => {
      throw new EngineError('TEXT_INVALID', { problem })
    },
  }
}

/** A tokenizer over a vocabulary in memory, as transformers' would be. @throws FILE_INVALID when it does not fit the model */
export function tokenizerOf(json: JsonObject, { contextLength, vocabSize }: Omit<TokenizerSetting, 'style'>): ClipTokenizer {
  return clipTokenizer(json, {}, { contextLength, vocabSize, style: 'transformers', special: specialTokens({}) })
}

function clipTokenizer(json: JsonObject, config: JsonObject, setting: TokenizerSetting & { special: SpecialTokens }): ClipTokenizer {
  const { contextLength, vocabSize, style, special } = setting
  const vocab = vocabularyOf(json)
  const wrong = Object.values(vocab).find((id) => !Number.isInteger(id) || (id as number) < 0)
  if (wrong !== undefined)
    throw new EngineError('FILE_INVALID', { file: 'tokenizer', problem: 'has a token id that is no whole number from 0.' })
  const largest = largestId(vocab)
  if (largest >= vocabSize) {
    const problem = `its largest token id is ${largest}; the model's vocabulary has ${vocabSize} tokens.`
    throw new EngineError('FILE_INVALID', { file: 'tokenizer', problem })
  }
  const encoder = encoderOf(json, config, style)
  const end = idOf(vocab, special.end)
  const padding = style === 'open-clip' ? 0 : idOf(vocab, special.pad)

  const encodeOne = (text: string, row: BigInt64Array) => {
    if (text.length > MAX_CHARACTERS) {
      throw new EngineError('TEXT_INVALID', { problem: `it has ${text.length} characters; at most ${MAX_CHARACTERS} are tokenized.` })
    }
    const { ids } = encoder.encode(style === 'open-clip' ? cleanText(text) : forTransformers(text))
    row.fill(BigInt(padding))
    for (let i = 0; i < Math.min(ids.length, contextLength); i++) row[i] = BigInt(ids[i]!)
    if (ids.length > contextLength) row[contextLength - 1] = BigInt(end)
  }
  return {
    contextLength,
    encode: (texts) => {
      const data = new BigInt64Array(texts.length * contextLength)
      texts.forEach((text, index) => {
        encodeOne(text, data.subarray(index * contextLength, (index + 1) * contextLength))
      })
      return tensor('int64', [texts.length, contextLength], data)
    },
  }
}

/** @throws FILE_INVALID when a part of it is not what the library expects */
function encoderOf(json: JsonObject, config: JsonObject, style: TokenizerSetting['style']): Tokenizer {
  checkPatterns(json)
  try {
    const encoder = new Tokenizer(style === 'open-clip' ? withPlainSpecials(json) : json, config)
    // some of it is looked at only when there is a text
    encoder.encode('A text.')
    return encoder
  } catch (error) {
    throw new EngineError('FILE_INVALID', { file: 'tokenizer', problem: `cannot be used (${(error as Error).message}).` })
  }
}

/** transformers lowers letter by letter, so that a final sigma stays \u03c3; JavaScript knows about ends of words. */
function forTransformers(text: string): string {
  return wellFormed(text).replaceAll('\u03a3', '\u03c3')
}

/** A text as the tokenizer sees it before it looks for words. */
export function normalizedText(text: string): string {
  return forTransformers(text).normalize('NFC').replaceAll(/\s+/gu, ' ').toLowerCase()
}

interface SpecialTokens {
  readonly start: string
  readonly end: string
  readonly pad: string
}

/** Each a string, or an object with its `content`. */
function specialTokens(values: JsonObject): SpecialTokens {
  const text = (key: string, fallback: string) => {
    const value = values[key]
    const content = isJsonObject(value) ? value.content : value
    return typeof content === 'string' ? content : fallback
  }
  return { start: text('bos_token', startToken), end: text('eos_token', endToken), pad: text('pad_token', endToken) }
}

function isClip(json: JsonObject): boolean {
  const model = json.model
  return isJsonObject(model) && (model.type === 'BPE' || model.type === undefined) && model.end_of_word_suffix === '</w>'
}

function vocabularyOf(json: JsonObject): JsonObject {
  const vocab = (json.model as JsonObject).vocab
  if (!isJsonObject(vocab)) throw new EngineError('FILE_INVALID', { file: 'tokenizer.json', problem: 'has no vocabulary.' })
  // Added tokens need not be in the vocabulary.
  const added = Array.isArray(json.added_tokens) ? json.added_tokens.filter(isJsonObject) : []
  return { ...vocab, ...Object.fromEntries(added.map(({ content, id }) => [String(content), id])) }
}

function largestId(vocab: JsonObject): number {
  return Object.values(vocab).reduce<number>((largest, id) => Math.max(largest, id as number), -1)
}

function idOf(vocab: JsonObject, token: string): number {
  const id = Object.hasOwn(vocab, token) ? vocab[token] : undefined
  if (typeof id === 'number') return id
  throw new EngineError('FILE_INVALID', { file: 'tokenizer', problem: `its vocabulary has no token "${token}".` })
}

/** The same tokenizer for which `<|startoftext|>` in a text is punctuation and letters. */
function withPlainSpecials(json: JsonObject): JsonObject {
  const text = JSON.stringify(json.pre_tokenizer ?? null)
  const plain = text.replaceAll('<\\\\|startoftext\\\\|>|<\\\\|endoftext\\\\|>|', '')
  return { ...json, added_tokens: [], pre_tokenizer: JSON.parse(plain) as unknown }
}

/** What transformers makes of `vocab.json` and `merges.txt`. Undefined when they are not there. */
async function fromVocabulary(folder: string, { start, end }: SpecialTokens): Promise<JsonObject | undefined> {
  const vocab = await readJsonFile(folder, 'vocab.json', MAX_FILE_BYTES)
  const merges = await readTextFile(folder, 'merges.txt', MAX_FILE_BYTES)
  if (vocab === undefined || merges === undefined) return undefined
  const lines = merges.split('\n').filter((line) => line !== '' && !line.startsWith('#version'))
  return clipTokenizerJson({
    vocab,
    merges: lines.map((line) => line.split(' ')),
    start: { token: start, id: idOf(vocab, start) },
    end: { token: end, id: idOf(vocab, end) },
  })
}
