/** What every backend promises beyond the operators. */

import { describe, expect, test } from 'vitest'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { expose } from '../../../src/engine/graph/edit.js'
import type { OpName } from '../../../src/engine/graph/operators.js'
import { bytesPerElement, type DType, float32, int64, scalar, type Tensor, zeros } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { runOnce } from '../each-backend.js'
import { block, feedsFor } from '../graph/small-graphs.js'
import { everyBackend } from './every-backend.js'

const dtypes = Object.keys(bytesPerElement) as DType[]

/** y [batch, 2] = x [batch, 2] + w [2] + shift [batch]; z = 2 x */
function sum() {
  const builder = new GraphBuilder('sum')
  const x = builder.input('x', 'float32', ['batch', 2])
  const shift = builder.input('shift', 'float32', ['batch', 1])
  const y = builder.hook('y', ['batch', 'dModel'], builder.op('Add', [builder.op('Add', [x, builder.parameter('w', [2])]), shift]))
  return builder.build([y, builder.hook('z', ['batch', 'dModel'], builder.op('Mul', [x, builder.constant(scalar(2))]))])
}

const given = { x: float32([2, 2], [1, 2, 3, 4]), shift: float32([2, 1], [0.5, 0.25]) }
const w = { w: float32([2], [10, 20]) }
const y = float32([2, 2], [11.5, 22.5, 13.25, 24.25])

