import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createReferenceBackend } from '../../../src/engine/backends/reference/backend.js'
import { EngineError } from '../../../src/engine/errors.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { differentiate, gradientName } from '../../../src/engine/graph/differentiate.js'
import { expose, replace } from '../../../src/engine/graph/edit.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import { parse } from '../../../src/engine/graph/parse.js'
import { print } from '../../../src/engine/graph/print.js'
import { findProblems } from '../../../src/engine/graph/validate.js'
import { elementCount, float32, int64, scalar, type Tensor, tensor } from '../../../src/engine/tensor.js'
import { scaleOf } from '../close-tensor.js'
import { backends, onnxruntime, reference, runOnce } from '../each-backend.js'
import { differenceQuotients } from './difference-quotients.js'
import { block, feedsFor, type NormForm, nPos, programs, vector } from './small-graphs.js'

const precise = createReferenceBackend({ precision: 'float64' })

/** A graph of one loss, which it computes from one input. */
function lossOf(shape: readonly number[], make: (b: GraphBuilder, x: string) => string): Graph {
  const b = new GraphBuilder('loss')
  const y = make(b, b.input('x', 'float32', shape))
  return b.build([b.named('loss', b.op('ReduceSum', [y], { keepdims: 0 }))])
}

/** The gradient by `x`, on every backend, which must agree. */
async function gradientAt(x: Tensor, make: (b: GraphBuilder, x: string) => string): Promise<Tensor> {
  const graph = differentiate(lossOf(x.shape, make), 'loss', ['x'])
  const found = await Promise.all(
    backends.map(async (each) => (await runOnce(await each.create(), graph, { inputs: { x } }))[gradientName('x')]!),
  )
  for (const other of found) expect(other).toBeCloseTensor(found[0]!)
  return found[0]!
}

/** Adds nodes behind a graph's own. */
function followedBy(graph: Graph, prefix: string, make: (b: GraphBuilder) => string): Graph {
  const types = inferTypes(graph)
  const around = { ...graph, whereMade: (value: string) => (types.has(value) ? ('before' as const) : undefined) }
  const b = new GraphBuilder(graph.name, { around, prefix })
  const output = make(b)
  const constants = { ...graph.constants, ...b.declarations().constants }
  return { ...graph, constants, nodes: [...graph.nodes, ...b.nodes()], outputs: [output] }
}

/** With one output, `loss`: the sum of y / (1 + |y|) over the first output's elements. No gradient of it is 0, or lost in rounding. */
const withLoss = (graph: Graph): Graph =>
  followedBy(graph, 'loss/', (b) => {
    const y = graph.outputs[0]!
    const bounded = b.op('Div', [y, b.op('Add', [b.op('Abs', [y]), b.constant(scalar(1))])])
    return b.named('loss', b.op('ReduceSum', [bounded], { keepdims: 0 }))
  })

/** The largest difference of two elements; NaN where one is NaN. */
const distance = (a: Tensor, b: Tensor): number =>
  Math.max(0, ...Array.from(a.data as Float64Array, (x, at) => Math.abs(x - Number(b.data[at]))))

