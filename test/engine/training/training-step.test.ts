/** Steps of a small linear model: what changes, what does not, and what is refused. */

import { describe, expect, test } from 'vitest'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { validate } from '../../../src/engine/graph/validate.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { prefixed, sideBySide } from '../../../src/engine/training/extend-graph.js'
import { mse } from '../../../src/engine/training/losses.js'
import { type ModelObjective, objectiveGraph } from '../../../src/engine/training/model-objective.js'
import { clamped, unitRows } from '../../../src/engine/training/projections.js'
import { Stepper, type StepperOptions } from '../../../src/engine/training/stepper.js'
import { trainingStep } from '../../../src/engine/training/training-step.js'
import { backends, runOnce } from '../each-backend.js'
import { settings } from './golden.js'

/** loss = mean (x w' - y)^2; `count` goes up by one a step; `offset` is read and never changed. */
function linear() {
  const b = new GraphBuilder('linear')
  const x = b.input('x', 'float32', ['batch', 3])
  const y = b.input('y', 'float32', ['batch', 2])
  const w = b.parameter('w', [2, 3])
  const made = b.op('Add', [b.op('Gemm', [x, w], { transB: 1 }), b.parameter('offset', [2])])
  const next = b.named('count+1', b.op('Add', [b.parameter('count', []), b.constant(float32([], [1]))]))
  return b.build([b.named('loss', mse(b, made, y)), b.named('made', b.op('Identity', [made])), next])
}

const weights = {
  w: float32([2, 3], [0.6, 0, 0.8, 0, 1, 0]),
  offset: float32([2], [0.1, -0.1]),
  count: float32([], [0]),
}
const batch = { x: float32([2, 3], [1, -2, 3, 0.5, 2, -1]), y: float32([2, 2], [1, 2, -1, 0.5]) }
const elements = (tensor: Tensor) => Array.from(tensor.data as Float32Array)

