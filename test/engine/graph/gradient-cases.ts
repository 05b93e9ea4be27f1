/**
 * What each gradient rule is tried on. Every row of the operator table that has a rule has its cases here; a test holds that. A case is
 * away from kinks and ties, where a difference quotient says nothing; those have tests of their own.
 */

import type { Attribute } from '../../../src/engine/graph/graph.js'
import type { OpName } from '../../../src/engine/graph/operators.js'
import { elementCount, int64, type Tensor, tensor } from '../../../src/engine/tensor.js'

export interface GradientCase {
  readonly title: string
  /** float64 tensors are differentiated by; a `literal` is a constant of the graph, in the dtype of the run when it is of floats. */
  readonly inputs: readonly (Tensor | { readonly literal: Tensor } | undefined)[]
  /** Axes of the inputs that are declared as symbols: `[['batch'], [undefined, 'pos']]`. */
  readonly symbols?: readonly (readonly (string | undefined)[] | undefined)[]
  readonly attributes?: Readonly<Record<string, Attribute>>
  readonly nOutputs?: number
}

/** Numbers that look random, in [-2, 2); none two times, also not with another seed. */
export function spreadNumbers(count: number, seed = 1): number[] {
  let state = (seed * 2654435761 + 12345) >>> 0
  const order = Array.from({ length: count }, (_, at) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return { at, key: state }
  }).sort((left, right) => left.key - right.key)
  const values = new Array<number>(count)
  for (const [place, { at }] of order.entries()) values[at] = ((place + 0.3 + 0.07 * seed) / count) * 4 - 2
  return values
}

export const f64 = (shape: readonly number[], seed = 1) =>
  tensor('float64', shape, Float64Array.from(spreadNumbers(elementCount(shape), seed)))
const positive = (shape: readonly number[], seed = 1) =>
  tensor(
    'float64',
    shape,
    (f64(shape, seed).data as Float64Array).map((x) => Math.abs(x) + 0.3),
  )
const number = (value: number) => tensor('float64', [], Float64Array.of(value))
const bool = (shape: readonly number[], seed = 1) =>
  tensor(
    'bool',
    shape,
    Uint8Array.from(spreadNumbers(elementCount(shape), seed), (x) => (x > 0 ? 1 : 0)),
  )
const literal = (of: Tensor) => ({ literal: of })
const whole = (...elements: number[]) => literal(int64([elements.length], elements))

const unary = (domain: (shape: readonly number[], seed?: number) => Tensor = f64): GradientCase[] => [
  { title: 'a matrix', inputs: [domain([3, 4])] },
  { title: 'a scalar', inputs: [domain([])] },
  { title: 'a symbolic axis', inputs: [domain([2, 3])], symbols: [['batch']] },
]

const binary = (left = f64, right = f64): GradientCase[] => [
  { title: 'equal shapes', inputs: [left([2, 3], 1), right([2, 3], 2)] },
  { title: 'a vector over rows', inputs: [left([2, 3], 1), right([3], 2)] },
  { title: 'rows under a vector', inputs: [left([3], 1), right([2, 3], 2)] },
  { title: 'a scalar on the left', inputs: [left([], 1), right([2, 3], 2)] },
  { title: 'scalars', inputs: [left([], 1), right([], 2)] },
  { title: 'both repeat', inputs: [left([2, 1, 3], 1), right([4, 1], 2)] },
  { title: 'one element of another rank', inputs: [left([3], 1), right([1, 1, 1], 2)] },
  { title: 'a symbolic batch', inputs: [left([2, 3, 2], 1), right([3, 1], 2)], symbols: [['batch']] },
  { title: 'a symbolic batch that repeats', inputs: [left([2, 1], 1), right([1, 3], 2)], symbols: [['batch']] },
]

