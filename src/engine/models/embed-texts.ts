/** Texts through a text tower, some at a time. */

import { joinRows } from '../rows.js'
import type { Tensor } from '../tensor.js'
import type { ClipTokenizer } from './tokenizer.js'

/** Texts in one run of the tower. */
const TEXT_BATCH = 256

/** @param embed  runs the tower on `[texts, contextLength]`. @returns `[texts, dEmbed]` */
export async function embedTexts(
  texts: readonly string[],
  tokenizer: ClipTokenizer,
  embed: (tokens: Tensor<'int64'>) => Promise<Tensor<'float32'>>,
): Promise<Tensor<'float32'>> {
  const parts: Tensor<'float32'>[] = []
  for (let from = 0; from < texts.length; from += TEXT_BATCH) {
    parts.push(await embed(tokenizer.encode(texts.slice(from, from + TEXT_BATCH))))
  }
  return joinRows(parts)
}
