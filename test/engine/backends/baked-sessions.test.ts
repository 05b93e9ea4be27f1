/** Sessions that hold weights, as CUDA has them; here on the CPU. */

import { describe, expect, test } from 'vitest'
import { onProvider } from '../../../src/engine/backends/onnxruntime/backend.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { float32, scalar } from '../../../src/engine/tensor.js'

const provider = { options: () => 'cpu', memory: 'session', precisions: ['float32'] } as const
const open = (deviceBytes?: number) =>
  onProvider(provider, { device: 'cpu', intraOpThreads: 1, ...(deviceBytes !== undefined && { deviceBytes }) })

/** next = w + x; product = w v */
function graph() {
  const b = new GraphBuilder('g')
  const [w, v] = [b.parameter('w', [2]), b.parameter('v', [2])]
  const next = b.named('next', b.op('Add', [w, b.input('x', 'float32', [])]))
  return b.build([next, b.named('product', b.op('Mul', [w, v]))])
}

const inputs = { x: scalar(1) }
const weightsOf = (w: number) => ({ w: float32([2], [w, w]), v: float32([2], [1, 2]) })

describe('weights that sessions hold', () => {
  test('are those of the upload that is run, whichever it was before', async () => {
    const backend = await open()
    const program = await backend.compile(graph())
    const [one, two] = [await backend.upload(weightsOf(1)), await backend.upload(weightsOf(2))]
    for (const [weights, expected] of [
      [one, [1, 2]],
      [two, [2, 4]],
      [one, [1, 2]],
    ] as const) {
      expect(Array.from((await program.run({ inputs, weights, fetch: ['product'] })).product!.data as Float32Array)).toEqual(expected)
    }
    await program.dispose()
  })

  test('that are written are fed from then on, and the next run reads what was written', async () => {
    const backend = await open()
    const program = await backend.compile(graph())
    const weights = await backend.upload(weightsOf(1))
    for (let run = 0; run < 3; run++) await program.run({ inputs, weights, fetch: [], writeBack: { w: 'next' } })
    const { product } = await program.run({ inputs, weights, fetch: ['product'] })
    expect(Array.from(product!.data as Float32Array)).toEqual([4, 8])
    await program.dispose()
  })

  test('of several uploads together are told apart by what they are, not by how they were put together', async () => {
    const backend = await open()
    const program = await backend.compile(graph())
    const [w, v, other] = await Promise.all([
      backend.upload({ w: float32([2], [3, 3]) }),
      backend.upload({ v: float32([2], [1, 2]) }),
      backend.upload({ v: float32([2], [5, 6]) }),
    ])
    const product = async (part: typeof v) => {
      const weights = backend.combine([w, part].map((weights) => ({ prefix: '', weights })))
      return Array.from((await program.run({ inputs, weights, fetch: ['product'] })).product!.data as Float32Array)
    }
    expect([await product(v), await product(other), await product(v)]).toEqual([
      [3, 6],
      [15, 18],
      [3, 6],
    ])
    await program.dispose()
  })

  test('beyond the budget are fed, or take the place of those that were used least recently', async () => {
    for (const bytes of [0, 16, 40]) {
      const backend = await open(bytes)
      const programs = [await backend.compile(graph()), await backend.compile(graph())]
      const uploads = [await backend.upload(weightsOf(1)), await backend.upload(weightsOf(2))]
      const all = programs.flatMap((program) => uploads.map((weights) => ({ program, weights })))
      for (let round = 0; round < 2; round++) {
        const products = await Promise.all(all.map(({ program, weights }) => program.run({ inputs, weights, fetch: ['product'] })))
        expect(products.map(({ product }) => Array.from(product!.data as Float32Array))).toEqual([
          [1, 2],
          [2, 4],
          [1, 2],
          [2, 4],
        ])
      }
      await Promise.all(programs.map((program) => program.dispose()))
    }
  })
})
