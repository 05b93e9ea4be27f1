/**
 * Reads what a person wrote in a configuration, strictly: a misspelt field is an error that names the nearest real one, a value of another
 * type is not converted, and all problems are reported at once, each with its path. A field is known once it has been asked for, so every
 * field is asked for before `check`.
 */

import { EngineError, type Problem } from './errors.js'
import { nearest } from './nearest.js'

export interface NumberRule {
  readonly min?: number
  readonly max?: number
  readonly integer?: boolean
}

export type Interval = readonly [low: number, high: number]

export class StrictFields {
  readonly path: string
  readonly #values: Readonly<Record<string, unknown>>
  readonly #known = new Set<string>()
  readonly #problems: Problem[]
  readonly #sections: StrictFields[] = []

  /** @param path  how problems call this object: `augment`; empty for the whole configuration */
  constructor(value: unknown, path: string, problems: Problem[] = []) {
    this.path = path
    this.#problems = problems
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    if (!isObject) problems.push({ path: path || 'configuration', message: `${show(value)} is not an object` })
    this.#values = isObject ? (value as Record<string, unknown>) : {}
  }

  /** Whether the field is there; asking makes it known. */
  has(key: string): boolean {
    this.#known.add(key)
    return Object.hasOwn(this.#values, key) && this.#values[key] !== undefined
  }

  raw(key: string): unknown {
    return this.has(key) ? this.#values[key] : undefined
  }

  number(key: string, rule: NumberRule & { readonly fallback?: number }): number {
    const harmless = rule.fallback ?? rule.min ?? 0
    return this.#read(key, describeNumber(rule), rule.fallback, harmless, (value) => (fits(value, rule) ? value : undefined))
  }

  boolean(key: string, fallback: boolean): boolean {
    return this.#read(key, 'true or false', fallback, fallback, (value) => (typeof value === 'boolean' ? value : undefined))
  }

  /** A text that is not empty. Without a fallback the field must be there. */
  string(key: string, fallback?: string): string {
    return this.#read(key, 'a text', fallback, '', (value) => (typeof value === 'string' && value !== '' ? value : undefined))
  }

  choice<T extends string>(key: string, choices: readonly T[], fallback?: T): T {
    const value = this.raw(key)
    const near = typeof value === 'string' ? nearest(value.slice(0, 100), choices)[0] : undefined
    const expected = `one of ${choices.map(show).join(', ')}${near === undefined ? '' : `; did you mean ${show(near)}?`}`
    return this.#read(key, expected, fallback, fallback ?? choices[0]!, (given) => choices.find((choice) => choice === given))
  }

  /** `[low, high]`, each within the rule, low not above high. */
  interval(key: string, rule: NumberRule & { readonly fallback?: Interval }): Interval {
    const expected = `[low, high], each ${describeNumber(rule)}`
    return this.#read(key, expected, rule.fallback, rule.fallback ?? [0, 0], (value) => {
      if (!Array.isArray(value) || value.length !== 2) return undefined
      const [low, high] = value as [unknown, unknown]
      return fits(low, rule) && fits(high, rule) && low <= high ? [low, high] : undefined
    })
  }

  numbers(key: string, rule: NumberRule & { readonly length?: number; readonly fallback?: readonly number[] }): readonly number[] {
    const expected = `a list of ${rule.length ?? 'at least one'} number${rule.length === 1 ? '' : 's'}, each ${describeNumber(rule)}`
    return this.#read(key, expected, rule.fallback, rule.fallback ?? [], (value) => {
      const isList = Array.isArray(value) && value.length > 0 && value.length === (rule.length ?? value.length)
      return isList && value.every((each): each is number => fits(each, rule)) ? value : undefined
    })
  }

  strings(key: string, fallback?: readonly string[]): readonly string[] {
    return this.#read(key, 'a list of texts, at least one', fallback, fallback ?? [], (value) => {
      const isList = Array.isArray(value) && value.length > 0
      return isList && value.every((each): each is string => typeof each === 'string' && each !== '') ? value : undefined
    })
  }

  /** An object inside this one; undefined when it is not there. Its problems are reported with this one's. */
  section(key: string): StrictFields | undefined {
    return this.has(key) ? this.#inner(this.#values[key], this.#at(key)) : undefined
  }

  /** A list of objects; undefined when it is not there. */
  sections(key: string): readonly StrictFields[] | undefined {
    const value = this.raw(key)
    if (value === undefined) return undefined
    if (Array.isArray(value) && value.length > 0) return value.map((each, index) => this.#inner(each, `${this.#at(key)}[${index}]`))
    this.problem(key, `${show(value)} is not a list of objects, at least one`)
    return []
  }

  /** Records a problem with a field, to be reported with the others. */
  problem(key: string, message: string): void {
    this.#problems.push({ path: this.#at(key), message })
  }

  /** @throws CONFIG_INVALID with every problem met, unknown fields included; call it on the outermost object */
  check(): void {
    this.#reportUnknown()
    if (this.#problems.length === 0) return
    throw new EngineError('CONFIG_INVALID', { problems: this.#problems.map(sentence) }, this.#problems)
  }

  #inner(value: unknown, path: string): StrictFields {
    const inner = new StrictFields(value, path, this.#problems)
    this.#sections.push(inner)
    return inner
  }

  #reportUnknown(): void {
    const known = [...this.#known]
    for (const key of Object.keys(this.#values)) {
      if (this.#known.has(key)) continue
      const shown = key.slice(0, 100)
      const [near] = nearest(shown, known)
      this.problem(
        shown,
        `unknown field ${show(shown)}. ${near === undefined ? `The fields are ${known.join(', ')}` : `Did you mean "${near}"?`}`,
      )
    }
    for (const section of this.#sections) section.#reportUnknown()
  }

  #at(key: string): string {
    return this.path === '' ? key : `${this.path}.${key}`
  }

  #read<T>(key: string, expected: string, fallback: T | undefined, harmless: T, parse: (value: unknown) => T | undefined): T {
    if (!this.has(key)) {
      if (fallback === undefined) this.problem(key, `is missing; expected ${expected}`)
      return fallback ?? harmless
    }
    const parsed = parse(this.#values[key])
    if (parsed === undefined) this.problem(key, `${show(this.#values[key])} is not ${expected}`)
    return parsed ?? harmless
  }
}

const sentence = ({ path, message }: Problem) => `${path}: ${message}`

function fits(
  value: unknown,
  { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, integer = false }: NumberRule,
): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= min && value <= max && (!integer || Number.isInteger(value))
}

function describeNumber({ min, max, integer = false }: NumberRule): string {
  const kind = integer ? 'a whole number' : 'a number'
  if (min !== undefined && max !== undefined) return `${kind} from ${min} to ${max}`
  if (min !== undefined) return `${kind} from ${min}`
  return max === undefined ? kind : `${kind} up to ${max}`
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}
