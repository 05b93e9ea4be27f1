/**
 * The numbers of one step of Adam, over arrays of this process (see `AdamUpdate` in graph/operators/updates.ts). WebAssembly divides and takes
 * roots of two numbers at a time, where JavaScript does one, but only in a memory of its own. So a large parameter and its moments live in one (a
 * `Home`), from where they can be fed to sessions as well; others are carried through one piece by piece.
 */

export type Floats = Float32Array | Float64Array

export interface AdamStep<T extends Floats> {
  /** Parameter, gradient and moments. */
  readonly from: readonly [p: T, g: T, m: T, v: T]
  /** Their new values; each may be the array it was made from. */
  readonly to: readonly [p: T, m: T, v: T]
  readonly beta1: number
  readonly beta2: number
  readonly rate: number
  readonly epsilon: number
  readonly decay: number
}

/** The bytes of `adam-update.wat`, as wabt assembles them; a test compares the two. */
export const adamUpdateWasm =
  'AGFzbQEAAAABDgFgCn9/f39/fHx8fHwAAhABBGhvbWUGbWVtb3J5AgABAwIBAAcKAQZ1cGRhdGUAAAq9AQG6AQIBfwN7IAEgAEECdGohCgNAIAL9XQMA/V8hCyAF/RQgA/1dAwD9X/3yASAL/fABIQwgBv0UIAT9XQMA/V/98gEgCyAL/fIB/fABIQ0gAyAM/V79WwMAACAEIA39Xv1bAwAAIAEgCf0UIAH9XQMA/V/98gEgB/0UIAz98gEgDf3vASAI/RT98AH98wH98QH9Xv1bAwAAIAJBCGohAiADQQhqIQMgBEEIaiEEIAFBCGohASABIApJDQALCw=='

interface Home {
  /** Parameter and moments. */
  readonly arrays: readonly [p: Float32Array, m: Float32Array, v: Float32Array]
  /** Of a piece. */
  readonly gradient: Float32Array
  readonly update: (n: number, ...addressesThenNumbers: readonly number[]) => void
}

/** What Node has and its types lack. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Memory: new (size: { readonly initial: number }) => { readonly buffer: ArrayBuffer }
  readonly Instance: new (module: object, imports: object) => { readonly exports: unknown }
}

/** So few elements that they stay in the processor's nearest caches between their copies. */
export const pieceLength = 4096
/** From where on a parameter has a memory of its own. */
export const homeLength = 2 ** 16
const longestHome = 2 ** 28
const pageBytes = 65536

/** The one that arrays from elsewhere are carried through. */
const guestHouse = homeOf(pieceLength)
/** By the buffer of their arrays. */
const homes = new WeakMap<ArrayBufferLike, Home>()

/** Undefined where the process is not granted one: for each memory 8 GB of addresses are set aside. */
function homeOf(length: number): Home | undefined {
  const room = length + (length % 2)
  try {
    const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * (3 * room + pieceLength)) / pageBytes) })
    const assembled = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(adamUpdateWasm, 'base64')), { home: { memory } })
    const { update } = assembled.exports as Pick<Home, 'update'>
    const array = (at: number) => new Float32Array(memory.buffer, 4 * room * at, length)
    return { arrays: [array(0), array(1), array(2)], gradient: new Float32Array(memory.buffer, 4 * room * 3, pieceLength), update }
  } catch {
    return undefined
  }
}

/** New arrays for a parameter and its moments. They may be such that cannot be transferred to another thread. */
export function newArrays(length: number): AdamStep<Float32Array>['to'] {
  const home = length < homeLength || length > longestHome ? undefined : homeOf(length)
  if (home === undefined) return [new Float32Array(length), new Float32Array(length), new Float32Array(length)]
  homes.set(home.arrays[0].buffer, home)
  return home.arrays
}

/** The same numbers as one by one, bit by bit, in a fifth of the time where the new values are at home and in a third elsewhere. */
export function updateInPieces(step: AdamStep<Float32Array>): void {
  const own = homes.get(step.to[0].buffer)
  if (own?.arrays.every((array, at) => array === step.to[at])) updateIn(own, step)
  else if (guestHouse) updateThrough(guestHouse, step)
  else updateOneByOne(step)
}

function updateIn({ arrays, gradient, update }: Home, { from: [p, g, m, v], ...numbers }: Omit<AdamStep<Float32Array>, 'to'>): void {
  const { beta1, beta2, rate, epsilon, decay } = numbers
  for (const [at, array] of [p, m, v].entries()) if (array !== arrays[at]) arrays[at]!.set(array)
  const [pAt, mAt, vAt] = arrays.map(({ byteOffset }) => byteOffset) as [number, number, number]
  for (let start = 0; start < g.length; start += pieceLength) {
    const piece = g.subarray(start, start + pieceLength)
    gradient.set(piece)
    const byte = 4 * start
    update(piece.length, pAt + byte, gradient.byteOffset, mAt + byte, vAt + byte, beta1, beta2, rate, epsilon, decay)
  }
}

function updateThrough(house: Home, { from: [p, g, m, v], to, ...numbers }: AdamStep<Float32Array>): void {
  for (let start = 0; start < p.length; start += pieceLength) {
    const piece = (array: Float32Array) => array.subarray(start, start + pieceLength)
    updateIn(house, { ...numbers, from: [piece(p), piece(g), piece(m), piece(v)] })
    for (const [at, array] of to.entries()) array.set(house.arrays[at]!.subarray(0, array.length - start), start)
  }
}

/** One pass: each element is read and written once. */
export function updateOneByOne({ from: [p, g, m, v], to: [nextP, nextM, nextV], ...numbers }: AdamStep<Floats>): void {
  const { beta1, beta2, rate, epsilon, decay } = numbers
  for (let at = 0; at < p.length; at++) {
    const gradient = g[at]!
    const moment = beta1 * m[at]! + gradient
    const square = beta2 * v[at]! + gradient * gradient
    nextM[at] = moment
    nextV[at] = square
    nextP[at] = decay * p[at]! - (rate * moment) / (Math.sqrt(square) + epsilon)
  }
}
