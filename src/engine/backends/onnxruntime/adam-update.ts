/**
 * The numbers of one step of Adam, over arrays of this process (see `AdamUpdate` in graph/operators/updates.ts). WebAssembly divides and takes
 * roots of two numbers at a time; JavaScript does one.
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
  'AGFzbQEAAAABCgFgBn98fHx8fAADAgEABQMBAAEHEwIGbWVtb3J5AgAGdXBkYXRlAAAKrwEBrAECAn8DeyAAQQJ0IQcDQCAG/V0DgIAB/V8hCCAB/RQgBv1dA4CAAv1f/fIBIAj98AEhCSAC/RQgBv1dA4CAA/1f/fIBIAggCP3yAf3wASEKIAYgCf1e/VsDgIACACAGIAr9Xv1bA4CAAwAgBiAF/RQgBv1dAwD9X/3yASAD/RQgCf3yASAK/e8BIAT9FP3wAf3zAf3xAf1e/VsDAAAgBkEIaiEGIAYgB0kNAAsL'

/** What Node has and its types lack. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object) => { readonly exports: unknown }
}

interface Assembled {
  readonly memory: { readonly buffer: ArrayBuffer }
  readonly update: (n: number, beta1: number, beta2: number, rate: number, epsilon: number, decay: number) => void
}

const { memory, update } = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(adamUpdateWasm, 'base64'))).exports as Assembled
/** Elements of an array that its memory has room for: so few that they stay in the processor's nearest caches between their copies. */
export const pieceLength = 4096
const [pieceOfP, pieceOfG, pieceOfM, pieceOfV] = [0, 1, 2, 3].map(
  (quarter) => new Float32Array(memory.buffer, 4 * pieceLength * quarter, pieceLength),
) as [Float32Array, Float32Array, Float32Array, Float32Array]

/** The same numbers as one by one, bit by bit, in a third of the time. */
export function updateInPieces({ from: [p, g, m, v], to: [nextP, nextM, nextV], ...step }: AdamStep<Float32Array>): void {
  for (let from = 0; from < p.length; from += pieceLength) {
    const to = Math.min(from + pieceLength, p.length)
    pieceOfP.set(p.subarray(from, to))
    pieceOfG.set(g.subarray(from, to))
    pieceOfM.set(m.subarray(from, to))
    pieceOfV.set(v.subarray(from, to))
    update(to - from, step.beta1, step.beta2, step.rate, step.epsilon, step.decay)
    nextP.set(pieceOfP.subarray(0, to - from), from)
    nextM.set(pieceOfM.subarray(0, to - from), from)
    nextV.set(pieceOfV.subarray(0, to - from), from)
  }
}

/** One pass: each element is read and written once. */
export function updateOneByOne({ from: [p, g, m, v], to: [nextP, nextM, nextV], ...step }: AdamStep<Floats>): void {
  const { beta1, beta2, rate, epsilon, decay } = step
  for (let at = 0; at < p.length; at++) {
    const gradient = g[at]!
    const moment = beta1 * m[at]! + gradient
    const square = beta2 * v[at]! + gradient * gradient
    nextM[at] = moment
    nextV[at] = square
    nextP[at] = decay * p[at]! - (rate * moment) / (Math.sqrt(square) + epsilon)
  }
}
