/** Adam in WebAssembly: the same bits as one number at a time. */

import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import { afterEach, expect, test, vi } from 'vitest'
import wabt from 'wabt'
import {
  type AdamStep,
  adamUpdateWasm,
  homeLength,
  newArrays,
  pieceLength,
  updateInPieces,
  updateOneByOne,
} from '../../../src/engine/backends/onnxruntime/adam-update.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { float32, scalar, zeros } from '../../../src/engine/tensor.js'
import { onnxruntime } from '../each-backend.js'

test('the bytes are what its text assembles to', async () => {
  const file = new URL('../../../src/engine/backends/onnxruntime/adam-update.wat', import.meta.url)
  const { parseWat } = await wabt()
  const { buffer } = parseWat('adam-update.wat', await readFile(file, 'utf8'), { simd: true }).toBinary({})
  expect(Buffer.from(buffer).toString('base64')).toBe(adamUpdateWasm)
})

const nearPieces = fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: -5, max: 5 })).map(([n, more]) => n * pieceLength + more)
const length = fc.oneof(fc.integer({ min: 0, max: 40 }), nearPieces.map(Math.abs))
/** Any bits: denormals, infinities and NaN as often as their share of all bit patterns; or numbers as they are in training. */
const value = {
  anyBits: fc.integer({ min: 0, max: 0xffffffff }).map((bits) => new Float32Array(Uint32Array.of(bits).buffer)[0]!),
  special: fc.constantFrom(0, -0, 1, -1, 1e-45, -1e-40, 1.1754943508222875e-38, 3.4028234663852886e38, Infinity, -Infinity, Number.NaN),
  usual: fc.float({ min: -2, max: 2, noNaN: true }),
}
const float32s = fc.array(fc.oneof(value.anyBits, value.special, value.usual), { minLength: 16, maxLength: 64 })
const setting = fc.record({
  beta1: fc.constantFrom(0, 0.5, 0.9, 0.999),
  beta2: fc.constantFrom(0, 0.95, 0.999),
  rate: fc.constantFrom(0, 1e-4, Math.fround(0.0031622776), 3e38),
  epsilon: fc.constantFrom(0, 1e-8, Math.fround(1e-7)),
  decay: fc.constantFrom(1, 0.9999, 0),
})

test('numbers of any kind and arrays of any length: the same bits, NaN for NaN', () => {
  fc.assert(
    fc.property(length, fc.tuple(float32s, float32s, float32s, float32s), setting, fc.boolean(), (n, kinds, numbers, isInPlace) => {
      const arrays = () => kinds.map((kind) => Float32Array.from({ length: n }, (_, at) => kind[at % kind.length]!)) as Arrays
      const after = (update: (step: AdamStep<Float32Array>) => void) => {
        const from = arrays()
        const [p, , m, v] = isInPlace ? from : arrays().map((array) => array.fill(7))
        update({ from, to: [p!, m!, v!], ...numbers })
        return Buffer.concat([...from, p!, m!, v!].map(bitsOf))
      }
      expect(after(updateInPieces).equals(after(updateOneByOne))).toBe(true)
    }),
    { numRuns: 300 },
  )
})

test('a parameter at home: the same bits, step after step, and no other arrays than its own are written to', () => {
  const n = homeLength + 2 * pieceLength + 3
  const wave = (seed: number, size: number) => Float32Array.from({ length: n }, (_, at) => size * Math.sin(seed + at * 0.7))
  const numbers = { beta1: 0.9, beta2: 0.999, rate: 0.01, epsilon: 1e-8, decay: 0.9999 }
  const uploaded = [wave(1, 1), wave(2, 0.1), wave(3, 0.1).map(Math.abs)] as const
  const kept = uploaded.map((array) => array.slice())
  const [home, elsewhere, plain] = [newArrays(n), newArrays(n), uploaded.map((array) => array.slice()) as unknown as Three]
  for (let step = 0; step < 3; step++) {
    const g = wave(step, 1e-3)
    const [p, m, v] = step === 0 ? uploaded : home
    updateInPieces({ from: [p, g, m, v], to: home, ...numbers })
    updateOneByOne({ from: [plain[0], g, plain[1], plain[2]], to: plain, ...numbers })
    expect(Buffer.concat(home.map(bitsOf)).equals(Buffer.concat(plain.map(bitsOf)))).toBe(true)
  }
  const before = Buffer.concat(home.map(bitsOf))
  const mixed = [elsewhere[0], new Float32Array(n), new Float32Array(n)] as const
  updateInPieces({ from: [home[0], wave(4, 1), home[1], home[2]], to: mixed, ...numbers })
  updateOneByOne({ from: [plain[0], wave(4, 1), plain[1], plain[2]], to: plain, ...numbers })
  expect(Buffer.concat(mixed.map(bitsOf)).equals(Buffer.concat(plain.map(bitsOf)))).toBe(true)
  expect(Buffer.concat(home.map(bitsOf)).equals(before)).toBe(true)
  expect(Buffer.concat(uploaded.map(bitsOf)).equals(Buffer.concat(kept.map(bitsOf)))).toBe(true)
})

