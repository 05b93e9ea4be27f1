/**
 * CLIP's tokenizer as a `tokenizer.json`: what transformers makes of a vocabulary and its merges.
 */

import type { JsonObject } from './json-file.js'

export const startToken = '<|startoftext|>'
export const endToken = '<|endoftext|>'

/** What becomes a word of its own before byte-pair encoding. */
export const wordPattern = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"

export interface ClipVocabulary {
  /** Token to id. */
  readonly vocab: JsonObject
  /** Pairs of tokens, the first to be merged first. */
  readonly merges: readonly (readonly string[])[]
  readonly start: SpecialToken
  readonly end: SpecialToken
}

interface SpecialToken {
  readonly token: string
  readonly id: number
}

export function clipTokenizerJson({ vocab, merges, start, end }: ClipVocabulary): JsonObject {
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [added(start), added(end)],
    normalizer: {
      type: 'Sequence',
      normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' }, { type: 'Lowercase' }],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: wordPattern }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: {
      type: 'RobertaProcessing',
      sep: [end.token, end.id],
      cls: [start.token, start.id],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: end.token,
      continuing_subword_prefix: '',
      end_of_word_suffix: '</w>',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges,
    },
  }
}

function added({ token, id }: SpecialToken): JsonObject {
  return { id, content: token, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
}
