/** Weights that take the values of outputs when a run is done. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { float32, int64, type Tensor, zeros } from '../../../src/engine/tensor.js'
import { runOnce } from '../each-backend.js'
import { everyBackend } from './every-backend.js'

/** next = w + x; twice = 2 w; rows [batch, 2] = x, whose length only the run knows; picked = w[index] */
function counter() {
  const builder = new GraphBuilder('counter')
  const x = builder.input('x', 'float32', ['batch', 2])
  const w = builder.parameter('w', [2])
  const index = builder.input('index', 'int64', [1])
  const sum = builder.op('ReduceSum', [x, builder.constant(int64([1], [0]))], { keepdims: 0 })
  const next = builder.named('next', builder.op('Add', [w, sum]))
  const twice = builder.named('twice', builder.op('Add', [w, w]))
  const rows = builder.named('rows', builder.op('Identity', [x]))
  return builder.build([next, twice, rows, builder.named('picked', builder.op('Gather', [w, index]))])
}

const x = float32([1, 2], [1, 2])
const index = int64([1], [0])
const inputs = { x, index }
const values = (tensor: Tensor | undefined) => Array.from(tensor!.data as Float32Array)

describe.each(everyBackend)('write-back on %s', async (underTest) => {
  const backend = await underTest.create()
  const setUp = async () => {
    const uploaded = { w: float32([2], [10, 20]), other: float32([2], [0, 0]) }
    const [program, weights] = await Promise.all([backend.compile(counter(), { workspace: 'kept' }), backend.upload(uploaded)])
    return { program, weights, uploaded, dispose: () => Promise.all([program.dispose(), weights.dispose()]) }
  }

  test('each run starts from what the last one wrote, and the uploaded arrays keep what they held', async () => {
    const { program, weights, uploaded, dispose } = await setUp()
    for (let run = 0; run < 4; run++) {
      expect(await program.run({ inputs, weights, fetch: [], writeBack: { w: 'next' } })).toEqual({})
    }
    expect(await weights.read(['w'])).toEqual({ w: float32([2], [14, 28]) })
    expect(uploaded.w).toEqual(float32([2], [10, 20]))
    expect(weights.bytes).toBe(16)
    await dispose()
  })

  test('every program that shares the weights reads the new values', async () => {
    const { program, weights, dispose } = await setUp()
    const other = await backend.compile(counter())
    expect(values((await other.run({ inputs, weights, fetch: ['twice'] })).twice)).toEqual([20, 40])
    await program.run({ inputs, weights, fetch: [], writeBack: { w: 'next' } })
    expect(values((await other.run({ inputs, weights, fetch: ['twice'] })).twice)).toEqual([22, 44])
    await Promise.all([other.dispose(), dispose()])
  })

  test('all weights change at once, those that the program does not read too', async () => {
    const { program, weights, dispose } = await setUp()
    await program.run({ inputs, weights, fetch: [], writeBack: { other: 'twice', w: 'next' } })
    await program.run({ inputs, weights, fetch: [], writeBack: { w: 'twice', other: 'twice' } })
    expect(await weights.read(['other', 'w'])).toEqual({ other: float32([2], [22, 44]), w: float32([2], [22, 44]) })
    await dispose()
  })

  test('what is fetched, read or written to two weights is nobody else’s array', async () => {
    const { program, weights, dispose } = await setUp()
    const fetched = await program.run({ inputs, weights, fetch: ['next'], writeBack: { w: 'next', other: 'next' } })
    ;(fetched.next!.data as Float32Array).fill(Number.NaN)
    const read = await weights.read(['w'])
    ;(read.w!.data as Float32Array).fill(Number.NaN)
    await program.run({ inputs, weights, fetch: [], writeBack: { w: 'twice' } })
    expect(await weights.read(['w', 'other'])).toEqual({ w: float32([2], [22, 44]), other: float32([2], [11, 22]) })
    await dispose()
  })

  test('a run that fails changes nothing', async () => {
    const { program, weights, dispose } = await setUp()
    const run = (changes: object) =>
      program.run({ inputs, weights, fetch: ['picked'], writeBack: { w: 'next', other: 'twice' }, ...changes })
    if (underTest.checksIndices)
      await expect(run({ inputs: { x, index: int64([1], [7]) } })).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
    await expect(run({ inputs: { index } })).rejects.toMatchObject({ code: 'FEED_MISSING' })
    await expect(run({ writeBack: { w: 'next', other: 'rows' } })).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
    await expect(run({ writeBack: { w: 'next', others: 'twice' } })).rejects.toMatchObject({ code: 'VALUE_UNKNOWN' })
    await expect(run({ writeBack: { w: 'nexd' } })).rejects.toMatchObject({ code: 'VALUE_UNKNOWN', details: { value: 'nexd' } })
    expect(await weights.read(['w', 'other'])).toEqual({ w: float32([2], [10, 20]), other: float32([2], [0, 0]) })
    expect(values((await run({})).picked)).toEqual([10])
    expect(await weights.read(['w', 'other'])).toEqual({ w: float32([2], [11, 22]), other: float32([2], [20, 40]) })
    await dispose()
  })

  test('a value of another dtype is refused', async () => {
    const builder = new GraphBuilder('whole')
    const program = await backend.compile(
      builder.build([builder.named('whole', builder.op('Cast', [builder.parameter('w', [2])], { to: 'int32' }))]),
    )
    const weights = await backend.upload({ w: float32([2], [1, 2]) })
    await expect(program.run({ inputs: {}, weights, fetch: [], writeBack: { w: 'whole' } })).rejects.toMatchObject({
      code: 'INPUT_INVALID',
    })
    expect(await weights.read(['w'])).toEqual({ w: float32([2], [1, 2]) })
    await Promise.all([program.dispose(), weights.dispose()])
  })

  test('an unknown weight cannot be read', async () => {
    const weights = await backend.upload({ w: zeros('float32', [1]) })
    await expect(weights.read(['w', 'v'])).rejects.toMatchObject({ code: 'VALUE_UNKNOWN', details: { value: 'v' } })
    await weights.dispose()
  })

  test('runs that read only may run beside one that writes', async () => {
    const { program, weights, dispose } = await setUp()
    const runs = await Promise.all([
      program.run({ inputs, weights, fetch: ['twice'] }),
      program.run({ inputs, weights, fetch: [], writeBack: { w: 'next' } }),
      program.run({ inputs, weights, fetch: ['twice'] }),
    ])
    // Each sees the weights from before or from after, whole.
    for (const run of [runs[0]!, runs[2]!]) expect(['20,40', '22,44']).toContain(values(run.twice).join())
    await dispose()
  })
})