test('sessions read a weight where it is at home; what is fetched lies elsewhere and can be transferred', async () => {
  const b = new GraphBuilder('step')
  const shape = [2, homeLength / 2 + 1]
  const [w, m, v] = ['w', 'm', 'v'].map((name) => b.parameter(name, shape)) as [string, string, string]
  const gradient = b.op('Mul', [w, b.constant(scalar(0.25))])
  const numbers = [b.constant(scalar(0.125)), b.constant(scalar(0.5))]
  const made = b.opMany('AdamUpdate', [w, gradient, m, v, ...numbers], { nOutputs: 3, attributes: { beta1: 0.5, beta2: 0.75 } })
  const backend = await onnxruntime.create()
  const program = await backend.compile(b.build(made.map((value, at) => b.named(`next/${'wmv'[at]}`, value))))
  const initial = float32(
    shape,
    Float32Array.from({ length: 2 * shape[1]! }, (_, at) => Math.sin(at)),
  )
  const weights = await backend.upload({ w: initial, m: zeros('float32', shape), v: zeros('float32', shape) })
  const plain = [initial.data.slice(), new Float32Array(initial.data.length), new Float32Array(initial.data.length)] as Three
  const writeBack = { w: 'next/w', m: 'next/m', v: 'next/v' }
  for (const fetch of [[], [], ['next/w'], []]) {
    const fetched = await program.run({ inputs: {}, weights, fetch, writeBack })
    const g = plain[0].map((value) => 0.25 * value)
    updateOneByOne({ from: [plain[0], g, plain[1], plain[2]], to: plain, beta1: 0.5, beta2: 0.75, rate: 0.125, epsilon: 0.5, decay: 1 })
    const read = (await weights.read(['w'])).w!
    for (const tensor of [read, ...Object.values(fetched)]) {
      const bits = structuredClone(tensor.data as Float32Array, { transfer: [tensor.data.buffer as ArrayBuffer] })
      expect(Buffer.from(bitsOf(bits)).equals(bitsOf(plain[0]))).toBe(true)
    }
  }
  await Promise.all([program.dispose(), weights.dispose()])
})

afterEach(() => void vi.unstubAllGlobals())

test('a process that is not granted a memory computes one by one', async () => {
  vi.stubGlobal('WebAssembly', {
    Memory: class {
      constructor() {
        throw new RangeError('could not allocate memory')
      }
    },
  })
  vi.resetModules()
  const without = await import('../../../src/engine/backends/onnxruntime/adam-update.js')
  const [p, m, v] = without.newArrays(homeLength)
  const from = [p.fill(1), new Float32Array(homeLength).fill(2), m.fill(3), v.fill(4)] as Arrays
  without.updateInPieces({ from, to: [p, m, v], beta1: 0.5, beta2: 0.25, rate: 1, epsilon: 0.5, decay: 1 })
  expect([p[0], m[homeLength - 1], v[1]]).toEqual([Math.fround(1 - 3.5 / (Math.sqrt(5) + 0.5)), 3.5, 5])
})

type Three = [Float32Array, Float32Array, Float32Array]
type Arrays = [Float32Array, Float32Array, Float32Array, Float32Array]

/** A NaN's sign and payload are the processor's business. */
function bitsOf(array: Float32Array): Uint8Array {
  return new Uint8Array(array.map((value) => (Number.isNaN(value) ? Number.NaN : value)).buffer)
}
