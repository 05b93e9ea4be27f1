/** Reads the text that `print` writes (the form is described there). Checks the form only; `validate` checks the graph. */

import { EngineError, type Problem } from '../errors.js'
import { allocate, bytesPerElement, type DType, type Tensor } from '../tensor.js'
import type { Axis, Graph, HookPoint, Node } from './graph.js'
import type { OpName } from './operators.js'
import { plainName, reservedWords } from './print.js'
import type { Attribute, Dim, ValueType } from './value-type.js'

/** @throws GRAPH_INVALID naming every line that cannot be read */
export function parse(text: string): Graph {
  const parsed: Parsed = { name: undefined, inputs: {}, parameters: {}, constants: {}, nodes: [], outputs: [], hookPoints: [] }
  const problems: Problem[] = []
  for (const [index, line] of text.split('\n').entries()) {
    try {
      const tokens = new Tokens(line)
      if (!tokens.isAtEnd()) readLine(tokens, parsed)
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error
      problems.push({ path: `line ${index + 1}`, message: error.message })
    }
  }
  if (parsed.name === undefined) problems.push({ path: 'line 1', message: 'the text must begin with: graph "name"' })
  if (problems.length > 0) {
    const lines = problems.map(({ path, message }) => `${path}: ${message}`)
    throw new EngineError('GRAPH_INVALID', { graph: parsed.name ?? '', problems: lines }, problems)
  }
  return { ...parsed, name: parsed.name! }
}

interface Parsed {
  name: string | undefined
  readonly inputs: Record<string, ValueType>
  readonly parameters: Record<string, ValueType>
  readonly constants: Record<string, Tensor>
  readonly nodes: Node[]
  readonly outputs: string[]
  readonly hookPoints: HookPoint[]
}

class Unreadable extends Error {}

function readLine(tokens: Tokens, graph: Parsed): void {
  switch (tokens.word(['graph', 'input', 'parameter', 'constant', 'output', 'hook'])) {
    case 'graph':
      graph.name = tokens.string()
      break
    case 'input':
      declare(graph.inputs, readName(tokens), readTypeAfterColon(tokens))
      break
    case 'parameter':
      declare(graph.parameters, readName(tokens), readTypeAfterColon(tokens))
      break
    case 'constant':
      declare(graph.constants, readName(tokens), readLiteral(tokens))
      break
    case 'output':
      graph.outputs.push(readName(tokens))
      break
    case 'hook':
      graph.hookPoints.push(readHookPoint(tokens))
      break
    default:
      graph.nodes.push(readNode(tokens))
  }
  if (!tokens.isAtEnd()) throw new Unreadable(`unexpected ${tokens.rest()}`)
}

function declare<T>(among: Record<string, T>, name: string, value: T): void {
  if (Object.hasOwn(among, name) || name === '__proto__') throw new Unreadable(`"${name}" cannot be declared here`)
  among[name] = value
}

function readNode(tokens: Tokens): Node {
  const outputs = [readName(tokens)]
  while (tokens.take(',')) outputs.push(readName(tokens))
  tokens.expect('=')
  const op = tokens.plain() as OpName
  tokens.expect('(')
  const inputs = readList(tokens, ')', () => (tokens.word(['_']) ? '' : readName(tokens)))
  const attributes: Record<string, Attribute> = {}
  while (!tokens.isAtEnd()) {
    const name = tokens.plain()
    tokens.expect('=')
    declare(attributes, name, readAttribute(tokens))
  }
  return { op, inputs, outputs, attributes }
}

function readAttribute(tokens: Tokens): Attribute {
  if (tokens.isString()) return tokens.string()
  return tokens.take('[') ? readList(tokens, ']', () => Number(tokens.number())) : Number(tokens.number())
}

function readHookPoint(tokens: Tokens): HookPoint {
  const name = readName(tokens)
  tokens.expect('[')
  const axes = readList(tokens, ']', () => tokens.plain() as Axis)
  if (!tokens.take('=')) return { name, axes, firings: [name] }
  const firings = [readName(tokens)]
  while (tokens.take(',')) firings.push(readName(tokens))
  return { name, axes, firings }
}