test('any sequence of writes gives the same weights on every backend', async () => {
  const step = fc.record({
    x: fc.tuple(fc.integer({ min: -50, max: 50 }), fc.integer({ min: -50, max: 50 })),
    writeBack: fc.constantFrom({ w: 'next' }, { other: 'twice' }, { w: 'next', other: 'twice' }, { w: 'twice' }, {}),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
      const results = await Promise.all(
        everyBackend.map(async (underTest) => {
          const backend = await underTest.create()
          const program = await backend.compile(counter())
          const weights = await backend.upload({ w: float32([2], [1, 2]), other: float32([2], [3, 4]) })
          for (const { x, writeBack } of steps) {
            await program.run({
              inputs: { x: float32([1, 2], x), index },
              weights,
              fetch: ['picked'],
              writeBack: writeBack as Record<string, string>,
            })
          }
          const read = await weights.read(['w', 'other'])
          await Promise.all([program.dispose(), weights.dispose()])
          return read
        }),
      )
      for (const other of results.slice(1)) expect(other).toEqual(results[0])
    }),
    { numRuns: 30 },
  )
})

test('a program with a kept workspace gives the same numbers', async () => {
  for (const underTest of everyBackend) {
    const backend = await underTest.create()
    const program = await backend.compile(counter(), { workspace: 'kept' })
    const weights = await backend.upload({ w: float32([2], [1, 2]) })
    const [once, again] = [await program.run({ inputs, weights, fetch: ['next'] }), await program.run({ inputs, weights, fetch: ['next'] })]
    const freed = await runOnce(backend, counter(), { inputs, weights: { w: float32([2], [1, 2]) }, fetch: ['next'] })
    expect(once).toEqual(freed)
    expect(again).toEqual(freed)
    await Promise.all([program.dispose(), weights.dispose()])
  }
})
