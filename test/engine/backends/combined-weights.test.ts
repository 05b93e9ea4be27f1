/** Several uploads fed as one. */

import { describe, expect, test } from 'vitest'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { float32 } from '../../../src/engine/tensor.js'
import { referenceFloat64 } from '../each-backend.js'
import { everyBackend } from './every-backend.js'

/** y = w + sae.w x; next = 2 y */
function graph() {
  const b = new GraphBuilder('combined')
  const x = b.input('x', 'float32', [2])
  const y = b.named('y', b.op('Add', [b.parameter('w', [2]), b.op('Mul', [b.parameter('sae.w', [2]), x])]))
  return b.build([y, b.named('next', b.op('Add', [y, y]))])
}

const x = float32([2], [1, 2])

describe.each([...everyBackend, referenceFloat64])('weights combined on %s', async (underTest) => {
  const backend = await underTest.create()
  const setUp = async () => {
    const [program, model, sae] = await Promise.all([
      backend.compile(graph()),
      backend.upload({ w: float32([2], [10, 20]) }),
      backend.upload({ w: float32([2], [3, 4]), other: float32([1], [7]) }),
    ])
    const weights = backend.combine([
      { prefix: '', weights: model },
      { prefix: 'sae.', weights: sae },
    ])
    return { program, model, sae, weights }
  }
  const numbers = (tensor: { data: unknown } | undefined) => [...(tensor!.data as Float32Array)]

  test('are read under their prefixes, and stay when the combination is disposed of', async () => {
    const { program, weights, model, sae } = await setUp()
    expect([...weights.names]).toEqual(['w', 'sae.w', 'sae.other'])
    expect(weights.bytes).toBe(model.bytes + sae.bytes)
    expect(numbers((await program.run({ inputs: { x }, weights, fetch: ['y'] })).y)).toEqual([13, 28])
    await weights.dispose()
    expect(numbers((await sae.read(['w'])).w)).toEqual([3, 4])
    expect(
      numbers(
        (
          await program.run({
            inputs: { x },
            weights: backend.combine([
              { prefix: '', weights: model },
              { prefix: 'sae.', weights: sae },
            ]),
            fetch: ['y'],
          })
        ).y,
      ),
    ).toEqual([13, 28])
  })

  test('what is written to the combination is written to the part, and the other way round', async () => {
    const { program, weights, model, sae } = await setUp()
    await program.run({ inputs: { x }, weights, fetch: [], writeBack: { 'sae.w': 'y', w: 'next' } })
    expect(numbers((await sae.read(['w'])).w)).toEqual([13, 28])
    expect(numbers((await model.read(['w'])).w)).toEqual([26, 56])
    expect(numbers((await weights.read(['sae.w']))['sae.w'])).toEqual([13, 28])
    expect(numbers((await program.run({ inputs: { x }, weights, fetch: ['y'] })).y)).toEqual([39, 112])
  })

  test('two weights of one name, and weights of nobody, are refused', async () => {
    const { model, sae } = await setUp()
    expect(() =>
      backend.combine([
        { prefix: '', weights: model },
        { prefix: '', weights: sae },
      ]),
    ).toThrow('"w"')
    const stranger = { bytes: 0, names: new Set<string>(), read: async () => ({}), async dispose() {} }
    expect(() => backend.combine([{ prefix: '', weights: stranger }])).toThrow('not uploaded')
  })
})
