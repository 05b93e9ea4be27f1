/**
 * What a `tokenizer.json` may do to a text. Its regular expressions and replacements run on every text, on the thread that serves all
 * models, and cannot be stopped: `(a+)+$` would hold it for ever, and forty times "a" to "aa" would fill the memory. CLIP's patterns are
 * alternatives without groups, and it replaces by one character at most; nothing else is taken.
 */

import { EngineError } from '../errors.js'

const MAX_PATTERN_LENGTH = 1000

/** The parts of a tokenizer that hold patterns. */
const PARTS = ['normalizer', 'pre_tokenizer', 'post_processor', 'decoder'] as const

/** @throws FILE_INVALID */
export function checkPatterns(tokenizer: Readonly<Record<string, unknown>>): void {
  // not recursive: the file may nest as deep as it likes
  const waiting: unknown[] = PARTS.map((part) => tokenizer[part])
  while (waiting.length > 0) {
    const value = waiting.pop()
    if (typeof value !== 'object' || value === null) continue
    if ('type' in value && value.type === 'Replace' && !('content' in value && String(value.content).length <= 1)) {
      throw invalid('replaces parts of a text by more than one character, which CLIP does not.')
    }
    for (const [key, inner] of Object.entries(value)) {
      if (key === 'Regex' && !(typeof inner === 'string' && isQuick(inner))) {
        throw invalid('has a regular expression that could take for ever on some texts: it has a group, or repetitions in a row.')
      }
      waiting.push(inner)
    }
  }
}

const invalid = (problem: string) => new EngineError('FILE_INVALID', { file: 'tokenizer.json', problem })

/** At most one repetition in each alternative, and no groups: time grows with the square of a text's length at the worst. */
function isQuick(pattern: string): boolean {
  if (pattern.length > MAX_PATTERN_LENGTH) return false
  // what escapes and classes hold repeats nothing
  const plain = pattern.replaceAll(/\\[pP]\{\w+\}|\\./gs, 'x').replaceAll(/\[[^\]]*\]/g, 'x')
  const times = (alternative: string, symbol: RegExp) => (alternative.match(symbol) ?? []).length
  return !plain.includes('(') && plain.split('|').every((part) => times(part, /[*+{]/g) <= 1 && times(part, /\?/g) <= 2)
}