function readTypeAfterColon(tokens: Tokens): ValueType {
  tokens.expect(':')
  const dtype = tokens.plain()
  if (!Object.hasOwn(bytesPerElement, dtype)) throw new Unreadable(`"${dtype}" is not a dtype`)
  tokens.expect('[')
  const shape = readList(tokens, ']', (): Dim => (tokens.isNumber() ? Number(tokens.number()) : tokens.plain()))
  return { dtype: dtype as DType, shape }
}

function readLiteral(tokens: Tokens): Tensor {
  const { dtype, shape } = readTypeAfterColon(tokens)
  tokens.expect('=')
  tokens.expect('[')
  const elements = readList(tokens, ']', () => tokens.number())
  const data = allocate(dtype, elements.length)
  for (const [index, element] of elements.entries()) {
    if (data instanceof BigInt64Array) data[index] = toBigInt(element)
    else data[index] = Number(element)
  }
  return { dtype, shape: shape as number[], data }
}

function toBigInt(element: string): bigint {
  if (!/^-?\d+$/.test(element)) throw new Unreadable(`${element} is not a whole number`)
  return BigInt(element)
}

function readList<T>(tokens: Tokens, end: string, readOne: () => T): T[] {
  const list: T[] = []
  if (tokens.take(end)) return list
  do list.push(readOne())
  while (tokens.take(','))
  tokens.expect(end)
  return list
}

function readName(tokens: Tokens): string {
  if (tokens.isString()) return tokens.string()
  const name = tokens.plain()
  if (reservedWords.includes(name)) throw new Unreadable(`the name "${name}" must be in quotes`)
  return name
}

const tokenPatterns = {
  string: /^"(?:[^"\\]|\\.)*"/,
  number: /^-?(?:Infinity|NaN|\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w.])/,
  plain: plainName,
} as const

/** What is left of one line. */
class Tokens {
  #rest: string

  constructor(line: string) {
    this.#rest = line
    this.#skip()
  }

  isAtEnd(): boolean {
    return this.#rest === ''
  }

  isString(): boolean {
    return this.#rest.startsWith('"')
  }

  isNumber(): boolean {
    return tokenPatterns.number.test(this.#rest)
  }

  string(): string {
    const quoted = this.#match('string', 'a name in quotes')
    try {
      return JSON.parse(quoted) as string
    } catch {
      throw new Unreadable(`${quoted} is not a JSON string`)
    }
  }

  number(): string {
    return this.#match('number', 'a number')
  }

  plain(): string {
    return this.#match('plain', 'a name')
  }

  /** Takes one of these words when it is next. */
  word(words: readonly string[]): string | undefined {
    const next = plainName.exec(this.#rest)?.[0]
    if (next === undefined || !words.includes(next)) return undefined
    return this.plain()
  }

  take(mark: string): boolean {
    if (!this.#rest.startsWith(mark)) return false
    this.#advance(mark.length)
    return true
  }

  expect(mark: string): void {
    if (!this.take(mark)) throw new Unreadable(`expected ${mark} before ${this.rest()}`)
  }

  rest(): string {
    return this.isAtEnd() ? 'the end of the line' : JSON.stringify(this.#rest.slice(0, 40))
  }

  #match(kind: keyof typeof tokenPatterns, what: string): string {
    const found = tokenPatterns[kind].exec(this.#rest)?.[0]
    if (found === undefined) throw new Unreadable(`expected ${what} before ${this.rest()}`)
    this.#advance(found.length)
    return found
  }

  #advance(length: number): void {
    this.#rest = this.#rest.slice(length)
    this.#skip()
  }

  /** Past blanks and a comment. */
  #skip(): void {
    const trimmed = this.#rest.trimStart()
    this.#rest = trimmed.startsWith('//') ? '' : trimmed
  }
}
