/**
 * Tensors in JSON: `{ shape, dtype, data }` with nested arrays, or with `"encoding": "base64"` and the elements' little-endian bytes.
 *
 * JSON has neither NaN nor infinities, and a `null` in their place would be read as zero or dropped: they are written as the strings "NaN",
 * "Infinity" and "-Infinity". 64-bit integers that a double cannot hold are decimal strings, booleans are `true` and `false`. Every value
 * then survives the way there and back, but for the sign of a negative zero and the payload of a NaN, which base64 keeps.
 */

import { EngineError, type Problem } from '../errors.js'
import { type ArrayOf, allocate, bytesPerElement, type DType, elementCount, type Tensor } from '../tensor.js'
import { checkedElementCount, decodeElements, tensorBytes } from './element-types.js'

export type JsonElement = number | boolean | 'NaN' | 'Infinity' | '-Infinity' | (string & {})

/** As deep as the shape has axes; a scalar is the element itself. */
export type NestedElements = JsonElement | readonly NestedElements[]

export type JsonTensor =
  | { readonly shape: readonly number[]; readonly dtype: DType; readonly data: NestedElements }
  | { readonly shape: readonly number[]; readonly dtype: DType; readonly encoding: 'base64'; readonly data: string }

const fields = ['shape', 'dtype', 'encoding', 'data']
const maxRank = 16
const maxProblems = 20

/** A tensor as JSON data; by default its elements as nested arrays. */
export function toJsonTensor(tensor: Tensor, encoding: 'nested' | 'base64' = 'nested'): JsonTensor {
  const { shape, dtype } = tensor
  if (encoding === 'nested') return { shape, dtype, data: nest(tensor) }
  const bytes = tensorBytes(tensor)
  return { shape, dtype, encoding, data: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64') }
}

/**
 * A tensor from JSON data that may be wrong in any way; nothing is converted silently.
 *
 * @param path  where the value stands in the request, for errors: `edits[0].value`
 * @throws INPUT_INVALID with every problem found, each with its path
 */
export function fromJsonTensor(value: unknown, path: string): Tensor {
  const problems: Problem[] = []
  const report = (at: string, message: string) => {
    if (problems.length < maxProblems) problems.push({ path: at, message })
  }
  const tensor = parse(value, path, report)
  const [first] = problems
  if (first !== undefined) throw new EngineError('INPUT_INVALID', { path: first.path, problem: first.message }, problems)
  return tensor!
}

type Report = (path: string, message: string) => void

function parse(value: unknown, path: string, report: Report): Tensor | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    report(path, `is ${nameOf(value)}; expected a tensor, { "shape", "dtype", "data" }.`)
    return undefined
  }
  const { shape, dtype, encoding, data } = value as Record<string, unknown>
  for (const field of Object.keys(value)) {
    if (!fields.includes(field)) report(`${path}.${field}`, `is not a field of a tensor; the fields are ${fields.join(', ')}.`)
  }
  const known = typeof dtype === 'string' && Object.hasOwn(bytesPerElement, dtype)
  if (!known) report(`${path}.dtype`, `is ${nameOf(dtype)}; expected one of ${Object.keys(bytesPerElement).join(', ')}.`)
  const count = Array.isArray(shape) && shape.length <= maxRank ? checkedElementCount(shape) : undefined
  if (count === undefined) report(`${path}.shape`, `is ${nameOf(shape)}; expected a list of at most ${maxRank} lengths.`)
  if (encoding !== undefined && encoding !== 'base64')
    report(`${path}.encoding`, `is ${nameOf(encoding)}; expected "base64", or no encoding for nested arrays.`)
  if (!known || count === undefined || (encoding !== undefined && encoding !== 'base64')) return undefined

  const description = { dtype: dtype as DType, shape: [...(shape as number[])] }
  const elements =
    encoding === 'base64' ? fromBase64(description, data, `${path}.data`, report) : fromNested(description, data, `${path}.data`, report)
  return elements === undefined ? undefined : { ...description, data: elements }
}

interface Description {
  readonly dtype: DType
  readonly shape: readonly number[]
}

function fromBase64({ dtype, shape }: Description, data: unknown, path: string, report: Report): ArrayOf[DType] | undefined {
  if (typeof data !== 'string') {
    report(path, `is ${nameOf(data)}; expected base64 text.`)
    return undefined
  }
  // Node's own decoder skips whatever is not base64.
  if (data.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(data)) {
    report(path, 'is not base64 (RFC 4648, section 4, with padding).')
    return undefined
  }
  const bytes = Buffer.from(data, 'base64')
  const needed = elementCount(shape) * bytesPerElement[dtype]
  if (bytes.length !== needed) {
    report(path, `has ${bytes.length} bytes; shape [${shape.join(', ')}] of ${dtype} needs ${needed}.`)
    return undefined
  }
  if (dtype === 'bool' && bytes.some((byte) => byte > 1)) {
    report(path, 'has a boolean that is neither 0 nor 1.')
    return undefined
  }
  // Small buffers are slices of a pool that other data shares.
  return decodeElements(dtype, dtype, new Uint8Array(bytes))
}

