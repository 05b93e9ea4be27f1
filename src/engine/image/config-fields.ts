/**
 * Reads the fields of a model's JSON files strictly: a value of the wrong kind is a problem with its path, never a default, and all
 * problems of a file are reported at once.
 */

import { EngineError } from '../errors.js'

export type JsonObject = Readonly<Record<string, unknown>>

/** Longest side, in pixels, that a picture may be prepared for; guards against a configuration that asks for terabytes. */
const MAX_SIDE = 8192

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export class ConfigFields {
  readonly file: string
  /** Of `values` within the file, with a final dot; empty at its root. */
  readonly path: string
  readonly values: JsonObject
  readonly #problems: string[]

  constructor({ file, path = '', values }: { file: string; path?: string; values: JsonObject }, problems: string[] = []) {
    this.file = file
    this.path = path
    this.values = values
    this.#problems = problems
  }

  /** Null counts as absent, as it does in the libraries that write these files. */
  has(name: string): boolean {
    return this.values[name] !== undefined && this.values[name] !== null
  }

  /** An object inside this one; empty when absent. Its problems are reported with this one's. */
  object(name: string): ConfigFields {
    const value = this.values[name] ?? {}
    if (!isJsonObject(value)) this.problem(name, 'an object')
    return new ConfigFields({ file: this.file, path: `${this.path}${name}.`, values: isJsonObject(value) ? value : {} }, this.#problems)
  }

  boolean(name: string, fallback: boolean): boolean {
    return this.#read(name, 'true or false', fallback, (value) => (typeof value === 'boolean' ? value : undefined))
  }

  string(name: string, fallback: string): string {
    return this.#read(name, 'a string', fallback, (value) => (typeof value === 'string' ? value : undefined))
  }

  number(name: string, fallback: number, { above }: { above: number }): number {
    return this.#read(name, `a number above ${above}`, fallback, (value) => (isNumber(value) && value > above ? value : undefined))
  }

  /** One of the keys of `table`; a number in the file is looked up by its decimal spelling. */
  choice<T>(name: string, fallback: T, table: Readonly<Record<string, T>>): T {
    const expected = `one of ${Object.keys(table).join(', ')}`
    return this.#read(name, expected, fallback, (value) => {
      const key = String(value)
      return (typeof value === 'string' || typeof value === 'number') && Object.hasOwn(table, key) ? table[key] : undefined
    })
  }

  /** One number a channel; a single number is repeated. */
  perChannel(name: string, fallback: readonly number[], { nChannels, above }: { nChannels: number; above: number }): readonly number[] {
    const valid = (value: unknown): value is number => isNumber(value) && value > above
    const expected = `${nChannels} numbers${Number.isFinite(above) ? ` above ${above}` : ''}`
    return this.#read(name, expected, repeated(fallback, nChannels), (value) => {
      const list = Array.isArray(value) ? value : [value]
      return list.every(valid) && (list.length === 1 || list.length === nChannels) ? repeated(list, nChannels) : undefined
    })
  }

  /** A length in pixels. */
  side(name: string): number | undefined {
    return this.#read<number | undefined>(name, `a whole number from 1 to ${MAX_SIDE}`, undefined, (value) =>
      isSide(value) ? value : undefined,
    )
  }

  /** Two lengths, `[height, width]`, or one for both. */
  sides(name: string): { height: number; width: number } | undefined {
    const expected = `one or two whole numbers from 1 to ${MAX_SIDE}`
    return this.#read<{ height: number; width: number } | undefined>(name, expected, undefined, (value) => {
      const list: unknown[] = Array.isArray(value) ? value : [value]
      const [height, width = height] = list
      return list.length <= 2 && isSide(height) && isSide(width) ? { height, width } : undefined
    })
  }

  /** Records a problem with a field, to be reported with the others. */
  problem(name: string, expected: string): void {
    const given = JSON.stringify(this.values[name]) ?? 'nothing'
    this.#problems.push(`${this.path}${name} is ${given.length > 80 ? `${given.slice(0, 80)}…` : given}; expected ${expected}`)
  }

  /** @throws FILE_INVALID with every problem met, when there was one */
  check(): void {
    if (this.#problems.length === 0) return
    const problems = this.#problems.map((message) => ({ path: this.file, message }))
    throw new EngineError('FILE_INVALID', { file: this.file, problem: `${this.#problems.join('; ')}.` }, problems)
  }

  #read<T>(name: string, expected: string, fallback: T, parse: (value: unknown) => T | undefined): T {
    if (!this.has(name)) return fallback
    const parsed = parse(this.values[name])
    if (parsed === undefined) this.problem(name, expected)
    return parsed ?? fallback
  }
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

function isSide(value: unknown): value is number {
  return isNumber(value) && Number.isInteger(value) && value >= 1 && value <= MAX_SIDE
}

function repeated(list: readonly number[], length: number): readonly number[] {
  return list.length === 1 ? new Array<number>(length).fill(list[0]!) : list.slice(0, length)
}
