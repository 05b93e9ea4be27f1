/**
 * What unpickling can make here: plain data and inert objects. Nothing in it can act; a pickled class is at most a name with the state
 * that was stored for it.
 */

export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  /** A list or a tuple. */
  | PickleValue[]
  | PickleMap
  | Set<PickleValue>
  | PickleObject

export interface PickleMap extends Map<PickleValue, PickleValue> {}

/** Everything else, told apart by `kind`. Readers add kinds of their own (a tensor, a storage). */
export interface PickleObject {
  readonly kind: string
}

/** A name that a pickle refers to, such as `collections.OrderedDict`: a name and no more. */
export interface PickleGlobal extends PickleObject {
  readonly kind: 'global'
  readonly path: string
}

/** An object of a class that is not run here: the class's name, what it was constructed from, and the state stored for it. */
export interface PickleRecord extends PickleObject {
  readonly kind: 'record'
  readonly class: string
  readonly args: readonly PickleValue[]
  state: PickleValue
  /** What it contains, when its class derives from a list or a dictionary. */
  items?: PickleValue[] | PickleMap
}

/** A pickle that is damaged, or that asks for more than is given. */
export class PickleError extends Error {}

export function isPickleObject(value: PickleValue | undefined): value is PickleObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && 'kind' in value
}

export function isRecord(value: PickleValue): value is PickleRecord {
  return isPickleObject(value) && value.kind === 'record'
}

export function isGlobal(value: PickleValue | undefined): value is PickleGlobal {
  return isPickleObject(value) && value.kind === 'global'
}

export function makeRecord(className: string, args: readonly PickleValue[]): PickleRecord {
  return { kind: 'record', class: className, args, state: null }
}

export function isCount(value: PickleValue | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

/** The items of a list, tuple or set. @throws PickleError when it is none */
export function listOf(value: PickleValue | undefined): readonly PickleValue[] {
  if (value instanceof Set) return [...value]
  if (!Array.isArray(value)) throw new PickleError('the pickle has something else where a list belongs')
  return value
}

/** Plain data as it is shown and stored: what JSON has, and big integers as decimal strings. */
export type PlainData = null | boolean | number | string | readonly PlainData[] | { readonly [key: string]: PlainData }

export interface PlainDataOptions {
  /** Shows an object of a kind that only the caller knows; undefined to show its kind. */
  readonly show?: (object: PickleObject) => PlainData | undefined
  /** Values, and characters of text, in all: a pickle says a lot by referring to the same list again and again. */
  readonly maxNodes?: number
  readonly maxTextLength?: number
}

const maxDepth = 100
const maxShownKeyParts = 8

/**
 * A pickled value as plain data: maps become objects without a prototype, bytes become `{ bytes: length }`, records
 * `{ class, args, state, items }` without what is empty, NaN and the infinities their names.
 *
 * @throws RangeError when it refers to itself, is nested too deeply, or is too large to be written out
 */
export function plainData(value: PickleValue, options: PlainDataOptions = {}): PlainData {
  const { show, maxNodes = 2_000_000, maxTextLength = 2 ** 24 } = options
  let nNodes = 0
  let textLength = 0
  const counted = (text: string): string => {
    textLength += text.length
    if (textLength > maxTextLength) throw new RangeError(`it has more than ${maxTextLength} characters of text`)
    return text
  }
  const convert = (value: PickleValue, depth: number): PlainData => {
    if (++nNodes > maxNodes) throw new RangeError(`it has more than ${maxNodes} values`)
    if (depth > maxDepth) throw new RangeError(`it is nested more than ${maxDepth} levels deep or contains itself`)
    if (value === null || typeof value === 'boolean') return value
    if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
    if (typeof value === 'string') return counted(value)
    if (typeof value === 'bigint') return counted(value.toString())
    if (value instanceof Uint8Array) return { bytes: value.byteLength }
    if (Array.isArray(value)) return value.map((item) => convert(item, depth + 1))
    if (value instanceof Set) return [...value].map((item) => convert(item, depth + 1))
    if (value instanceof Map) {
      const object: Record<string, PlainData> = Object.create(null)
      for (const [key, item] of value) object[counted(keyText(key))] = convert(item, depth + 1)
      return object
    }
    if (isRecord(value)) {
      return {
        class: value.class,
        ...(value.args.length > 0 && { args: convert([...value.args], depth + 1) }),
        ...(value.state !== null && { state: convert(value.state, depth + 1) }),
        ...(value.items !== undefined && { items: convert(value.items, depth + 1) }),
      }
    }
    return show?.(value) ?? (value.kind === 'global' ? (value as PickleGlobal).path : { kind: value.kind })
  }
  return convert(value, 0)
}

/** A map's key as text; keys that are not text or numbers are rare and only need to differ. */
export function keyText(key: PickleValue): string {
  if (typeof key === 'string') return key
  if (Array.isArray(key))
    return `(${key
      .slice(0, maxShownKeyParts)
      .map((item) => (Array.isArray(item) ? '…' : keyText(item)))
      .join(', ')})`
  if (isPickleObject(key)) return key.kind === 'global' ? (key as PickleGlobal).path : key.kind
  return String(key)
}