function fromNested({ dtype, shape }: Description, data: unknown, path: string, report: Report): ArrayOf[DType] | undefined {
  // The elements must be there before room is made for them: the shape alone may claim anything.
  if (!hasLengths(data, { shape, axis: 0, path, report })) return undefined
  const target = allocate(dtype, elementCount(shape))
  const read = readElement[dtype]
  let at = 0
  const fill = (value: unknown, axis: number, path: string) => {
    if (axis < shape.length) {
      const items = value as unknown[]
      for (let i = 0; i < items.length; i++) fill(items[i], axis + 1, path)
      return
    }
    const element = read(value)
    if (typeof element === 'string') report(`${path}${indexOf(at, shape)}`, element)
    else target[at] = element as never
    at++
  }
  fill(data, 0, path)
  return target
}

/** Whether nested arrays have exactly the lengths of `shape`; reports each that has not. */
function hasLengths(
  value: unknown,
  { shape, axis, path, report }: { shape: readonly number[]; axis: number; path: string; report: Report },
): boolean {
  if (axis === shape.length) return true
  if (!Array.isArray(value)) {
    report(path, `is ${nameOf(value)}; expected a list of ${shape[axis]} (axis ${axis} of shape [${shape.join(', ')}]).`)
    return false
  }
  if (value.length !== shape[axis]) {
    report(path, `has ${value.length} items; expected ${shape[axis]} (axis ${axis} of shape [${shape.join(', ')}]).`)
    return false
  }
  if (axis === shape.length - 1) return true
  let valid = true
  for (let i = 0; i < value.length; i++) {
    if (!hasLengths(value[i], { shape, axis: axis + 1, path: `${path}[${i}]`, report })) valid = false
  }
  return valid
}

/** `[1][0][2]` for a flat index. */
function indexOf(at: number, shape: readonly number[]): string {
  let text = ''
  let rest = at
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    text = `[${rest % shape[axis]!}]${text}`
    rest = Math.floor(rest / shape[axis]!)
  }
  return text
}

/** Each dtype's element from JSON: its value, or a sentence that says what is wrong. */
const readElement: { readonly [D in DType]: (value: unknown) => number | bigint | string } = {
  float64: readFloat,
  float32: (value) => {
    const number = readFloat(value)
    if (typeof number === 'number' && Number.isFinite(number) && !Number.isFinite(Math.fround(number)))
      return `is ${number}, beyond the range of float32.`
    return number
  },
  int64: (value) => {
    const integer =
      typeof value === 'string' && /^-?\d{1,19}$/.test(value)
        ? BigInt(value)
        : typeof value === 'number' && Number.isSafeInteger(value)
          ? BigInt(value)
          : undefined
    if (integer === undefined) return `is ${nameOf(value)}; expected an integer (as text where it is beyond 2^53).`
    return BigInt.asIntN(64, integer) === integer ? integer : `is ${integer}, beyond the range of int64.`
  },
  int32: (value) => readInteger(value, -(2 ** 31), 2 ** 31 - 1),
  uint8: (value) => readInteger(value, 0, 255),
  bool: (value) => (typeof value === 'boolean' ? Number(value) : `is ${nameOf(value)}; expected true or false.`),
}

function readFloat(value: unknown): number | string {
  if (typeof value === 'number') return value
  if (value === 'NaN' || value === 'Infinity' || value === '-Infinity') return Number(value)
  return `is ${nameOf(value)}; expected a number, or "NaN", "Infinity" or "-Infinity".`
}

function readInteger(value: unknown, min: number, max: number): number | string {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
  return `is ${nameOf(value)}; expected an integer from ${min} to ${max}.`
}

/** A JSON value as an error shows it. */
function nameOf(value: unknown): string {
  if (value === undefined) return 'missing'
  if (value === null || typeof value === 'boolean' || typeof value === 'number') return String(value)
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
  return Array.isArray(value) ? `a list of ${value.length}` : 'an object'
}

// --- writing

function nest({ shape, dtype, data }: Tensor): NestedElements {
  const element = elementWriter(dtype)
  let at = 0
  const build = (axis: number): NestedElements => {
    if (axis === shape.length) return element(data[at++]!)
    const length = shape[axis]!
    const items = new Array<NestedElements>(length)
    if (axis === shape.length - 1) for (let i = 0; i < length; i++) items[i] = element(data[at++]!)
    else for (let i = 0; i < length; i++) items[i] = build(axis + 1)
    return items
  }
  return build(0)
}

function elementWriter(dtype: DType): (value: number | bigint) => JsonElement {
  switch (dtype) {
    case 'bool':
      return (value) => value !== 0
    case 'int64':
      return (value) => (Number.isSafeInteger(Number(value)) ? Number(value) : String(value))
    case 'float32':
    case 'float64':
      return (value) => (Number.isFinite(value) ? (value as number) : String(value))
    default:
      return (value) => value as number
  }
}