const thrownBy = (run: () => unknown): EngineError => {
  try {
    run()
  } catch (error) {
    if (error instanceof EngineError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('where a function has a kink, its gradient is torch’s', () => {
  const zero = (b: GraphBuilder) => b.constant(scalar(0))

  test('relu and abs are flat at 0', async () => {
    expect(await gradientAt(vector(-1, 0, -0, 2), (b, x) => b.op('Relu', [x]))).toEqual(vector(0, 0, 0, 1))
    expect(await gradientAt(vector(-1, 0, -0, 2), (b, x) => b.op('Abs', [x]))).toBeCloseTensor(vector(-1, 0, 0, 1))
  })

  test('a clip passes at its bounds', async () => {
    const clip = (b: GraphBuilder, x: string) => b.op('Clip', [x, b.constant(scalar(-1)), b.constant(scalar(1))])
    expect(await gradientAt(vector(-2, -1, 0, 1, 2), clip)).toEqual(vector(0, 1, 1, 1, 0))
  })

  test('equal operands of a maximum and a minimum share evenly', async () => {
    expect(await gradientAt(vector(-1, 0, 1), (b, x) => b.op('Max', [x, zero(b)]))).toEqual(vector(0, 0.5, 1))
    expect(await gradientAt(vector(-1, 0, 1), (b, x) => b.op('Min', [x, zero(b)]))).toEqual(vector(1, 0.5, 0))
    expect(await gradientAt(vector(-1, 3), (b, x) => b.op('Max', [x, x]))).toEqual(vector(1, 1))
  })

  test('the extremes of a row share evenly', async () => {
    const x = vector(1, 3, 2, 3)
    expect(await gradientAt(x, (b, x) => b.op('ReduceMax', [x]))).toEqual(vector(0, 0.5, 0, 0.5))
    expect(await gradientAt(x, (b, x) => b.op('ReduceMin', [x]))).toEqual(vector(1, 0, 0, 0))
  })

  test('of equal values the top one takes it all', async () => {
    const top = (b: GraphBuilder, x: string) => b.opMany('TopK', [x, b.constant(int64([1], [2]))], { nOutputs: 2 })[0]!
    expect(await gradientAt(vector(1, 3, 2, 3, 2), top)).toEqual(vector(0, 1, 0, 1, 0))
  })

  test('the length of the zero vector is flat, and so is the zero vector made unit length with a floor', async () => {
    const length = (b: GraphBuilder, x: string) => b.op('Sqrt', [b.op('ReduceSum', [b.op('Mul', [x, x])])])
    expect(await gradientAt(vector(0, 0), length)).toEqual(vector(0, 0))
    const unit = (b: GraphBuilder, x: string) => b.op('Div', [x, b.op('Max', [length(b, x), b.constant(scalar(0.5))])])
    expect(await gradientAt(vector(0, 0), unit)).toEqual(vector(2, 2))
  })
})

describe('masks', () => {
  const mask = (b: GraphBuilder) => b.constant(tensor('bool', [2, 3], Uint8Array.of(0, 1, 1, 1, 1, 1)))

  test('a score of minus infinity has a gradient of 0, and a row without any score has no NaN', async () => {
    const attention = (b: GraphBuilder, x: string) => {
      const weights = b.op('Softmax', [b.op('Where', [mask(b), b.constant(scalar(Number.NEGATIVE_INFINITY)), x])])
      const kept = b.op('Where', [b.op('IsNaN', [weights]), b.constant(scalar(0)), weights])
      return b.op('Mul', [kept, b.constant(float32([3], [1, 2, 3]))])
    }
    expect(await gradientAt(float32([2, 3], [1, 2, 3, 4, 5, 6]), attention)).toEqual(float32([2, 3], [0, 0, 0, 0, 0, 0]))
  })

  test('what was not chosen takes 0 where the gradient is infinite', async () => {
    const rootOfChosen = (b: GraphBuilder, x: string) => {
      const chosen = b.op('Where', [b.op('Greater', [x, b.constant(scalar(0))]), x, b.constant(scalar(0))])
      return b.op('Pow', [chosen, b.constant(scalar(0.5))])
    }
    expect(await gradientAt(vector(-1, 4), rootOfChosen)).toEqual(vector(0, 0.25))
  })
})

describe('what is differentiated by what', () => {
  test('a value used several times takes the sum', async () => {
    expect(await gradientAt(vector(1, -2), (b, x) => b.op('Mul', [x, x]))).toEqual(vector(2, -4))
    expect(await gradientAt(vector(1, -2), (b, x) => b.op('Add', [b.op('Add', [x, x]), x]))).toEqual(vector(3, 3))
  })

  test('a value by itself is 1 everywhere, whatever its shape', async () => {
    const graph = differentiate(block(), 'hook_post', ['hook_post'])
    const { inputs, weights } = feedsFor(graph, { batch: 2, seed: 1 })
    const found = await runOnce(await reference.create(), graph, { inputs, weights })
    expect([...found['grad/hook_post']!.data]).toEqual(new Array(2 * nPos * 6).fill(1))
  })

  test('zeros where nothing depends on it: after it, beside it, through whole numbers, through nothing', async () => {
    const b = new GraphBuilder('g')
    const x = b.input('x', 'float32', ['batch', 2])
    const none = b.named('none', b.op('Slice', [x, ...[2, 2, 1].map((at) => b.constant(int64([1], [at])))]))
    const rounded = b.op('Cast', [b.op('Cast', [x], { to: 'int64' })], { to: 'float32' })
    const loss = b.named('loss', b.op('Add', [b.op('ReduceSum', [none], { keepdims: 0 }), b.op('ReduceSum', [rounded], { keepdims: 0 })]))
    const after = b.named('after', b.op('Neg', [loss]))
    const unused = b.parameter('unused', [300, 20])
    const graph = differentiate(b.build([loss, after]), 'loss', ['x', 'none', 'after', 'unused'])
    expect(findProblems(graph)).toEqual([])
    for (const backend of backends) {
      const found = await runOnce(await backend.create(), graph, {
        inputs: { x: float32([3, 2], [1, 2, 3, 4, 5, 6]) },
        weights: { unused: float32([300, 20], new Float32Array(6000)) },
      })
      expect(found['grad/x']).toEqual(float32([3, 2], [0, 0, 0, 0, 0, 0]))
      expect(found['grad/none']).toEqual(float32([3, 0], []))
      expect(found['grad/after']).toEqual(scalar(0))
      expect(found[gradientName(unused)]).toEqual(float32([300, 20], new Float32Array(6000)))
    }
  })

  test('an axis of length 0 gives an empty gradient, and zeros before it', async () => {
    const b = new GraphBuilder('g')
    const [x, w] = [b.input('x', 'float32', ['batch', 0]), b.input('w', 'float32', [0, 3])]
    const product = b.op('Gemm', [x, w, b.parameter('c', [3])])
    const graph = differentiate(b.build([b.named('loss', b.op('ReduceSum', [product], { keepdims: 0 }))]), 'loss', ['x', 'w', 'c'])
    const found = await runOnce(await reference.create(), graph, {
      inputs: { x: float32([2, 0], []), w: float32([0, 3], []) },
      weights: { c: vector(1, 2, 3) },
    })
    expect(found['grad/x']).toEqual(float32([2, 0], []))
    expect(found['grad/w']).toEqual(float32([0, 3], []))
    expect(found['grad/c']).toEqual(vector(2, 2, 2))
  })

  test('only what lies between the targets and the loss gets nodes', () => {
    const graph = withLoss(block())
    const nodesFor = (targets: readonly string[]) => differentiate(graph, 'loss', targets).nodes.length - graph.nodes.length
    expect(nodesFor(['head'])).toBeLessThan(12)
    expect(nodesFor(['head'])).toBeLessThan(nodesFor(['w_out']))
    expect(nodesFor(['w_out'])).toBeLessThan(nodesFor(['x', ...Object.keys(graph.parameters)]))
    expect(nodesFor([])).toBe(0)
  })

  test('a target named twice is one output, and targets with the same gradient each have theirs', async () => {
    const b = new GraphBuilder('g')
    const [x, y] = [b.input('x', 'float32', [2]), b.input('y', 'float32', [2])]
    const loss = b.named('loss', b.op('ReduceSum', [b.op('Tanh', [b.op('Add', [x, y])])], { keepdims: 0 }))
    const graph = differentiate(b.build([loss]), 'loss', ['y', 'x', 'y'])
    expect(graph.outputs).toEqual(['loss', 'grad/y', 'grad/x'])
    const found = await runOnce(await onnxruntime.create(), graph, { inputs: { x: vector(1, 2), y: vector(3, 4) } })
    expect(found['grad/x']).toEqual(found['grad/y'])
  })

  test('everything unknown, and everything that is not of floats, is named at once', () => {
    const b = new GraphBuilder('g')
    const [x, ids] = [b.input('x', 'float32', [2]), b.input('ids', 'int64', [2])]
    const graph = b.build([b.named('loss', b.op('GatherElements', [x, ids]))])
    const unknown = thrownBy(() => differentiate(graph, 'lose', ['x', 'y', 'z']))
    expect(unknown.code).toBe('VALUE_UNKNOWN')
    expect(unknown.message).toContain('Did you mean "loss"')
    expect(unknown.problems.map(({ path }) => path)).toEqual(['of', 'withRespectTo[1]', 'withRespectTo[2]'])
    const unfit = thrownBy(() => differentiate(graph, 'ids', ['ids', 'x']))
    expect(unfit.code).toBe('INPUT_INVALID')
    expect(unfit.problems.map(({ path }) => path)).toEqual(['of', 'withRespectTo[0]'])
    const twice = thrownBy(() => differentiate(differentiate(graph, 'loss', ['x']), 'loss', ['x']))
    expect(twice.code).toBe('INPUT_INVALID')
    expect(twice.message).toContain('another prefix')
  })

  test('a graph may be differentiated by several values, one after the other', async () => {
    const b = new GraphBuilder('g')
    const x = b.input('x', 'float32', [2])
    const y = b.named('y', b.op('Mul', [x, x]))
    const graph = b.build([b.named('loss', b.op('Mul', [y, x]))])
    const both = differentiate(differentiate(graph, 'loss', ['x']), 'y', ['x'], { prefix: 'of y/' })
    const found = await runOnce(await onnxruntime.create(), both, { inputs: { x: vector(1, 2) } })
    expect(found['grad/x']).toEqual(vector(3, 12))
    expect(found['of y/x']).toEqual(vector(2, 4))
  })

  test('of an operator with several outputs only some may matter', async () => {
    const middle = (b: GraphBuilder, x: string) => b.opMany('Split', [x], { nOutputs: 3, attributes: { num_outputs: 3 } })[1]!
    expect(await gradientAt(vector(1, 2, 3), (b, x) => b.op('Exp', [b.op('Mul', [middle(b, x), b.constant(scalar(0))])]))).toEqual(
      vector(0, 0, 0),
    )
    expect(await gradientAt(vector(1, 2, 3), (b, x) => b.op('Mul', [middle(b, x), b.constant(scalar(5))]))).toEqual(vector(0, 5, 0))
  })

  test('a gradient has the dtype of its target, across casts', async () => {
    const b = new GraphBuilder('g')
    const x = b.input('x', 'float64', [2])
    const single = b.op('Cast', [x], { to: 'float32' })
    const graph = differentiate(b.build([b.named('loss', b.op('ReduceSumSquare', [single], { keepdims: 0 }))]), 'loss', ['x'])
    expect(findProblems(graph)).toEqual([])
    const found = await runOnce(await onnxruntime.create(), graph, { inputs: { x: tensor('float64', [2], Float64Array.of(1, 2)) } })
    expect(found['grad/x']).toEqual(tensor('float64', [2], Float64Array.of(2, 4)))
  })
})

describe.each(['Gemm', 'MatMul'] as const)('the gradient of a matrix that a batch is multiplied by, with %s', (op) => {
  /** The sum of squares of x W, with W of so many columns. */
  const squares = (nColumns: number) => {
    const b = new GraphBuilder('squares')
    const y = b.op(op, [b.input('x', 'float32', ['batch', 3]), b.parameter('W', [3, nColumns])])
    return differentiate(b.build([b.named('loss', b.op('ReduceSumSquare', [y], { keepdims: 0 }))]), 'loss', ['W'])
  }
  const [narrow, wide] = [squares(4), squares(1032)]

  test('of many columns: the batch is transposed beforehand', () => {
    const products = (graph: Graph) => graph.nodes.filter(({ outputs }) => outputs.includes(gradientName('W')))
    expect(products(narrow)).toMatchObject([{ op: 'Gemm', attributes: { transA: 1 } }])
    expect(products(wide)).toMatchObject([{ op: 'Gemm', attributes: {} }])
    expect(wide.nodes.filter((node) => node.op === 'Transpose')).toHaveLength(1)
  })

  test.each(backends)('on %s: a column has the same gradient among few and among many', async (underTest) => {
    const backend = await underTest.create()
    const x = feedsFor(narrow, { batch: 5, seed: 1 }).inputs
    const { W } = feedsFor(narrow, { batch: 5, seed: 2 }).weights as { W: Tensor<'float32'> }
    const among = float32(
      [3, 1032],
      Float32Array.from({ length: 3 * 1032 }, (_, at) => W.data[4 * Math.floor(at / 1032) + (at % 4)]!),
    )
    const gradientOf = async (graph: Graph, weights: Record<string, Tensor>) =>
      (await runOnce(backend, graph, { inputs: x, weights }))[gradientName('W')]!
    const [few, many] = [await gradientOf(narrow, { W }), await gradientOf(wide, { W: among })]
    const picked = Float32Array.from({ length: 12 }, (_, at) => Number(many.data[1032 * Math.floor(at / 4) + 1024 + (at % 4)]))
    expect(float32([3, 4], picked)).toBeCloseTensor(few)
  })
})

describe.each<NormForm>(['fused', 'written out'])('at hook points, LayerNorm %s', (form) => {
  const graph = withLoss(block(form))
  const hookPoints = graph.hookPoints.map(({ name }) => name)
  const feeds = feedsFor(graph, { batch: 2, seed: 3 })

  test.each(hookPoints)('the gradient at %s is what an edit there would change, over all its firings', async (hookPoint) => {
    const differentiated = differentiate(graph, 'loss', [hookPoint])
    const { [gradientName(hookPoint)]: actual } = await runOnce(precise, differentiated, feeds)
    const edited = replace(graph, hookPoint, ({ builder, value, type }) =>
      builder.op('Add', [value, builder.input('moved', 'float32', type().shape)]),
    )
    const moved = { dtype: 'float64', shape: actual!.shape, data: new Float64Array(elementCount(actual!.shape)) } as const
    const expected = await differenceQuotients(precise, edited, {
      inputs: { ...feeds.inputs, moved },
      weights: feeds.weights,
      by: ['moved'],
    })
    expect(actual).toBeCloseTensor(expected.moved!, { tolerance: 1e-7 })
  })

  test('nothing that was computed before changes by a bit on ONNX Runtime, where the operator stays fused', async () => {
    const backend = await onnxruntime.create()
    const exposed = expose(graph, hookPoints)
    const before = await runOnce(backend, exposed, feeds)
    const after = await runOnce(backend, differentiate(exposed, 'loss', ['x', 'hook_pre', ...Object.keys(graph.parameters)]), feeds)
    for (const output of exposed.outputs) expect(after[output], output).toEqual(before[output])
  })
})

describe('random programs', () => {
  const everything = (graph: Graph) => [
    ...Object.keys(graph.inputs),
    ...Object.keys(graph.parameters),
    ...graph.hookPoints.map(({ name }) => name),
  ]

  test('ONNX Runtime is off by no more than rounding is', async () => {
    const [plain, fast] = await Promise.all([reference.create(), onnxruntime.create()])
    await fc.assert(
      fc.asyncProperty(programs, fc.nat(1000), async (program, seed) => {
        const graph = withLoss(program)
        const differentiated = differentiate(graph, 'loss', everything(graph))
        expect(findProblems(differentiated)).toEqual([])
        const feeds = feedsFor(graph, { batch: 2, seed })
        const [exact, rounded, actual] = await Promise.all([precise, plain, fast].map((on) => runOnce(on, differentiated, feeds)))
        for (const output of differentiated.outputs) {
          // Where large terms cancel, float32 keeps little: how little, the reference backend says, which rounds once an operator.
          const lost = distance(rounded![output]!, exact![output]!)
          const off = distance(actual![output]!, exact![output]!)
          expect(off, output).toBeLessThanOrEqual(1e-4 * scaleOf(exact![output]!) + 50 * lost + 1e-9)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('the gradient by the input is the difference quotient', async () => {
    await fc.assert(
      fc.asyncProperty(programs, fc.nat(1000), async (program, seed) => {
        const graph = withLoss(program)
        const feeds = feedsFor(graph, { batch: 1, seed })
        const x = { dtype: 'float64', shape: feeds.inputs.x!.shape, data: Float64Array.from(feeds.inputs.x!.data as Float32Array) } as const
        const { 'grad/x': actual } = await runOnce(precise, differentiate(graph, 'loss', ['x']), { ...feeds, inputs: { x } })
        const expected = await differenceQuotients(precise, graph, { inputs: { x }, weights: feeds.weights, by: ['x'] })
        expect(distance(actual!, expected.x!)).toBeLessThanOrEqual(1e-4 * scaleOf(expected.x!) + 1e-8)
      }),
      { numRuns: 40 },
    )
  })

  test('of a x plus b y it is a times that of x plus b times that of y', async () => {
    await fc.assert(
      fc.asyncProperty(programs, fc.nat(1000), async (program, seed) => {
        const graph = withLoss(program)
        const middle = graph.hookPoints[0]?.name ?? 'x'
        const all = followedBy(graph, 'mix/', (b) => {
          const other = b.named('other', b.op('ReduceSum', [b.op('Tanh', [middle])], { keepdims: 0 }))
          const [most, less] = [b.op('Mul', [b.constant(scalar(3)), 'loss']), b.op('Mul', [other, b.constant(scalar(0.5))])]
          return b.named('mixed', b.op('Sub', [most, less]))
        })
        const feeds = feedsFor(graph, { batch: 2, seed })
        const gradientOf = async (of: string) => (await runOnce(precise, differentiate(all, of, ['x']), feeds))['grad/x']!
        const [ofLoss, ofOther, ofMixed] = [await gradientOf('loss'), await gradientOf('other'), await gradientOf('mixed')]
        const expected = Float64Array.from(ofLoss.data as Float64Array, (g, at) => 3 * g - 0.5 * Number(ofOther.data[at]))
        expect(ofMixed).toBeCloseTensor(tensor('float64', ofLoss.shape, expected), { tolerance: 1e-10 })
      }),
      { numRuns: 30 },
    )
  })

  test('exposing before or after makes no difference, and the text of the graph reads back', () => {
    fc.assert(
      fc.property(programs, (program) => {
        const graph = withLoss(program)
        const names = graph.hookPoints.map(({ name }) => name)
        const after = expose(differentiate(graph, 'loss', ['x']), names)
        const before = differentiate(expose(graph, names), 'loss', ['x'])
        expect(before.nodes).toEqual(after.nodes)
        expect(before.constants).toEqual(after.constants)
        expect([...before.outputs].sort()).toEqual([...after.outputs].sort())
        expect(parse(print(before))).toEqual(before)
      }),
      { numRuns: 40 },
    )
  })
})
