/**
 * Reads a model's own configuration file: typed, bounded fields, each with the library's documented default or none. Problems are
 * collected and reported together, so that a wrong file is understood at once. A field that would change the arithmetic in a way the
 * engine does not know is `refused`, never ignored.
 */

import { EngineError } from '../errors.js'
import type { Activation } from './model.js'

export type JsonObject = Readonly<Record<string, unknown>>

export interface Size {
  readonly height: number
  readonly width: number
}

/** Far above any published model, far below what would hang a server that believes a hostile file. */
const MAX_COUNT = 1 << 20
const MAX_LAYERS = 512
const MAX_CONTEXT = 4096

/** The names that checkpoints' own configurations use, and ours for the same formula. */
const activationNames: Readonly<Record<string, Activation>> = {
  gelu: 'gelu',
  gelu_python: 'gelu',
  gelu_new: 'gelu_new',
  gelu_pytorch_tanh: 'gelu_new',
  gelu_tanh: 'gelu_new',
  gelu_fast: 'gelu_fast',
  quick_gelu: 'quick_gelu',
  quickgelu: 'quick_gelu',
  relu: 'relu',
  silu: 'silu',
  swish: 'silu',
  solu_ln: 'solu_ln',
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export class ConfigFields {
  readonly #file: string
  readonly #path: string
  readonly #values: JsonObject
  readonly #invalid: string[]
  readonly #unsupported: string[]

  /** @param parent  the reader whose section this is: problems go to one list */
  constructor(file: string, values: JsonObject, parent?: { readonly fields: ConfigFields; readonly path: string }) {
    this.#file = file
    this.#values = values
    this.#path = parent ? `${parent.fields.#path}${parent.path}.` : ''
    this.#invalid = parent ? parent.fields.#invalid : []
    this.#unsupported = parent ? parent.fields.#unsupported : []
  }

  get keys(): string[] {
    return Object.keys(this.#values)
  }

  /** True for a field that is present and not null; libraries write null for "the default". */
  has(key: string): boolean {
    return this.#values[key] !== undefined && this.#values[key] !== null
  }

  raw(key: string): unknown {
    return this.#values[key]
  }

  section(key: string): ConfigFields {
    const value = this.#values[key]
    if (this.has(key) && !isJsonObject(value)) this.#problem(key, 'must be an object')
    return new ConfigFields(this.#file, isJsonObject(value) ? value : {}, { fields: this, path: key })
  }

  /** A whole number from `min` (1) up. */
  count(key: string, fallback?: number, { min = 1, max = MAX_COUNT }: { min?: number; max?: number } = {}): number {
    const fits = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= min && (value as number) <= max
    return this.#read(key, fits, `a whole number from ${min} to ${max}`, fallback) ?? min
  }

  layers(key: string, fallback?: number): number {
    return this.count(key, fallback, { max: MAX_LAYERS })
  }

  /** Positions of a text tower. */
  contextLength(key: string, fallback?: number): number {
    return this.count(key, fallback, { max: MAX_CONTEXT })
  }

  /** A number above zero. */
  positive(key: string, fallback?: number): number {
    const fits = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value > 0
    return this.#read(key, fits, 'a number above 0', fallback) ?? 1
  }

  /** Any finite number. */
  number(key: string): number {
    return this.#read(key, (value): value is number => typeof value === 'number' && Number.isFinite(value), 'a number', undefined) ?? 0
  }

  /** `length` finite numbers. */
  numbers(key: string, length: number): readonly number[] {
    const fits = (value: unknown): value is number[] =>
      Array.isArray(value) && value.length === length && value.every((each) => typeof each === 'number' && Number.isFinite(each))
    return this.#read(key, fits, `a list of ${length} numbers`, undefined) ?? []
  }

  flag(key: string, fallback: boolean): boolean {
    return this.#read(key, (value): value is boolean => typeof value === 'boolean', 'true or false', fallback) ?? fallback
  }

  text(key: string, fallback?: string): string {
    return this.#read(key, (value): value is string => typeof value === 'string', 'a text', fallback) ?? ''
  }

  choice<T extends string>(key: string, allowed: readonly T[], fallback?: T): T {
    const fits = (value: unknown): value is T => (allowed as readonly unknown[]).includes(value)
    return this.#read(key, fits, `one of ${allowed.map((name) => `"${name}"`).join(', ')}`, fallback) ?? allowed[0]!
  }

  /** One number for a square, or [height, width]. */
  size(key: string, fallback?: number): Size {
    const side = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 16384
    const fits = (value: unknown): value is number | number[] =>
      side(value) || (Array.isArray(value) && value.length === 2 && value.every(side))
    const value = this.#read(key, fits, 'a whole number, or [height, width]', fallback) ?? 1
    return typeof value === 'number' ? { height: value, width: value } : { height: value[0]!, width: value[1]! }
  }

  activation(key: string, fallback?: Activation): Activation {
    const name = this.text(key, fallback)
    const known = Object.hasOwn(activationNames, name) ? activationNames[name] : undefined
    if (known === undefined && this.has(key)) this.unsupported(`the activation function "${name}" (${this.#path}${key})`)
    return known ?? 'gelu'
  }

  /** Refuses any value but those allowed: what is not in the list would change the arithmetic. An absent field is fine. */
  require(key: string, allowed: readonly unknown[]): void {
    if (!this.has(key) || allowed.includes(this.#values[key])) return
    this.unsupported(`${this.#path}${key} = ${JSON.stringify(this.#values[key])}`)
  }

  /** Refuses every field that is not listed: the library would refuse it too, or it would change the arithmetic. */
  requireKnown(known: ReadonlySet<string>): void {
    for (const key of this.keys) {
      if (!known.has(key) && this.has(key))
        this.unsupported(`the field ${this.#path}${key} = ${JSON.stringify(this.#values[key])?.slice(0, 80)}`)
    }
  }

  /** A sentence's subject: "`what` is not supported". */
  unsupported(what: string): void {
    this.#unsupported.push(what)
  }

  invalid(key: string, problem: string): void {
    this.#problem(key, problem)
  }

  /** @throws FILE_INVALID, or MODEL_UNSUPPORTED, with everything that was found */
  check(supported: string): void {
    // What is not supported explains what looks invalid (a ResNet's list of layers), not the other way round.
    if (this.#unsupported.length > 0) {
      throw new EngineError('MODEL_UNSUPPORTED', { what: `${this.#file}: ${this.#unsupported.join('; ')}`, supported })
    }
    if (this.#invalid.length > 0) throw new EngineError('FILE_INVALID', { file: this.#file, problem: `${this.#invalid.join('; ')}.` })
  }

  #read<T>(key: string, fits: (value: unknown) => value is T, expected: string, fallback: T | undefined): T | undefined {
    if (!this.has(key)) {
      if (fallback === undefined) this.#problem(key, `is missing; expected ${expected}`)
      return fallback
    }
    const value = this.#values[key]
    if (fits(value)) return value
    this.#problem(key, `is ${JSON.stringify(value)?.slice(0, 80)}; expected ${expected}`)
    return fallback
  }

  #problem(key: string, problem: string): void {
    this.#invalid.push(`${this.#path}${key} ${problem}`)
  }
}

/** `dModel / nHeads`, or a problem where it is not whole. */
export function headWidth(fields: ConfigFields, key: string, { dModel, nHeads }: { dModel: number; nHeads: number }): number {
  if (dModel % nHeads !== 0) fields.invalid(key, `(${nHeads}) does not divide the width ${dModel}`)
  return Math.max(1, Math.floor(dModel / nHeads))
}
