import { describe, expect, test } from 'vitest'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { differentiate } from '../../../src/engine/graph/differentiate.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { prune } from '../../../src/engine/graph/prune.js'
import { readTransposed } from '../../../src/engine/graph/read-transposed.js'
import { validate } from '../../../src/engine/graph/validate.js'
import '../close-tensor.js'
import { backends, runOnce } from '../each-backend.js'
import { feedsFor } from './small-graphs.js'

/** Products of a stack with one that was transposed by `perm`, and their sum as the loss. */
function products(
  shape: readonly (number | string)[],
  perm: readonly number[] | undefined,
  { left, n = 1 }: { left: readonly (number | string)[]; n?: number },
) {
  const b = new GraphBuilder('products')
  const [x, y] = [b.input('x', 'float32', left), b.input('y', 'float32', shape)]
  const turned = b.op('Transpose', [y], perm === undefined ? {} : { perm })
  const made = Array.from({ length: n }, (_, at) => b.named(`product${at}`, b.op('MatMul', [at === 0 ? x : b.op('Neg', [x]), turned])))
  return b.build([...made, b.named('loss', b.op('ReduceSum', [made.reduce((sum, each) => b.op('Add', [sum, each]))], { keepdims: 0 }))])
}

const ops = ({ nodes }: Graph) => nodes.map(({ op }) => op)

describe.each([
  { what: 'keys, head by head', graph: products(['batch', 5, 2, 3], [0, 2, 3, 1], { left: ['batch', 2, 5, 3] }), transpositions: 1 },
  {
    what: 'keys that lie head by head',
    graph: products(['batch', 2, 5, 3], [0, 1, 3, 2], { left: ['batch', 2, 4, 3] }),
    transpositions: 0,
  },
  {
    what: 'a stack that two products read',
    graph: products(['batch', 5, 2, 3], [0, 2, 3, 1], { left: ['batch', 2, 5, 3], n: 2 }),
    transpositions: 1,
  },
])('$what', ({ graph, transpositions }) => {
  const read = prune(readTransposed(graph))

  test('the product reads the rows as they lie', () => {
    validate(read)
    expect(ops(read)).not.toContain('MatMul')
    expect(ops(read).filter((op) => op === 'Transpose')).toHaveLength(transpositions)
    expect(read.outputs).toEqual(graph.outputs)
  })

  test.each(backends)('%s: the same bits, and the same gradients up to rounding', async (underTest) => {
    const backend = await underTest.create()
    const feeds = feedsFor(graph, { batch: 3, seed: 1 })
    expect(await runOnce(backend, read, feeds)).toEqual(await runOnce(backend, graph, feeds))
    const [before, after] = await Promise.all([graph, read].map((each) => runOnce(backend, differentiate(each, 'loss', ['x', 'y']), feeds)))
    for (const [name, gradient] of Object.entries(before!)) expect(after![name], name).toBeCloseTensor(gradient)
  })
})

test.each([
  ['one matrix', products([5, 3], undefined, { left: [4, 3] })],
  ['one matrix for a stack', products([5, 3], undefined, { left: ['batch', 4, 3] })],
  ['a transposition that leaves the rows whole', products(['batch', 3, 2, 5], [0, 2, 1, 3], { left: ['batch', 2, 4, 3] })],
])('left as it is: %s', (_, graph) => {
  expect(readTransposed(graph)).toBe(graph)
})
