/** Updates of weights: the same on every backend, and in the weights' own memory where one can. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { divide } from '../../../src/engine/backends/onnxruntime/host-nodes.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { operators } from '../../../src/engine/graph/operators.js'
import { toOnnx } from '../../../src/engine/graph/to-onnx.js'
import { validate } from '../../../src/engine/graph/validate.js'
import { writeOutOwn } from '../../../src/engine/graph/write-out.js'
import { float32, scalar, type Tensor, zeros } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { backends, onnxruntime, reference, referenceFloat64, runOnce } from '../each-backend.js'

const names = ['w', 'm', 'v'] as const
const writeBack = { w: 'next/w', m: 'next/m', v: 'next/v' }
const attributes = { beta1: 0.9, beta2: 0.999 }

/** One step for w by the gradient x + 0.25 w. `isReadOn`: another node reads the new w, and doubles it. */
function step({ isReadOn = false } = {}) {
  const b = new GraphBuilder('step')
  const shape = [2, 3]
  const x = b.input('x', 'float32', shape)
  const [w, m, v] = names.map((name) => b.parameter(name, shape)) as [string, string, string]
  const gradient = b.named('gradient', b.op('Add', [x, b.op('Mul', [w, b.constant(scalar(0.25))])]))
  const numbers = [b.input('rate', 'float32', []), b.constant(scalar(1e-3)), b.constant(scalar(0.75))]
  const made = b.opMany('AdamUpdate', [w, gradient, m, v, ...numbers], { nOutputs: 3, attributes })
  const next = isReadOn ? [b.op('Add', [made[0]!, made[0]!]), ...made.slice(1)] : made
  const half = b.named('half', b.op('Mul', [w, b.constant(scalar(0.5))]))
  return b.build([...next.map((value, at) => b.named(`next/${names[at]}`, value)), gradient, half])
}

const shape = [2, 3]
const x = float32(shape, [1, -2, 3, 0, 0.5, -0.25])
const rate = scalar(0.1)
const inputs = { x, rate }
const initial = () => ({ w: float32(shape, [1, 2, 3, 4, 5, 6]), m: zeros('float32', shape), v: zeros('float32', shape) })

const after = async (nSteps: number, from: Record<string, Tensor> = initial()) => {
  const backend = await referenceFloat64.create()
  const [program, weights] = await Promise.all([backend.compile(step()), backend.upload(from)])
  for (let at = 0; at < nSteps; at++) await program.run({ inputs, weights, fetch: [], writeBack })
  return weights.read(names)
}