const reduction = (): GradientCase[] => [
  { title: 'all axes', inputs: [f64([2, 3])] },
  { title: 'all axes, dropped', inputs: [f64([2, 3])], attributes: { keepdims: 0 } },
  { title: 'the last axis, kept', inputs: [f64([2, 3, 2]), whole(-1)] },
  { title: 'two axes, dropped', inputs: [f64([2, 3, 2]), whole(0, 2)], attributes: { keepdims: 0 } },
  { title: 'a symbolic axis', inputs: [f64([2, 3]), whole(0)], symbols: [['batch']], attributes: { keepdims: 0 } },
  { title: 'two symbolic axes and a known one', inputs: [f64([2, 3, 2])], symbols: [['batch', 'pos']], attributes: { keepdims: 0 } },
  { title: 'beside a symbolic axis', inputs: [f64([2, 3]), whole(1)], symbols: [['batch']] },
  { title: 'a scalar', inputs: [f64([])] },
  { title: 'axes of length 1', inputs: [f64([1, 3]), whole(0)], attributes: { keepdims: 0 } },
]

const product = (): GradientCase[] => [
  { title: 'matrices', inputs: [f64([3, 4], 1), f64([4, 2], 2)] },
  { title: 'a stack by one matrix', inputs: [f64([2, 3, 4], 1), f64([4, 2], 2)] },
  { title: 'a deep stack by one matrix, symbolic', inputs: [f64([2, 2, 3, 4], 1), f64([4, 2], 2)], symbols: [['batch']] },
  { title: 'one matrix by a stack', inputs: [f64([3, 4], 1), f64([2, 4, 2], 2)], symbols: [undefined, ['batch']] },
  { title: 'stacks', inputs: [f64([2, 3, 4], 1), f64([2, 4, 2], 2)], symbols: [['batch'], ['batch']] },
  { title: 'stacks, wide', inputs: [f64([2, 2, 3], 1), f64([2, 3, 4], 2)], symbols: [['batch'], ['batch']] },
  { title: 'stacks that repeat', inputs: [f64([2, 1, 3, 4], 1), f64([3, 4, 2], 2)] },
  { title: 'a row', inputs: [f64([4], 1), f64([4, 2], 2)] },
  { title: 'a row by a stack', inputs: [f64([4], 1), f64([2, 4, 3], 2)] },
  { title: 'a column', inputs: [f64([3, 4], 1), f64([4], 2)] },
  { title: 'a stack by a column', inputs: [f64([2, 3, 4], 1), f64([4], 2)], symbols: [['batch']] },
  { title: 'two vectors', inputs: [f64([4], 1), f64([4], 2)] },
  { title: 'every image by every text', inputs: [f64([3, 4], 1), f64([4, 2], 2)], symbols: [['batch'], [undefined, 'texts']] },
  { title: 'a stack by a symbolic matrix', inputs: [f64([2, 3, 2], 1), f64([2, 3], 2)], symbols: [['batch'], [undefined, 'texts']] },
]

const gemm = (): GradientCase[] =>
  [0, 1].flatMap((transA) =>
    [0, 1].map((transB) => ({
      title: `transA ${transA}, transB ${transB}`,
      inputs: [f64(transA ? [4, 3] : [3, 4], 1), f64(transB ? [2, 4] : [4, 2], 2), f64([2], 3)],
      attributes: { transA, transB, alpha: 0.5, beta: -2 },
    })),
  )

const convolution = (shapes: {
  x: readonly number[]
  weight: readonly number[]
  bias: number
  attributes?: GradientCase['attributes']
  title: string
}): GradientCase => ({
  title: shapes.title,
  inputs: [f64(shapes.x, 1), f64(shapes.weight, 2), f64([shapes.bias], 3)],
  symbols: [['batch']],
  ...(shapes.attributes && { attributes: shapes.attributes }),
})

