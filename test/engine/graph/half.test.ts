import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { onProvider } from '../../../src/engine/backends/onnxruntime/backend.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { differentiate } from '../../../src/engine/graph/differentiate.js'
import { expose } from '../../../src/engine/graph/edit.js'
import { halve, toFloat16 } from '../../../src/engine/graph/half.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import { onnxFile, toOnnx } from '../../../src/engine/graph/to-onnx.js'
import { float32, int64, scalar } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { onnxruntime, reference, runOnce } from '../each-backend.js'
import { roundHalves, roundNumber } from './rounded-halves.js'
import { block, feedsFor, programs } from './small-graphs.js'

const inHalf = (memory: 'host' | 'session' = 'host') =>
  onProvider(
    { options: () => 'cpu', memory, precisions: ['float32', 'float16'] },
    { device: 'cpu', intraOpThreads: 1, deviceBytes: 2 ** 20, precision: 'float16' },
  )

/** The number that 16 bits stand for. */
function numberOf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 0x3ff]
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15))
}

describe('numbers in float16', () => {
  const nearest = (value: number) => numberOf(toFloat16(Float32Array.of(value))[0]!)

  test('that float16 has stay as they are, all 65536', () => {
    for (let bits = 0; bits < 2 ** 16; bits++) {
      const value = numberOf(bits)
      expect(Object.is(nearest(value), value) || Number.isNaN(value), `bits ${bits}`).toBe(true)
      if (Number.isNaN(value)) expect(nearest(value)).toBeNaN()
    }
  })

  test('are the nearest, ties to even; beyond the largest, infinity', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, min: -65519, max: 65519 }), (value) => {
        const [bits] = toFloat16(Float32Array.of(value))
        const size = bits! & 0x7fff
        const off = Math.abs(numberOf(bits!) - value)
        for (const other of [size - 1, size + 1].filter((each) => each >= 0 && each < 0x7c00)) {
          const distance = Math.abs(numberOf((bits! & 0x8000) | other) - value)
          expect(off < distance || (off === distance && size % 2 === 0)).toBe(true)
        }
      }),
    )
    expect([65519, 65520, -1e9, 2 ** -25, 3 * 2 ** -25, -0].map(nearest)).toEqual([65504, Infinity, -Infinity, 0, 2 ** -23, -0])
  })

  test('that lie in the middle of a larger array are read where they are', () => {
    expect([...toFloat16(Float32Array.of(9, 1, -2).subarray(1))]).toEqual([0x3c00, 0xc000])
    expect(toFloat16(new Float32Array(0))).toHaveLength(0)
  })
})

describe('a graph in float16', () => {
  test('computes products with weights in it, and the residual stream, norms and products of activations in float32', () => {
    const graph = block()
    const { types } = halve(graph, { types: inferTypes(graph), holds: () => false })
    const isHalf = (value: string) => types.get(value)?.dtype === 'float16'
    expect(['hook_pre', 'hook_post'].map(isHalf)).toEqual([true, true])
    expect(['hook_resid_pre', 'ln.hook_normalized', 'normed', 'hook_resid_post', 'x'].map(isHalf)).toEqual([
      false,
      false,
      false,
      false,
      false,
    ])
    const b = new GraphBuilder('scores')
    const [q, k] = [b.input('q', 'float32', [2, 2]), b.input('k', 'float32', [2, 2])]
    const scores = b.build([b.op('Softmax', [b.op('MatMul', [q, k])])])
    expect(halve(scores, { types: inferTypes(scores), holds: () => false }).graph).toEqual(scores)
  })

  test('has float32 at its ends, and literals that float16 has no number for', async () => {
    const b = new GraphBuilder('large')
    const product = b.op('MatMul', [b.input('x', 'float32', ['batch', 2]), b.parameter('w', [2, 2])])
    const graph = b.build([b.named('y', b.op('Add', [product, b.constant(scalar(1e6))])), b.named('z', product)])
    const backend = await inHalf()
    const weights = { w: float32([2, 2], [1, 0, 0, 1]) }
    const { y, z } = await runOnce(backend, graph, { inputs: { x: float32([1, 2], [1, 2]) }, weights })
    expect([y!.dtype, Array.from(y!.data as Float32Array), Array.from(z!.data as Float32Array)]).toEqual([
      'float32',
      [1000001, 1000002],
      [1, 2],
    ])
  })

  test('holds weights in half the bytes, moved ones, too', () => {
    const b = new GraphBuilder('moved')
    const w = b.op('Transpose', [b.op('Reshape', [b.parameter('w', [64, 64]), b.constant(int64([2], [32, 128]))])], { perm: [1, 0] })
    const graph = b.build([b.op('MatMul', [b.input('x', 'float32', ['batch', 128]), w])])
    const held = { holds: () => true }
    const [whole, half] = [onnxFile(graph, held), onnxFile(graph, { ...held, inHalf: true })]
    expect(whole.byteLength - half.byteLength).toBeGreaterThan(2 * 64 * 64 - 500)
    expect(half.parts.find((part) => 'parameter' in part)).toMatchObject({ byteLength: 2 * 64 * 64, inHalf: true })
  })

  test('computes the same numbers whatever is read of it', async () => {
    const backend = await onnxruntime.create()
    await fc.assert(
      fc.asyncProperty(programs, fc.nat(100), async (graph, seed) => {
        const feeds = feedsFor(graph, { batch: 2, seed })
        const names = graph.hookPoints.map(({ name }) => name)
        const [plain, all] = [
          await runOnce(backend, roundHalves(graph), feeds),
          await runOnce(backend, roundHalves(expose(graph, names)), feeds),
        ]
        for (const output of graph.outputs) expect(all[output]).toEqual(plain[output])
      }),
      { numRuns: 40 },
    )
  })

  test('is as near to float32 as values rounded to 11 bits are, whether weights are fed or held', async () => {
    const [plain, fed, held] = [await reference.create(), await inHalf(), await inHalf('session')]
    for (let seed = 0; seed < 10; seed++) {
      const graph = block(seed % 2 ? 'fused' : 'written out')
      const feeds = feedsFor(graph, { batch: 3, seed })
      const exact = await runOnce(plain, graph, feeds)
      const others = [await runOnce(plain, roundHalves(graph), feeds), await runOnce(fed, graph, feeds), await runOnce(held, graph, feeds)]
      for (const output of graph.outputs) {
        for (const other of others) {
          expect(other[output]).toBeCloseTensor(exact[output]!, { tolerance: 5e-3 })
          expect(other[output]).not.toEqual(exact[output])
        }
      }
    }
    expect([1, 1.0001, 2049, -Math.PI].map(roundNumber)).toEqual([1, 1, 2048, -3.140625])
  })

  test('that has gradients stays in float32', async () => {
    const graph = differentiate(block(), block().outputs[0]!, ['hook_resid_pre'])
    const feeds = feedsFor(graph, { batch: 2, seed: 1 })
    const [half, whole] = [await runOnce(await inHalf(), graph, feeds), await runOnce(await onnxruntime.create(), graph, feeds)]
    expect(half).toEqual(whole)
  })

  test('is written as before where float16 is not asked for', () => {
    expect(toOnnx(block(), { inHalf: false })).toEqual(toOnnx(block()))
  })
})
