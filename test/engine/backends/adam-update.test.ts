/** Adam in WebAssembly: the same bits as one number at a time. */

import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import wabt from 'wabt'
import {
  type AdamStep,
  adamUpdateWasm,
  pieceLength,
  updateInPieces,
  updateOneByOne,
} from '../../../src/engine/backends/onnxruntime/adam-update.js'

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

type Arrays = [Float32Array, Float32Array, Float32Array, Float32Array]

/** A NaN's sign and payload are the processor's business. */
function bitsOf(array: Float32Array): Uint8Array {
  return new Uint8Array(array.map((value) => (Number.isNaN(value) ? Number.NaN : value)).buffer)
}