/** The cases of the rows that have a rule. */
export const gradientCases: Readonly<Partial<Record<OpName, readonly GradientCase[]>>> = {
  Identity: unary(),
  Cast: [{ title: 'between floats', inputs: [f64([2, 3])], attributes: { to: 'float64' } }],
  Neg: unary(),
  Abs: unary(),
  Sqrt: unary(positive),
  Reciprocal: unary(positive),
  Exp: unary(),
  Log: unary(positive),
  Erf: unary(),
  Tanh: unary(),
  Sigmoid: unary(),
  Relu: unary(),
  Gelu: [...unary(), ...unary().map((each) => ({ ...each, title: `${each.title}, by tanh`, attributes: { approximate: 'tanh' } }))],
  Clip: [
    { title: 'both bounds', inputs: [f64([3, 4]), number(-1.01), number(0.77)] },
    { title: 'below', inputs: [f64([3, 4]), number(0.01)] },
    { title: 'above', inputs: [f64([3, 4]), undefined, number(0.51)] },
    { title: 'none', inputs: [f64([3, 4])] },
    { title: 'lower above upper', inputs: [f64([3, 4]), number(1.01), number(-1.01)] },
    { title: 'a symbolic batch', inputs: [f64([2, 3]), number(-0.51), number(0.51)], symbols: [['batch']] },
    { title: 'a scalar', inputs: [number(0.2), number(0.3), number(0.9)] },
  ],
  Add: binary(),
  Sub: binary(),
  Mul: binary(),
  Div: binary(f64, positive),
  Pow: [
    ...binary(positive, f64),
    ...[0, 1, 2, 3, -1.5].map((power) => ({ title: `to the ${power}`, inputs: [positive([2, 3]), literal(number(power))] })),
    { title: 'negative bases to a whole power', inputs: [f64([2, 3]), literal(number(3))] },
  ],
  Min: binary(),
  Max: binary(),
  Where: [
    { title: 'equal shapes', inputs: [bool([2, 3]), f64([2, 3], 1), f64([2, 3], 2)] },
    { title: 'all three repeat', inputs: [bool([2, 1, 1]), f64([3, 1], 1), f64([4], 2)] },
    { title: 'a scalar otherwise', inputs: [bool([2, 3]), f64([2, 3]), number(0.3)] },
    { title: 'a table repeated over the batch', inputs: [bool([2, 1, 1]), f64([3, 2]), f64([3, 2], 2)], symbols: [['batch']] },
  ],
  MatMul: product(),
  FusedMatMul: [
    ...[0, 1].flatMap((transA) =>
      [0, 1].map((transB) => ({
        title: `stacks, transA ${transA}, transB ${transB}`,
        inputs: [f64(transA ? [2, 4, 3] : [2, 3, 4], 1), f64(transB ? [2, 2, 4] : [2, 4, 2], 2)],
        symbols: [['batch'], ['batch']],
        attributes: { transA, transB, alpha: 0.5 },
      })),
    ),
    { title: 'a stack by one matrix', inputs: [f64([2, 3, 4], 1), f64([4, 2], 2)], symbols: [['batch']] },
    {
      title: 'a stack by one transposed matrix',
      inputs: [f64([2, 3, 4], 1), f64([2, 4], 2)],
      symbols: [['batch']],
      attributes: { transB: 1 },
    },
    {
      title: 'a transposed stack by one matrix',
      inputs: [f64([2, 4, 3], 1), f64([4, 2], 2)],
      symbols: [['batch']],
      attributes: { transA: 1 },
    },
    { title: 'stacks that repeat', inputs: [f64([2, 1, 4, 3], 1), f64([3, 2, 4], 2)], attributes: { transA: 1, transB: 1 } },
  ],
  Gemm: [
    ...gemm(),
    { title: 'without C', inputs: [f64([3, 4], 1), f64([4, 2], 2)], symbols: [['batch']] },
    { title: 'a full C', inputs: [f64([3, 4], 1), f64([4, 2], 2), f64([3, 2], 3)] },
    { title: 'a column C', inputs: [f64([3, 4], 1), f64([4, 2], 2), f64([3, 1], 3)] },
    { title: 'a scalar C', inputs: [f64([3, 4], 1), f64([4, 2], 2), f64([], 3)] },
    { title: 'C not read', inputs: [f64([3, 4], 1), f64([4, 2], 2), f64([2], 3)], attributes: { beta: 0 } },
  ],
  Conv: [
    convolution({ title: 'patches', x: [2, 2, 4, 6], weight: [3, 2, 2, 3], bias: 3, attributes: { strides: [2, 3] } }),
    convolution({
      title: 'patches of a picture they do not fill',
      x: [2, 2, 5, 7],
      weight: [2, 2, 2, 3],
      bias: 2,
      attributes: { strides: [2, 3] },
    }),
    convolution({ title: 'defaults', x: [2, 2, 4, 4], weight: [3, 2, 3, 3], bias: 3 }),
    convolution({ title: 'padded unevenly', x: [2, 2, 4, 3], weight: [2, 2, 3, 3], bias: 2, attributes: { pads: [1, 0, 2, 1] } }),
    convolution({
      title: 'with strides and a rest',
      x: [2, 2, 6, 7],
      weight: [2, 2, 3, 2],
      bias: 2,
      attributes: { strides: [2, 3], pads: [1, 1, 0, 0] },
    }),
    convolution({
      title: 'dilated, in groups',
      x: [2, 4, 5, 5],
      weight: [6, 2, 2, 2],
      bias: 6,
      attributes: { dilations: [2, 3], group: 2 },
    }),
    convolution({ title: 'one dimension', x: [2, 2, 7], weight: [3, 2, 3], bias: 3, attributes: { strides: [2] } }),
    convolution({ title: 'three dimensions', x: [1, 1, 3, 3, 3], weight: [2, 1, 2, 2, 2], bias: 2 }),
    { title: 'without bias', inputs: [f64([1, 1, 4, 4], 1), f64([2, 1, 2, 2], 2)], attributes: { strides: [2, 2] } },
  ],
  ConvTranspose: [
    convolution({ title: 'defaults', x: [2, 2, 3, 3], weight: [2, 3, 2, 2], bias: 3 }),
    convolution({
      title: 'with strides, padding and a rest',
      x: [2, 2, 3, 2],
      weight: [2, 2, 3, 3],
      bias: 2,
      attributes: { strides: [2, 3], pads: [1, 0, 1, 1], output_padding: [1, 2] },
    }),
    convolution({
      title: 'dilated, in groups',
      x: [2, 4, 3, 2],
      weight: [4, 2, 2, 2],
      bias: 4,
      attributes: { dilations: [2, 1], group: 2 },
    }),
  ],
  ReduceMean: reduction(),
  ReduceSum: reduction(),
  ReduceSumSquare: reduction(),
  ReduceMax: reduction(),
  ReduceMin: reduction(),
  Softmax: [
    { title: 'the last axis', inputs: [f64([2, 4])] },
    { title: 'an inner axis', inputs: [f64([2, 3, 2])], attributes: { axis: 1 } },
    { title: 'a symbolic batch', inputs: [f64([2, 3])], symbols: [['batch']] },
    { title: 'along a symbolic axis', inputs: [f64([2, 3])], symbols: [[undefined, 'texts']] },
  ],
  LayerNormalization: [
    { title: 'three outputs', inputs: [f64([2, 2, 4], 1), f64([4], 2), f64([4], 3)], nOutputs: 3, symbols: [['batch']] },
    { title: 'one output', inputs: [f64([2, 4], 1), f64([4], 2), f64([4], 3)], attributes: { epsilon: 0.5 } },
    { title: 'no bias', inputs: [f64([2, 4], 1), f64([4], 2)] },
    { title: 'over two axes', inputs: [f64([2, 3, 2], 1), f64([3, 2], 2), f64([3, 2], 3)], nOutputs: 3, attributes: { axis: 1 } },
    { title: 'a constant scale', inputs: [f64([2, 4], 1), literal(f64([4], 2))] },
  ],
  TopK: [
    { title: 'the last axis', inputs: [f64([2, 5]), whole(2)], nOutputs: 2, symbols: [['batch']] },
    { title: 'the smallest of the first axis', inputs: [f64([5, 2]), whole(3)], nOutputs: 2, attributes: { axis: 0, largest: 0 } },
  ],
  Reshape: [
    { title: 'explicit', inputs: [f64([2, 6]), whole(3, 4)] },
    { title: 'the rest', inputs: [f64([2, 3, 4]), whole(-1, 4)], symbols: [['batch']] },
    { title: 'two symbolic axes', inputs: [f64([2, 3, 4]), whole(-1, 4)], symbols: [['batch', 'pos']] },
    { title: 'to a scalar', inputs: [f64([1, 1]), whole()] },
  ],
  Transpose: [
    { title: 'reversed', inputs: [f64([2, 3, 2])] },
    { title: 'a cycle', inputs: [f64([2, 3, 2])], attributes: { perm: [1, 2, 0] }, symbols: [['batch']] },
  ],
  Squeeze: [
    { title: 'every axis of length 1', inputs: [f64([1, 3, 1])] },
    { title: 'one of them', inputs: [f64([1, 3, 1]), whole(-1)] },
    { title: 'none', inputs: [f64([2, 3])] },
  ],
  Unsqueeze: [
    { title: 'around', inputs: [f64([3]), whole(0, 2)] },
    { title: 'from the end', inputs: [f64([2, 3]), whole(-1)], symbols: [['batch']] },
  ],
  Expand: [
    { title: 'over a batch', inputs: [f64([1, 4]), whole(3, 2, 4)] },
    { title: 'both ways', inputs: [f64([2, 1]), whole(1, 3)], symbols: [['batch']] },
    { title: 'a scalar', inputs: [f64([]), whole(2, 2)] },
  ],
  Concat: [
    {
      title: 'the middle axis',
      inputs: [f64([2, 1, 2], 1), f64([2, 2, 2], 2), f64([2, 0, 2], 3)],
      attributes: { axis: 1 },
      symbols: [['batch'], ['batch'], ['batch']],
    },
    { title: 'from the end', inputs: [f64([2, 3], 1), f64([2, 1], 2)], attributes: { axis: -1 } },
    { title: 'one', inputs: [f64([2, 3])], attributes: { axis: 0 } },
    { title: 'with a constant', inputs: [literal(f64([1, 3], 1)), f64([2, 3], 2)], attributes: { axis: 0 } },
    {
      title: 'along a symbolic axis',
      inputs: [f64([2, 2], 1), f64([1, 2], 2), f64([3, 2], 3)],
      attributes: { axis: 0 },
      symbols: [['batch'], undefined, ['texts']],
    },
  ],
  Split: [
    { title: 'given lengths', inputs: [f64([2, 6]), whole(1, 3, 2)], nOutputs: 3, attributes: { axis: 1 } },
    { title: 'a shorter last part', inputs: [f64([2, 5])], nOutputs: 3, attributes: { num_outputs: 3, axis: -1 }, symbols: [['batch']] },
  ],
  Slice: [
    { title: 'leading axes', inputs: [f64([4, 5]), whole(1, 2), whole(3, 5)] },
    { title: 'the first place of a sequence', inputs: [f64([2, 3, 2]), whole(0), whole(1), whole(1)], symbols: [['batch']] },
    { title: 'from the end', inputs: [f64([2, 5]), whole(-3), whole(-1), whole(-1)] },
    { title: 'every second', inputs: [f64([2, 7]), whole(1), whole(7), whole(1), whole(2)], symbols: [['batch']] },
    { title: 'every third, to the very end', inputs: [f64([2, 7]), whole(0), whole(7), whole(1), whole(3)] },
    { title: 'reversed', inputs: [f64([2, 5]), whole(-1), whole(-(2 ** 31)), whole(1), whole(-1)] },
    { title: 'every second, reversed, and rows', inputs: [f64([3, 6]), whole(-1, 1), whole(-(2 ** 31), 3), whole(1, 0), whole(-2, 1)] },
    { title: 'the first of a symbolic axis', inputs: [f64([3, 2]), whole(0), whole(1)], symbols: [['batch']] },
    {
      title: 'the last of a symbolic axis',
      inputs: [f64([3, 2, 4]), whole(-1, 1), whole(2 ** 31 - 1, 3), whole(0, 2)],
      symbols: [['batch', 'pos']],
    },
    { title: 'all', inputs: [f64([2, 3]), whole(0), whole(9), whole(1)] },
  ],
  Pad: [
    { title: 'on both sides', inputs: [f64([2, 3]), whole(1, 0, 0, 2)] },
    { title: 'a sequence', inputs: [f64([2, 1, 2]), whole(0, 2, 0, 0, 1, 0)], symbols: [['batch']] },
    { title: 'nothing added', inputs: [f64([2, 3]), whole(0, 0, 0, 0)] },
  ],
  Gather: [
    { title: 'rows, one twice', inputs: [f64([4, 2]), int64([3], [3, 0, 3])] },
    { title: 'a table of embeddings', inputs: [f64([5, 2]), int64([2, 3], [0, 4, 3, 3, 1, 2])], symbols: [undefined, ['batch']] },
    { title: 'one place, dropped', inputs: [f64([2, 3, 2]), literal(int64([], [1]))], attributes: { axis: 1 }, symbols: [['batch']] },
    { title: 'places', inputs: [f64([2, 3, 2]), int64([2, 2], [0, 2, -1, 0])], attributes: { axis: 1 }, symbols: [['batch']] },
    { title: 'the last axis, int32', inputs: [f64([2, 4]), tensor('int32', [3], Int32Array.of(3, 3, -4))], attributes: { axis: -1 } },
    { title: 'a row of a symbolic axis', inputs: [f64([3, 2]), int64([], [-1])], symbols: [['batch']] },
  ],
  GatherElements: [
    { title: 'the last axis', inputs: [f64([3, 4]), int64([3, 2], [0, 3, 1, 1, 2, 0])], attributes: { axis: 1 } },
    { title: 'a label for each', inputs: [f64([2, 4]), int64([2, 1], [3, -3])], attributes: { axis: -1 }, symbols: [['batch'], ['batch']] },
    { title: 'fewer rows', inputs: [f64([3, 4]), int64([2, 2], [0, 3, 1, 1])], attributes: { axis: 1 } },
  ],
  ScatterElements: [
    { title: 'the last axis', inputs: [f64([3, 4], 1), int64([3, 2], [0, 3, 1, 2, 2, 0]), f64([3, 2], 2)], attributes: { axis: 1 } },
    {
      title: 'added up',
      inputs: [f64([2, 3], 1), int64([2, 3], [0, 0, 2, 1, 1, 1]), f64([2, 3], 2)],
      attributes: { axis: 1, reduction: 'add' },
      symbols: [['batch'], ['batch'], ['batch']],
    },
  ],
  ScatterND: [
    { title: 'rows', inputs: [f64([4, 2], 1), int64([2, 1], [2, -4]), f64([2, 2], 2)] },
    {
      title: 'added up',
      inputs: [f64([4, 2], 1), int64([2, 2, 1], [2, 0, 2, 1]), f64([2, 2, 2], 2)],
      attributes: { reduction: 'add' },
      symbols: [undefined, ['batch'], ['batch']],
    },
  ],
  AdamUpdate: [
    {
      title: 'with decay',
      inputs: [f64([2, 3], 1), f64([2, 3], 2), f64([2, 3], 3), positive([2, 3], 4), number(0.1), number(0.2), number(0.9)],
      attributes: { beta1: 0.9, beta2: 0.75 },
      nOutputs: 3,
    },
    {
      title: 'without decay, a symbolic axis',
      inputs: [f64([3], 1), f64([3], 2), f64([3], 3), positive([3], 4), number(0.5), number(0.2)],
      attributes: { beta1: 0.5, beta2: 0.25 },
      symbols: [['rows'], ['rows'], ['rows'], ['rows']],
      nOutputs: 3,
    },
  ],
}
