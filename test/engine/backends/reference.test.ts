import { describe, expect, test } from 'vitest'
import { erf } from '../../../src/engine/backends/reference/erf.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { float32, scalar, type Tensor, tensor } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { reference, referenceFloat64, runOnce } from '../each-backend.js'
import { block, feedsFor } from '../graph/small-graphs.js'

// erf(x) by mpmath at 30 digits, to the nearest float64.
test.each([
  [0, 0],
  [1e-10, 1.1283791670955126e-10],
  [0.5, 0.5204998778130465],
  [1, 0.8427007929497149],
  [2.4, 0.999311486103355],
  [2.6, 0.9997639655834707],
  [-3, -0.9999779095030014],
  [5, 0.9999999999984626],
  [40, 1],
  [Number.NEGATIVE_INFINITY, -1],
])('erf(%d) is %d', (x, expected) => {
  expect(Math.abs(erf(x) - expected)).toBeLessThanOrEqual(2e-15 * Math.abs(expected))
})

describe('in float64', () => {
  test('a graph written in float32 computes in float64 throughout, fed with either', async () => {
    const builder = new GraphBuilder('third')
    const x = builder.input('x', 'float32', [1])
    const graph = builder.build([builder.op('Div', [builder.op('Cast', [x], { to: 'float32' }), builder.constant(scalar(3))])])
    const precise = await referenceFloat64.create()
    const third = { dtype: 'float64', shape: [1], data: Float64Array.of(1 / 3) }
    for (const one of [float32([1], [1]), tensor('float64', [1], Float64Array.of(1))]) {
      expect((await runOnce(precise, graph, { inputs: { x: one } }))[graph.outputs[0]!]).toEqual(third)
    }
    const plain = await runOnce(await reference.create(), graph, { inputs: { x: float32([1], [1]) } })
    expect(plain[graph.outputs[0]!]).toEqual(float32([1], [1 / 3]))
  })

  test('what float32 loses is rounding: a whole block differs by 1e-6 of its scale', async () => {
    const graph = block()
    const feeds = feedsFor(graph, { batch: 2, seed: 1 })
    const [rounded, precise] = [
      await runOnce(await reference.create(), graph, feeds),
      await runOnce(await referenceFloat64.create(), graph, feeds),
    ]
    const output = graph.outputs[0]!
    expect(rounded[output]).toBeCloseTensor(precise[output]!, { tolerance: 1e-6 })
    expect(Array.from((precise[output] as Tensor<'float64'>).data)).not.toEqual(Array.from((rounded[output] as Tensor<'float32'>).data))
  })
})