describe.each(backends)('updates on %s', async (underTest) => {
  const backend = await underTest.create()
  const setUp = async (graph = step()) => {
    const uploaded = initial()
    const [program, weights] = await Promise.all([backend.compile(graph, { workspace: 'kept' }), backend.upload(uploaded)])
    const run = (changes: object = {}) => program.run({ inputs, weights, fetch: [], writeBack, ...changes })
    return { program, weights, uploaded, run, dispose: () => Promise.all([program.dispose(), weights.dispose()]) }
  }
  const expectAfter = async (read: Record<string, Tensor>, nSteps: number) => {
    const expected = await after(nSteps)
    for (const name of names) expect(read[name], name).toBeCloseTensor(expected[name]!, { tolerance: 1e-6 })
  }

  test('each step starts from what the last one made, and the uploaded arrays keep what they held', async () => {
    const { weights, uploaded, run, dispose } = await setUp()
    for (let at = 1; at <= 4; at++) {
      expect(await run()).toEqual({})
      await expectAfter(await weights.read(names), at)
    }
    expect(uploaded).toEqual(initial())
    await dispose()
  })

  test('what is fetched beside is the value after the update, and nobody else’s array', async () => {
    const { weights, run, dispose } = await setUp()
    for (let at = 1; at <= 3; at++) {
      const fetched = await run({ fetch: ['next/w', 'next/v'] })
      expect(fetched).toEqual({ 'next/w': (await weights.read(['w'])).w, 'next/v': (await weights.read(['v'])).v })
      for (const { data } of Object.values(fetched)) (data as Float32Array).fill(Number.NaN)
    }
    await expectAfter(await weights.read(names), 3)
    await run()
    await expectAfter(await weights.read(names), 4)
    await dispose()
  })

  test('what was read or fetched before is not written over', async () => {
    const { weights, run, dispose } = await setUp()
    await run()
    const [read, fetched] = [await weights.read(names), await run({ fetch: ['gradient', 'half'] })]
    const kept = structuredClone({ read, fetched })
    await run()
    expect({ read, fetched }).toEqual(kept)
    await dispose()
  })

  test('a run that fails leaves every weight as it was', async () => {
    const { weights, run, dispose } = await setUp()
    await run()
    const before = await weights.read(names)
    await expect(run({ inputs: { x } })).rejects.toMatchObject({ code: 'FEED_MISSING' })
    await expect(run({ inputs: { x, rate: x } })).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
    await expect(run({ writeBack: { ...writeBack, u: 'half' } })).rejects.toMatchObject({ code: 'VALUE_UNKNOWN' })
    expect(await weights.read(names)).toEqual(before)
    await dispose()
  })

  test('a value that does not fit its weight leaves those that would be updated, too', async () => {
    const program = await backend.compile(step())
    const weights = await backend.upload({ ...initial(), other: float32([1], [7]) })
    await program.run({ inputs, weights, fetch: [], writeBack })
    const before = await weights.read([...names, 'other'])
    const refused = program.run({ inputs, weights, fetch: [], writeBack: { ...writeBack, other: 'half' } })
    await expect(refused).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
    expect(await weights.read([...names, 'other'])).toEqual(before)
    await Promise.all([program.dispose(), weights.dispose()])
  })

  test('outputs may go elsewhere, to several weights, or nowhere', async () => {
    const { weights, run, dispose } = await setUp()
    await run()
    await run({ writeBack: { w: 'next/w' } })
    const once = await after(1)
    const read = await weights.read(names)
    expect(read.m).toBeCloseTensor(once.m!, { tolerance: 1e-6 })
    const twice = await after(2)
    expect(read.w).toBeCloseTensor(twice.w!, { tolerance: 1e-6 })
    await run({ writeBack: { m: 'next/v', v: 'next/m', w: 'half' } })
    const crossed = await weights.read(names)
    const { gradient: _, half, ...next } = await runOnce(backend, step(), { inputs, weights: read })
    expect(crossed).toEqual({ w: half, m: next['next/v'], v: next['next/m'] })
    await run({ writeBack: { m: 'next/w', w: 'next/w' } })
    const both = await weights.read(names)
    expect(both.m).toEqual(both.w)
    await dispose()
  })

  test('runs that only read may go on beside: each sees all of the weights from before or from after', async () => {
    const { program, weights, run, dispose } = await setUp()
    await run()
    const reader = await backend.compile(step())
    for (let round = 0; round < 3; round++) {
      const was = await weights.read(names)
      const runs = [1, 2].map(() => reader.run({ inputs, weights, fetch: ['half', 'next/m'] }))
      const [first, , second] = await Promise.all([runs[0]!, run(), runs[1]!])
      const is = await weights.read(names)
      const results = await Promise.all([was, is].map((from) => runOnce(backend, step(), { inputs, weights: from })))
      const allowed = results.map((result) => ({ half: result.half!, 'next/m': result['next/m']! }))
      expect(allowed).toContainEqual(first)
      expect(allowed).toContainEqual(second)
    }
    await Promise.all([reader.dispose(), dispose()])
    expect(program.bytes).toBeGreaterThan(0)
  })

  test('combined weights are updated where they are', async () => {
    const [model, moments, program] = await Promise.all([
      backend.upload({ w: initial().w }),
      backend.upload({ m: initial().m, v: initial().v }),
      backend.compile(step()),
    ])
    const weights = backend.combine([
      { prefix: '', weights: model },
      { prefix: '', weights: moments },
    ])
    for (let at = 0; at < 3; at++) await program.run({ inputs, weights, fetch: [], writeBack })
    await expectAfter({ ...(await model.read(['w'])), ...(await moments.read(['m', 'v'])) }, 3)
    await Promise.all([program.dispose(), model.dispose(), moments.dispose()])
  })

  test('a new value that is read on in the graph is computed there', async () => {
    const { weights, run, dispose } = await setUp(step({ isReadOn: true }))
    await run()
    const [read, once] = [await weights.read(names), await after(1)]
    const doubled = { ...once.w!, data: (once.w!.data as Float64Array).map((value) => 2 * value) } as Tensor
    expect(read.w).toBeCloseTensor(doubled, { tolerance: 1e-6 })
    expect(read.v).toBeCloseTensor(once.v!, { tolerance: 1e-6 })
    await dispose()
  })

  test('what is an input of the run is never written over, whatever its name', async () => {
    const b = new GraphBuilder('fed')
    const [w, g, m, v] = [b.input('w', 'float32', [2]), ...['g', 'm', 'v'].map((name) => b.parameter(name, [2]))] as [
      string,
      string,
      string,
      string,
    ]
    const made = b.opMany('AdamUpdate', [w, g, m, v, b.constant(scalar(0.1)), b.constant(scalar(0.5))], { nOutputs: 3, attributes })
    const program = await backend.compile(b.build(made.map((value, at) => b.named(`next/${names[at]}`, value))))
    const ones = () => float32([2], [1, 1])
    const weights = await backend.upload({ w: ones(), g: ones(), m: ones(), v: ones() })
    const fed = float32([2], [5, 6])
    for (let at = 0; at < 3; at++) await program.run({ inputs: { w: fed }, weights, fetch: [], writeBack })
    expect(fed).toEqual(float32([2], [5, 6]))
    expect((await weights.read(['m'])).m).toBeCloseTensor(float32([2], [3.439, 3.439]))
    await Promise.all([program.dispose(), weights.dispose()])
  })

  test('a weight that another update reads keeps its value until both are done', async () => {
    const b = new GraphBuilder('two')
    const all = ['a', 'am', 'av', 'b', 'bm', 'bv'].map((name) => b.parameter(name, [2]))
    const numbers = [b.constant(scalar(0.5)), b.constant(scalar(0.5))]
    // Each is the other's gradient.
    const first = b.opMany('AdamUpdate', [all[0]!, all[3]!, all[1]!, all[2]!, ...numbers], { nOutputs: 3, attributes })
    const second = b.opMany('AdamUpdate', [all[3]!, all[0]!, all[4]!, all[5]!, ...numbers], { nOutputs: 3, attributes })
    const made = [...first, ...second]
    const graph = b.build(made.map((value, at) => b.named(`next/${all[at]}`, value)))
    const [program, weights] = await Promise.all([
      backend.compile(graph),
      backend.upload(Object.fromEntries(all.map((name, at) => [name, float32([2], [at + 1, 2])]))),
    ])
    const toItself = Object.fromEntries(all.map((name) => [name, `next/${name}`]))
    for (let at = 0; at < 3; at++) {
      const expected = await runOnce(await reference.create(), graph, { weights: await weights.read(all) })
      await program.run({ inputs: {}, weights, fetch: [], writeBack: toItself })
      const read = await weights.read(all)
      for (const name of all) expect(read[name], name).toBeCloseTensor(expected[`next/${name}`]!, { tolerance: 1e-6 })
    }
    await Promise.all([program.dispose(), weights.dispose()])
  })
})