describe.each(everyBackend)('%s', async (underTest) => {
  const backend = await underTest.create()

  test('computes what is fetched, at any batch', async () => {
    const program = await backend.compile(sum())
    const weights = await backend.upload(w)
    expect(await program.run({ inputs: given, weights, fetch: ['y'] })).toEqual({ y })
    const one = { x: float32([1, 2], [1, 2]), shift: float32([1, 1], [0]) }
    expect(await program.run({ inputs: one, weights, fetch: ['z', 'y'] })).toEqual({
      y: float32([1, 2], [11, 22]),
      z: float32([1, 2], [2, 4]),
    })
    expect(await program.run({ inputs: given, weights, fetch: ['y', 'y'] })).toEqual({ y })
    expect(await program.run({ inputs: given, weights, fetch: [] })).toEqual({})
    await Promise.all([program.dispose(), weights.dispose()])
  })

  test('what a run returns belongs to the caller: it can be overwritten and handed to another thread', async () => {
    const program = await backend.compile(sum())
    const weights = await backend.upload(w)
    const run = () => program.run({ inputs: given, weights, fetch: ['y'] })
    const first = await run()
    const second = await run()
    expect(second.y!.data.buffer).not.toBe(first.y!.data.buffer)
    ;(first.y!.data as Float32Array).fill(Number.NaN)
    expect(second).toEqual({ y })
    const moved = structuredClone(second.y!, { transfer: [second.y!.data.buffer as ArrayBuffer] })
    expect(moved).toEqual(y)
    expect(second.y!.data.byteLength).toBe(0)
    expect(await run()).toEqual({ y })
    await Promise.all([program.dispose(), weights.dispose()])
  })

  test('does not change what it is fed', async () => {
    const feeds = feedsFor(block(), { batch: 2, seed: 3 })
    const before = structuredClone(feeds)
    const graph = block()
    await runOnce(
      backend,
      expose(
        graph,
        graph.hookPoints.map(({ name }) => name),
      ),
      feeds,
    )
    expect(feeds).toEqual(before)
  })

  test('runs several programs on the same weights, several times at once', async () => {
    const weights = await backend.upload({ ...w, unused: float32([1], [0]) })
    const programs = await Promise.all([backend.compile(sum()), backend.compile(sum())])
    const runs = await Promise.all([...programs, ...programs].map((program) => program.run({ inputs: given, weights, fetch: ['y'] })))
    expect(runs).toEqual([{ y }, { y }, { y }, { y }])
    expect(weights.bytes).toBe(12)
    expect([...weights.names]).toEqual(['w', 'unused'])
    await programs[0]!.dispose()
    expect(await programs[1]!.run({ inputs: given, weights, fetch: ['y'] })).toEqual({ y })
    await Promise.all([programs[1]!.dispose(), weights.dispose()])
  })

  test('a batch of two is two runs', async () => {
    const graph = block()
    const { inputs, weights } = feedsFor(graph, { batch: 2, seed: 8 })
    const both = (await runOnce(backend, graph, { inputs, weights }))[graph.outputs[0]!]!
    const x = inputs.x as Tensor<'float32'>
    for (const row of [0, 1]) {
      const part = { ...x, shape: [1, ...x.shape.slice(1)], data: x.data.slice(row * 12, row * 12 + 12) }
      const alone = (await runOnce(backend, graph, { inputs: { x: part }, weights }))[graph.outputs[0]!]!
      expect(alone).toBeCloseTensor({ ...both, shape: [1, 2], data: both.data.slice(row * 2, row * 2 + 2) } as Tensor)
    }
  })

  test.each(dtypes.filter((dtype) => underTest.hasFloat64 || dtype !== 'float64'))(
    'carries %s in and out, nothing at all included',
    async (dtype) => {
      const builder = new GraphBuilder('identity')
      const graph = builder.build([builder.op('Identity', [builder.input('x', dtype, ['batch', 'n', 2])])])
      const output = graph.outputs[0]!
      const x = zeros(dtype, [3, 5, 2])
      for (let at = 0; at < x.data.length; at++)
        x.data[at] = (dtype === 'int64' ? 2n ** 62n + BigInt(at) : dtype === 'bool' ? at % 2 : at) as never
      expect((await runOnce(backend, graph, { inputs: { x } }))[output]).toEqual(x)
      const empty = new GraphBuilder('empty')
      const none = empty.build([empty.op('Identity', [empty.input('x', dtype, ['batch', 0])])])
      expect((await runOnce(backend, none, { inputs: { x: zeros(dtype, [2, 0]) } }))[none.outputs[0]!]).toEqual(zeros(dtype, [2, 0]))
    },
  )

  test('an input or a weight may lie in shared memory, or in the middle of a buffer', async () => {
    const shared = new Float32Array(new SharedArrayBuffer(32)).subarray(2, 6)
    shared.set(given.x.data)
    const inputs = { ...given, x: { ...given.x, data: shared } as Tensor }
    const middle = Float32Array.of(0, 10, 20, 0).subarray(1, 3)
    expect((await runOnce(backend, sum(), { inputs, weights: { w: { ...w.w, data: middle } as Tensor } })).y).toEqual(y)
  })

  describe('refuses', () => {
    const refusal = (feeds: Parameters<typeof runOnce>[2]) => runOnce(backend, sum(), feeds)

    test.each<[string, Parameters<typeof runOnce>[2], object]>([
      ['missing inputs, all of them', { weights: w }, { code: 'FEED_MISSING', details: { names: ['x', 'shift'], graph: 'sum' } }],
      ['a missing weight', { inputs: given }, { code: 'FEED_MISSING', details: { names: ['w'], graph: 'sum' } }],
      [
        'an input nobody asked for',
        { inputs: { ...given, strenght: scalar(1) }, weights: w },
        { code: 'VALUE_UNKNOWN', details: { value: 'strenght' } },
      ],
      ['an input of another rank', { inputs: { ...given, x: float32([4], [1, 2, 3, 4]) }, weights: w }, { code: 'SHAPE_MISMATCH' }],
      ['an input of another length', { inputs: { ...given, x: zeros('float32', [2, 3]) }, weights: w }, { code: 'SHAPE_MISMATCH' }],
      [
        'a batch of two lengths',
        { inputs: { ...given, shift: zeros('float32', [3, 1]) }, weights: w },
        { code: 'SHAPE_MISMATCH', details: { expected: ['batch=2', 1], actual: [3, 1] } },
      ],
      [
        'a batch of none',
        { inputs: { x: zeros('float32', [0, 2]), shift: zeros('float32', [0, 1]) }, weights: w },
        { code: 'SHAPE_MISMATCH' },
      ],
      ['an input of another dtype', { inputs: { ...given, x: zeros('int64', [2, 2]) }, weights: w }, { code: 'INPUT_INVALID' }],
      ['a weight of another shape', { inputs: given, weights: { w: zeros('float32', [3]) } }, { code: 'SHAPE_MISMATCH' }],
      ['a weight of another dtype', { inputs: given, weights: { w: zeros('int32', [2]) } }, { code: 'INPUT_INVALID' }],
      ['to fetch what is not an output', { inputs: given, weights: w, fetch: ['yy'] }, { code: 'VALUE_UNKNOWN', details: { value: 'yy' } }],
    ])('%s', async (_, feeds, error) => {
      await expect(refusal(feeds)).rejects.toMatchObject(error)
    })

    test('an invalid graph', async () => {
      await expect(backend.compile({ ...sum(), outputs: ['nothing'] })).rejects.toMatchObject({ code: 'GRAPH_INVALID' })
    })

    test('weights of another backend', async () => {
      const program = await backend.compile(sum())
      const others = await (await underTest.create()).upload(w)
      if (underTest.name === 'onnxruntime')
        await expect(program.run({ inputs: given, weights: others, fetch: ['y'] })).rejects.toThrow('not uploaded')
      await expect(
        program.run({ inputs: given, weights: { bytes: 0, names: new Set(), read: async () => ({}), async dispose() {} }, fetch: ['y'] }),
      ).rejects.toThrow('not uploaded')
      await program.dispose()
    })

    test.runIf(underTest.checksIndices).each<[OpName, number[]]>([
      ['Gather', [3]],
      ['Gather', [-4]],
      ['GatherElements', [0, 3]],
      ['GatherElements', [-4, 0]],
      ['ScatterElements', [0, 3]],
      ['ScatterElements', [-4, 0]],
    ])('an index out of range: %s at %j', async (op, indices) => {
      const builder = new GraphBuilder('indices')
      const table = builder.parameter('table', [3, 2])
      const shape = op === 'Gather' ? [indices.length] : [1, 2]
      const ids = builder.input('ids', 'int64', shape)
      const graph = builder.build([
        builder.op(op, op === 'ScatterElements' ? [table, ids, builder.constant(zeros('float32', [1, 2]))] : [table, ids]),
      ])
      const feeds = { inputs: { ids: int64(shape, indices) }, weights: { table: zeros('float32', [3, 2]) } }
      await expect(runOnce(backend, graph, feeds)).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
    })
  })
})
