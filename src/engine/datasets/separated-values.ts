/**
 * Comma- and tab-separated values, read record by record (RFC 4180): quoted fields may hold separators, quotes written twice, and line breaks.
 */

export interface SeparatedRecord {
  readonly values: readonly string[]
  /** Of its first line, from 1. */
  readonly line: number
}

const MAX_RECORD_CHARACTERS = 1 << 20

/** @throws SyntaxError that says what is wrong, and in which line */
export async function* readSeparated(chunks: AsyncIterable<string>, separator: ',' | '\t'): AsyncGenerator<SeparatedRecord> {
  const fail = (problem: string, at: number): never => {
    throw new SyntaxError(`line ${at}: ${problem}`)
  }
  let values: string[] = []
  let value = ''
  let state: 'start' | 'plain' | 'quoted' | 'quote' = 'start'
  let line = 1
  let first = 1
  let length = 0
  let isAfterReturn = false

  for await (const chunk of chunks) {
    // plain runs are taken whole: a character at a time is slow for millions of lines
    for (let at = 0; at < chunk.length; ) {
      const character = chunk[at]!
      at++
      const isLineFeedOfPair = isAfterReturn && character === '\n'
      isAfterReturn = false
      if (isLineFeedOfPair && state !== 'quoted') continue
      if (++length > MAX_RECORD_CHARACTERS) fail('a record is longer than a million characters; is a quote missing?', first)
      if (state === 'quoted') {
        if (character === '"') state = 'quote'
        else {
          if (character === '\n') line++
          value += character
        }
        continue
      }
      if (character === separator) {
        values.push(value)
        value = ''
        state = 'start'
      } else if (character === '\n' || character === '\r') {
        isAfterReturn = character === '\r'
        if (values.length > 0 || value !== '' || state === 'quote') yield { values: [...values, value], line: first }
        values = []
        value = ''
        state = 'start'
        length = 0
        first = ++line
      } else if (character === '"') {
        if (state === 'plain') fail('a quote inside a field that does not start with one; quote the field and write the quote twice', line)
        if (state === 'quote') value += '"'
        state = 'quoted'
      } else {
        if (state === 'quote') fail('something follows a closing quote', line)
        const end = plainEnd(chunk, at, separator)
        value += chunk.slice(at - 1, end)
        length += end - at
        at = end
        state = 'plain'
      }
    }
  }
  if (state === 'quoted') fail('a quote is not closed', first)
  if (values.length > 0 || value !== '' || state === 'quote') yield { values: [...values, value], line: first }
}

/** Where a run of ordinary characters ends. */
function plainEnd(text: string, from: number, separator: string): number {
  let at = from
  while (at < text.length) {
    const character = text[at]
    if (character === separator || character === '\n' || character === '\r' || character === '"') break
    at++
  }
  return at
}
