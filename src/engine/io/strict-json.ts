/**
 * JSON as file headers need it: objects become maps (so `__proto__` is a key like any other) and a repeated key is an error, where
 * `JSON.parse` would keep the last silently. Strings and numbers follow `JSON.parse` exactly, since it reads them.
 */

export type StrictJson = null | boolean | number | string | readonly StrictJson[] | ReadonlyMap<string, StrictJson>

const maxDepth = 32
const maxValues = 4_000_000
const whitespace = /[ \t\n\r]*/y
const unquoted = /-?\d[\d.eE+-]*|true|false|null/y

/** Parses a whole text. @throws SyntaxError with a sentence that says what is wrong, where */
export function parseStrictJson(text: string): StrictJson {
  let at = 0
  let nValues = 0

  const fail = (problem: string): never => {
    throw new SyntaxError(`${problem} at character ${at}`)
  }
  const skipWhitespace = () => {
    whitespace.lastIndex = at
    at += whitespace.exec(text)![0].length
  }
  const expect = (character: string) => {
    skipWhitespace()
    if (text[at] !== character) fail(`expected ${JSON.stringify(character)}`)
    at++
  }
  /** Whether the next token is `character`, which is then consumed. */
  const accept = (character: string): boolean => {
    skipWhitespace()
    if (text[at] !== character) return false
    at++
    return true
  }
  // By searching, not by one regular expression: a string may be as long as the header.
  const stringEnd = (): number => {
    for (let quote = text.indexOf('"', at + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
      let escapes = 0
      while (text[quote - 1 - escapes] === '\\') escapes++
      if (escapes % 2 === 0) return quote + 1
    }
    return fail('a string does not end')
  }
  const unquotedAt = (): string | undefined => {
    unquoted.lastIndex = at
    return unquoted.exec(text)?.[0]
  }
  const parseScalar = (): null | boolean | number | string => {
    skipWhitespace()
    const token = text[at] === '"' ? text.slice(at, stringEnd()) : unquotedAt()
    if (token === undefined) return fail(at < text.length ? 'expected a value' : 'the text ends too early')
    try {
      const value = JSON.parse(token) as null | boolean | number | string
      at += token.length
      return value
    } catch {
      return fail('a value is not valid')
    }
  }
  const parseObject = (depth: number): ReadonlyMap<string, StrictJson> => {
    const object = new Map<string, StrictJson>()
    if (accept('}')) return object
    do {
      const key = parseScalar()
      if (typeof key !== 'string') return fail('a key is not a string')
      if (object.has(key)) return fail(`the key ${JSON.stringify(key.slice(0, 120))} appears twice`)
      expect(':')
      object.set(key, parseValue(depth))
    } while (accept(','))
    expect('}')
    return object
  }
  const parseArray = (depth: number): readonly StrictJson[] => {
    const array: StrictJson[] = []
    if (accept(']')) return array
    do array.push(parseValue(depth))
    while (accept(','))
    expect(']')
    return array
  }
  const parseValue = (depth: number): StrictJson => {
    if (depth > maxDepth) fail(`more than ${maxDepth} levels`)
    if (++nValues > maxValues) fail(`more than ${maxValues} values`)
    if (accept('{')) return parseObject(depth + 1)
    if (accept('[')) return parseArray(depth + 1)
    return parseScalar()
  }

  const value = parseValue(0)
  skipWhitespace()
  if (at < text.length) fail('something follows the end')
  return value
}
