/**
 * Reads a configuration as a library saved it: typed fields, what was decided where they are missing, and everything that is wrong, all at
 * once.
 */

import { EngineError } from '../../errors.js'
import type { PlainData } from '../../io/pickle-values.js'
import type { Resolution, SavedConfig } from './layout.js'

export class SavedFields {
  readonly file: string
  readonly saved: SavedConfig
  readonly #resolutions: Resolution[] = []
  readonly #invalid: string[] = []
  readonly #unsupported: string[] = []

  constructor(file: string, saved: SavedConfig) {
    this.file = file
    this.saved = saved
  }

  get resolutions(): readonly Resolution[] {
    return this.#resolutions
  }

  /** Whether the file has the field, be it null. */
  has(key: string): boolean {
    return Object.hasOwn(this.saved, key)
  }

  raw(key: string): PlainData | undefined {
    return this.has(key) ? this.saved[key] : undefined
  }

  text(key: string): string | undefined {
    return this.#typed(key, 'a text', (value) => typeof value === 'string') as string | undefined
  }

  flag(key: string): boolean | undefined {
    return this.#typed(key, 'true or false', (value) => typeof value === 'boolean') as boolean | undefined
  }

  number(key: string): number | undefined {
    return this.#typed(key, 'a number', (value) => typeof value === 'number') as number | undefined
  }

  /** A whole number from 0. */
  index(key: string): number | undefined {
    return this.#typed(key, 'a whole number from 0', (value) => Number.isInteger(value) && (value as number) >= 0) as number | undefined
  }

  section(key: string): SavedConfig {
    const isObject = (value: PlainData) => typeof value === 'object' && value !== null && !Array.isArray(value)
    return (this.#typed(key, 'an object', isObject) ?? {}) as SavedConfig
  }

  /** A size that the weights say: the file may leave it out, and may not contradict it. */
  mustBe(key: string, actual: number, weights: string): void {
    const saved = this.raw(key)
    if (typeof saved === 'number' && saved !== actual) this.invalid(key, `is ${saved}, and ${weights} says ${actual}`)
  }

  resolve(field: string, rule: string): void {
    this.#resolutions.push({ field, rule })
  }

  invalid(key: string, problem: string): void {
    this.#invalid.push(`${key} ${problem}`)
  }

  /** A sentence's subject: "`what` is not supported". */
  unsupported(what: string): void {
    this.#unsupported.push(what)
  }

  /** @throws MODEL_UNSUPPORTED, FILE_INVALID with everything that was found */
  check(supported: string): void {
    if (this.#unsupported.length > 0) {
      throw new EngineError('MODEL_UNSUPPORTED', { what: `${this.file}: ${this.#unsupported.join('; ')}`, supported })
    }
    if (this.#invalid.length > 0) throw new EngineError('FILE_INVALID', { file: this.file, problem: `${this.#invalid.join('; ')}.` })
  }

  /** Undefined when missing or null. */
  #typed(key: string, expected: string, fits: (value: PlainData) => boolean): PlainData | undefined {
    const value = this.raw(key)
    if (value === undefined || value === null) return undefined
    if (fits(value)) return value
    this.invalid(key, `is ${JSON.stringify(value)?.slice(0, 80)}; expected ${expected}`)
    return undefined
  }
}