describe.each(backends)('a step on %s', async (underTest) => {
  const backend = await underTest.create()
  const stepper = (options: Partial<StepperOptions> = {}) =>
    Stepper.create({ backend, graph: linear(), loss: 'loss', trainable: ['w'], optimizer: { kind: 'adam' }, weights, ...options })

  test('the first step of Adam moves every parameter by the learning rate, against its gradient', async () => {
    const one = await stepper()
    const { numbers, tensors } = await one.update(batch, 0.01)
    expect(Object.keys(numbers)).toEqual(['loss', 'count+1'])
    expect(Object.keys(tensors[0]!)).toEqual(['made'])
    const { parameters, updates } = await one.snapshot()
    expect(updates).toBe(1)
    const made = elements(tensors[0]!.made!)
    for (let out = 0; out < 2; out++) {
      for (let at = 0; at < 3; at++) {
        const gradient = [0, 1].reduce(
          (sum, row) => sum + (made[row * 2 + out]! - batch.y.data[row * 2 + out]!) * batch.x.data[row * 3 + at]!,
          0,
        )
        const moved = elements(parameters.w!)[out * 3 + at]! - weights.w.data[out * 3 + at]!
        expect(moved).toBeCloseTo(-0.01 * Math.sign(gradient), 5)
      }
    }
    expect(parameters.offset).toEqual(weights.offset)
    expect(parameters.count).toEqual(weights.count)
    await one.dispose()
  })

  test('a learning rate of 0 changes no parameter, with or without decay', async () => {
    for (const optimizer of [{ kind: 'adam' }, { kind: 'adamw', weightDecay: 0.1 }] as const) {
      const one = await stepper({ optimizer, clipNorm: 1 })
      await one.update(batch, 0)
      expect((await one.snapshot()).parameters).toEqual(weights)
      await one.dispose()
    }
  })

  test('decay shrinks what has no gradient; tables and biases only when all are decayed', async () => {
    const b = new GraphBuilder('still')
    for (const [name, shape] of [
      ['w', [2, 2]],
      ['embed.W_E', [2, 2]],
      ['b', [2]],
    ] as const)
      b.parameter(name, [...shape])
    const zero = b.op('Mul', [
      b.op('ReduceSum', [b.op('Add', [b.op('Add', ['w', 'embed.W_E']), 'b'])], { keepdims: 0 }),
      b.constant(float32([], [0])),
    ])
    const graph = b.build([b.named('loss', zero)])
    const ones = { w: float32([2, 2], [1, 1, 1, 1]), 'embed.W_E': float32([2, 2], [1, 1, 1, 1]), b: float32([2], [1, 1]) }
    const after = async (decayed: 'all' | 'matrices') => {
      const optimizer = { kind: 'adamw', weightDecay: 0.5, decayed } as const
      const one = await Stepper.create({ backend, graph, loss: 'loss', trainable: Object.keys(ones), optimizer, weights: ones })
      await one.update({}, 0.1)
      const { parameters } = await one.snapshot()
      await one.dispose()
      return Object.fromEntries(Object.entries(parameters).map(([name, { data }]) => [name, Number((data[0] as number).toFixed(5))]))
    }
    expect(await after('matrices')).toEqual({ w: 0.95, 'embed.W_E': 1, b: 1 })
    expect(await after('all')).toEqual({ w: 0.95, 'embed.W_E': 0.95, b: 0.95 })
  })

  test('unit rows stay at length 1, and their gradient has no part along them', async () => {
    const one = await stepper({ projections: { w: unitRows } })
    for (let step = 0; step < 5; step++) await one.update(batch, 0.1)
    const { parameters, state } = await one.snapshot()
    const rows = [0, 1].map((row) => elements(parameters.w!).slice(row * 3, row * 3 + 3))
    for (const row of rows) expect(Math.hypot(...row)).toBeCloseTo(1, 5)
    const first = await stepper({ projections: { w: unitRows } })
    await first.update(batch, 0)
    const moment = elements((await first.snapshot()).state['adam/m/w']!)
    for (const row of [0, 1]) {
      const along = [0, 1, 2].reduce((sum, at) => sum + moment[row * 3 + at]! * weights.w.data[row * 3 + at]!, 0)
      expect(along).toBeCloseTo(0, 5)
    }
    expect(Object.keys(state)).toEqual(['adam/m/w', 'adam/v/w'])
    await Promise.all([one.dispose(), first.dispose()])
  })

  test('a clamped parameter stays within its bounds', async () => {
    const one = await stepper({ projections: { w: clamped(0, 0.75) } })
    await one.update(batch, 0.3)
    for (const value of elements((await one.snapshot()).parameters.w!)) expect(Math.min(Math.max(value, 0), 0.75)).toBe(value)
    await one.dispose()
  })

  test('a carried parameter takes its output at every step, and at every micro-batch', async () => {
    for (const nMicroBatches of [1, 2]) {
      const one = await stepper({ carried: { count: 'count+1' }, nMicroBatches })
      for (let step = 0; step < 3; step++) await one.update(batch, 0.1)
      expect(elements((await one.snapshot()).parameters.count!)).toEqual([3 * nMicroBatches])
      await one.dispose()
    }
  })

  test('goes on from a snapshot as if nothing had been', async () => {
    const whole = await stepper({ clipNorm: 0.5 })
    for (let step = 0; step < 3; step++) await whole.update(batch, 0.1)
    const from = structuredClone(await whole.snapshot())
    const rest = await stepper({ clipNorm: 0.5, from })
    const results = [await whole.update(batch, 0.1), await rest.update(batch, 0.1)]
    expect(results[1]).toEqual(results[0])
    expect(await rest.snapshot()).toEqual(await whole.snapshot())
    await Promise.all([whole.dispose(), rest.dispose()])
  })

  test('clips by the norm of all gradients together, and only what is longer', async () => {
    const norms = await Promise.all(
      [undefined, 1e-3, 1e3].map(async (clipNorm) => {
        const one = await stepper(clipNorm === undefined ? {} : { clipNorm })
        const { numbers } = await one.update(batch, 0)
        const { state } = await one.snapshot()
        await one.dispose()
        return { reported: numbers.gradientNorm, used: Math.hypot(...elements(state['adam/m/w']!)) }
      }),
    )
    const [free, clipped, loose] = norms as [(typeof norms)[0], (typeof norms)[0], (typeof norms)[0]]
    expect(free.reported).toBeUndefined()
    expect(clipped.reported).toBeCloseTo(free.used, 4)
    expect(clipped.used).toBeCloseTo(1e-3, 6)
    expect(loose.used).toBeCloseTo(free.used, 5)
  })

  test('refuses a batch that is not equal micro-batches', async () => {
    const one = await stepper({ nMicroBatches: 3 })
    await expect(one.update(batch, 0.1)).rejects.toMatchObject({ code: 'INPUT_INVALID', message: expect.stringContaining('3 equal') })
    expect(one.updates).toBe(0)
    await one.dispose()
  })

  test('a step that fails leaves weights and count as they were', async () => {
    const one = await stepper()
    await one.update(batch, 0.1)
    const before = await one.snapshot()
    await expect(one.update({ x: batch.x }, 0.1)).rejects.toMatchObject({ code: 'FEED_MISSING' })
    expect(await one.snapshot()).toEqual(before)
    await one.dispose()
  })

  test('refuses weights that are not there, and parameters that are none', async () => {
    await expect(stepper({ weights: { w: weights.w } })).rejects.toMatchObject({
      code: 'FEED_MISSING',
      details: { names: ['offset', 'count'] },
    })
    await expect(stepper({ trainable: ['v'] })).rejects.toMatchObject({ code: 'VALUE_UNKNOWN', details: { value: 'v' } })
    await expect(stepper({ loss: 'lost' })).rejects.toMatchObject({ code: 'VALUE_UNKNOWN' })
  })
})