test('after the first step the memory of the weights is written over, and it is not that which was uploaded', async () => {
  const { HostWeights } = await import('../../../src/engine/backends/onnxruntime/host-weights.js')
  const backend = await onnxruntime.create()
  const uploaded = initial()
  const [program, weights] = await Promise.all([backend.compile(step()), backend.upload(uploaded)])
  if (!(weights instanceof HostWeights)) throw new Error('weights on the CPU are host weights')
  const arrays = () => names.map((name) => weights.feed(name)!.data)
  const run = (fetch: readonly string[] = []) => program.run({ inputs, weights, fetch, writeBack })
  await run()
  const own = arrays()
  for (const [at, name] of names.entries()) expect(own[at]).not.toBe(uploaded[name].data)
  await run(['half'])
  for (const [at, array] of arrays().entries()) expect(array).toBe(own[at])
  // What is fetched is copied out, and the weights then have other arrays.
  const fetched = await run(['next/w'])
  expect(fetched['next/w']!.data).not.toBe(weights.feed('w')!.data)
  await Promise.all([program.dispose(), weights.dispose()])
})

test('a session is left what comes before; an update whose result is read on stays in it', () => {
  const { inSession, hostNodes } = divide(step())
  expect(hostNodes.map(({ op }) => op)).toEqual(['AdamUpdate'])
  expect(inSession!.outputs).toEqual(['gradient', 'half'])
  expect(Object.keys(inSession!.parameters)).toEqual(['w'])
  validate(inSession!)
  const whole = step({ isReadOn: true })
  expect(divide(whole)).toEqual({ inSession: whole, hostNodes: [] })
})

test('written out, it is elementwise operators of ONNX with the same results', async () => {
  const [graph, backend] = [step(), await referenceFloat64.create()]
  const writtenOut = writeOutOwn(graph)
  validate(writtenOut)
  expect(writtenOut.outputs).toEqual(graph.outputs)
  expect(writtenOut.nodes.every(({ op }) => operators[op].domain === undefined)).toBe(true)
  expect(writeOutOwn(writtenOut)).toBe(writtenOut)
  expect(toOnnx(graph)).toEqual(toOnnx(writtenOut))
  const weights = { ...initial(), v: float32(shape, [1, 2, 3, 4, 5, 6]) }
  const [as, out] = [await runOnce(backend, graph, { inputs, weights }), await runOnce(backend, writtenOut, { inputs, weights })]
  // Its factors are literals of float32.
  for (const output of graph.outputs) expect(out[output], output).toBeCloseTensor(as[output]!, { tolerance: 1e-6 })
})

test('any numbers: the backends agree to the last rounding', async () => {
  const number = fc.float({ min: -1000, max: 1000, noNaN: true })
  const numbers = fc.array(number, { minLength: 6, maxLength: 6 })
  const [plain, fast] = await Promise.all([reference.create(), onnxruntime.create()])
  await fc.assert(
    fc.asyncProperty(
      fc.record({ w: numbers, m: numbers, v: numbers, x: numbers }),
      fc.integer({ min: 0, max: 5 }),
      async (given, nSteps) => {
        const of = (values: readonly number[]) => float32(shape, values)
        const from = { w: of(given.w), m: of(given.m), v: of(given.v.map(Math.abs)) }
        const [expected, actual] = await Promise.all(
          [plain, fast].map(async (backend) => {
            const [program, weights] = await Promise.all([backend.compile(step()), backend.upload(from)])
            for (let at = 0; at < nSteps; at++) await program.run({ inputs: { x: of(given.x), rate }, weights, fetch: [], writeBack })
            const read = await weights.read(names)
            await Promise.all([program.dispose(), weights.dispose()])
            return read
          }),
        )
        expect(actual).toEqual(expected)
      },
    ),
    { numRuns: 50 },
  )
})
