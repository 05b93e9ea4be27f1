/**
 * Captions to token ids, each text tokenized once.
 */

import type { ClipTokenizer } from '../models/tokenizer.js'
import type { Random } from '../random.js'
import { type Tensor, tensor } from '../tensor.js'
import type { Caption } from './dataset.js'

/** `[texts, contextLength]` */
export type CaptionTokens = (texts: readonly string[]) => Tensor<'int64'>

/** Of 77 ids each, 60 MB. */
const MAX_KEPT = 100_000

export function captionTokens(tokenizer: ClipTokenizer): CaptionTokens {
  const kept = new Map<string, BigInt64Array>()
  const { contextLength } = tokenizer
  return (texts) => {
    const data = new BigInt64Array(texts.length * contextLength)
    texts.forEach((text, row) => {
      const ids = kept.get(text) ?? tokenizer.encode([text]).data
      if (kept.size < MAX_KEPT) kept.set(text, ids)
      data.set(ids, row * contextLength)
    })
    return tensor('int64', [texts.length, contextLength], data)
  }
}

/** By weight; without random numbers the first. */
export function drawCaption(captions: readonly Caption[], random: Random | undefined): string | undefined {
  if (random === undefined) return captions[0]?.text
  let left = random.uniform() * captions.reduce((sum, { weight }) => sum + weight, 0)
  for (const { text, weight } of captions) {
    left -= weight
    if (left < 0) return text
  }
  return captions.at(-1)?.text
}