test('a step computes nothing that no output needs, and what leaves the device is asked for', () => {
  const { graph, writeBack, state } = trainingStep({
    graph: linear(),
    loss: 'loss',
    trainable: ['w'],
    optimizer: { kind: 'adamw' },
    clipNorm: 1,
  })
  validate(graph)
  expect(graph.outputs).toEqual(['loss', 'made', 'count+1', 'gradientNorm', 'next/w', 'next/adam/m/w', 'next/adam/v/w'])
  expect(writeBack).toEqual({ w: 'next/w', 'adam/m/w': 'next/adam/m/w', 'adam/v/w': 'next/adam/v/w' })
  expect(state).toEqual({ 'adam/m/w': { dtype: 'float32', shape: [2, 3] }, 'adam/v/w': { dtype: 'float32', shape: [2, 3] } })
  const read = new Set([...graph.outputs, ...graph.nodes.flatMap(({ inputs }) => inputs)])
  for (const { outputs } of graph.nodes) expect(outputs.some((output) => read.has(output))).toBe(true)
})

describe('graphs side by side', () => {
  test('share inputs and keep their own names otherwise', async () => {
    const [backend, graph] = [await backends[0]!.create(), linear()]
    const both = sideBySide('both', [prefixed(graph, 'a'), prefixed(graph, 'b')])
    validate(both)
    expect(both.inputs).toEqual(graph.inputs)
    expect(Object.keys(both.parameters)).toEqual(['a/w', 'a/offset', 'a/count', 'b/w', 'b/offset', 'b/count'])
    const under = (prefix: string, more: object) =>
      Object.fromEntries(Object.entries({ ...weights, ...more }).map(([name, tensor]) => [`${prefix}/${name}`, tensor as Tensor]))
    const results = await runOnce(backend, both, {
      inputs: batch,
      weights: { ...under('a', {}), ...under('b', { offset: float32([2], [5, 5]) }) },
    })
    const alone = await runOnce(backend, prefixed(graph, 'a'), { inputs: batch, weights: under('a', {}) })
    expect(results['a/loss']).toEqual(alone['a/loss'])
    expect(results['b/loss']).not.toEqual(alone['a/loss'])
  })
})

test('an objective that its towers cannot have is refused, all of it at once', () => {
  const clip = settings.clip.objective as Extract<ModelObjective, { kind: 'clip' }>
  expect(() => objectiveGraph({ kind: 'classification', vision: { ...clip.vision, pooling: 'none' }, labelSmoothing: 1 })).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      details: {
        problems: [
          'vision.pooling: "none" leaves several rows a picture',
          'vision.head.kind: "projection"; classification needs "classes"',
          'labelSmoothing: 1 is not in [0, 1)',
        ],
      },
    }),
  )
  const text = { ...clip.text, normalizeOutput: false, head: { ...clip.text.head, dOut: 7 } }
  expect(() => objectiveGraph({ ...clip, text })).toThrow('head.dOut: 6 in the vision tower and 7 in the text tower')
})
