/**
 * What each operator is tried on: its attributes, broadcasting, edges. Every row of the operator table has its cases here (the type and
 * a test hold that), and every backend runs all of them.
 */

import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import type { Attribute, Graph } from '../../../src/engine/graph/graph.js'
import type { OpName } from '../../../src/engine/graph/operators.js'
import { type DType, elementCount, int64, type Tensor, tensor } from '../../../src/engine/tensor.js'

export interface OperatorCase {
  readonly title: string
  /** `constant` is part of the graph, `undefined` an absent optional input, anything else is fed. */
  readonly inputs: readonly (Tensor | Constant | undefined)[]
  readonly attributes?: Readonly<Record<string, Attribute>>
  readonly nOutputs?: number
  /** Part of the scale; for functions that a fast backend approximates. */
  readonly tolerance?: number
  /** ONNX Runtime has no implementation for these types: it must say so. */
  readonly isUnsupportedByOnnxRuntime?: true
  /** NaN or infinity, which a shader may take for granted not to be there (WGSL, section 15.7): on WebGPU it need only run. */
  readonly isBeyondShaders?: true
}

interface Constant {
  readonly constant: Tensor
}

const isConstant = (input: Tensor | Constant): input is Constant => 'constant' in input

/** The graph of one node, and what to feed it. */
export function caseGraph(
  op: OpName,
  { inputs, attributes = {}, nOutputs = 1 }: OperatorCase,
): { graph: Graph; feeds: Record<string, Tensor> } {
  const builder = new GraphBuilder(op)
  const feeds: Record<string, Tensor> = {}
  const values = inputs.map((input, at) => {
    if (!input) return ''
    if (isConstant(input)) return builder.constant(input.constant)
    feeds[`x${at}`] = input
    return builder.input(`x${at}`, input.dtype, input.shape)
  })
  return { graph: builder.build(builder.opMany(op, values, { nOutputs, attributes })), feeds }
}

// --- data: the same on every run

/** Numbers that look random, in [-2, 2), by a linear congruential generator. */
function noise(count: number, seed: number): number[] {
  let state = seed * 2654435761 + 12345
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state / 2 ** 32) * 4 - 2
  })
}

const f32 = (shape: readonly number[], seed = 1) => tensor('float32', shape, Float32Array.from(noise(elementCount(shape), seed)))
const f64 = (shape: readonly number[], seed = 1) => tensor('float64', shape, Float64Array.from(noise(elementCount(shape), seed)))
const positive = (shape: readonly number[], seed = 1) => mapped(f32(shape, seed), (x) => Math.abs(x) + 0.1)
const i32 = (shape: readonly number[], seed = 1) =>
  tensor(
    'int32',
    shape,
    Int32Array.from(noise(elementCount(shape), seed), (x) => x * 10),
  )
const i64 = (shape: readonly number[], seed = 1) =>
  int64(
    shape,
    noise(elementCount(shape), seed).map((x) => Math.trunc(x * 10)),
  )
const u8 = (shape: readonly number[], seed = 1) =>
  tensor(
    'uint8',
    shape,
    Uint8Array.from(noise(elementCount(shape), seed), (x) => Math.abs(x) * 100),
  )
const bool = (shape: readonly number[], seed = 1) =>
  tensor(
    'bool',
    shape,
    Uint8Array.from(noise(elementCount(shape), seed), (x) => (x > 0 ? 1 : 0)),
  )
const values = (...elements: number[]) => tensor('float32', [elements.length], Float32Array.from(elements))
const whole = (...elements: number[]) => ({ constant: int64([elements.length], elements) })

function mapped(of: Tensor<'float32'>, change: (x: number) => number): Tensor<'float32'> {
  return tensor('float32', of.shape, of.data.map(change))
}

const special = [0, -0, 1, -1, 0.5, -3.25, 10, -10, 88, -88, 1e-20, 1e20, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN]

// --- cases that many operators share

const smooth = (domain: (shape: readonly number[]) => Tensor<'float32'> = f32, more: Partial<OperatorCase> = {}): OperatorCase[] => [
  { title: 'a matrix', inputs: [domain([3, 5])], ...more },
  { title: 'a scalar', inputs: [domain([])], ...more },
  { title: 'nothing', inputs: [domain([2, 0, 3])], ...more },
  { title: 'more than a vector register', inputs: [domain([7, 33])], ...more },
]

const onFloat64 = (...inputs: Tensor[]): OperatorCase => ({ title: 'float64', inputs })

const withBroadcasting = (make: (shape: readonly number[], seed: number) => Tensor): OperatorCase[] => [
  { title: `${make([], 1).dtype}: equal shapes`, inputs: [make([2, 3], 1), make([2, 3], 2)] },
  { title: `${make([], 1).dtype}: a vector over rows`, inputs: [make([2, 3], 1), make([3], 2)] },
  { title: `${make([], 1).dtype}: a scalar`, inputs: [make([], 1), make([2, 3], 2)] },
  { title: `${make([], 1).dtype}: both repeat`, inputs: [make([2, 1, 3], 1), make([4, 1], 2)] },
  { title: `${make([], 1).dtype}: nothing`, inputs: [make([0, 3], 1), make([3], 2)] },
]

const arithmetic = (): OperatorCase[] => [f32, f64, i32, i64].flatMap((make) => withBroadcasting(make))

const comparison = (): OperatorCase[] => [
  ...arithmetic(),
  { title: 'equal elements', inputs: [values(1, 2, 3), values(1, 3, 2)] },
  { title: 'special values', inputs: [values(...special), values(...special.toReversed())] },
  { title: 'special values with themselves', inputs: [values(...special), values(...special)] },
]

const reductionCases = (): OperatorCase[] => [
  { title: 'all axes', inputs: [f32([2, 3, 4])] },
  { title: 'the last axis, kept', inputs: [f32([2, 3, 4]), whole(-1)] },
  { title: 'two axes, dropped', inputs: [f32([2, 3, 4]), whole(0, 2)], attributes: { keepdims: 0 } },
  { title: 'an inner axis', inputs: [f32([2, 3, 4]), whole(1)], attributes: { keepdims: 0 } },
  { title: 'float64', inputs: [f64([3, 4]), whole(1)] },
  { title: 'long rows', inputs: [f32([2, 777]), whole(1)] },
]

const reducedInt = (): OperatorCase[] => [
  { title: 'int32', inputs: [i32([3, 4]), whole(1)] },
  { title: 'int64', inputs: [i64([3, 4]), whole(0)] },
]

const f32Scalar = (value: number) => tensor('float32', [], Float32Array.of(value))

const adam = { nOutputs: 3, attributes: { beta1: 0.9, beta2: 0.999 } }

/** Parameter, gradient, both moments, and the numbers of the step. */
function adamInputs(
  make: (shape: readonly number[], seed: number) => Tensor,
  shape: readonly number[],
  numbers: { readonly rate: number; readonly epsilon: number; readonly decay?: number },
): Tensor[] {
  const [p, g, m, v] = [1, 2, 3, 4].map((seed) => make(shape, seed)) as [Tensor, Tensor, Tensor, Tensor]
  const scalars = Object.values(numbers).map((value) =>
    p.dtype === 'float64' ? tensor('float64', [], Float64Array.of(value)) : f32Scalar(value),
  )
  const squares = { ...v, data: (v.data as Float32Array).map((x) => x * x) } as Tensor
  return [p, g, m, squares, ...scalars]
}

const everyDtype = (): Tensor[] => [f32([2, 3]), f64([2, 3]), i32([2, 3]), i64([2, 3]), u8([2, 3]), bool([2, 3])]

// --- the cases

export const operatorCases: Readonly<Record<OpName, readonly OperatorCase[]>> = {
  Identity: everyDtype().map((x) => ({ title: x.dtype, inputs: [x] })),
  Cast: everyDtype().flatMap((x) =>
    (['float32', 'float64', 'int32', 'int64', 'bool'] as const satisfies DType[]).map((to) => ({
      title: `${x.dtype} to ${to}`,
      inputs: [x],
      attributes: { to },
    })),
  ),
  Neg: [...smooth(), onFloat64(f64([3])), { title: 'int32', inputs: [i32([3])] }, { title: 'int64', inputs: [i64([3])] }],
  Sign: [
    ...smooth(),
    onFloat64(f64([3])),
    { title: 'int64', inputs: [i64([3])] },
    { title: 'zeros and infinities', inputs: [values(0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY)] },
  ],
  Abs: [
    ...smooth(),
    onFloat64(f64([3])),
    { title: 'int64', inputs: [i64([3])] },
    { title: 'special values', inputs: [values(...special)] },
  ],
  Sqrt: [...smooth(positive), onFloat64(tensor('float64', [2], Float64Array.of(2, 9)))],
  Reciprocal: [...smooth(positive), onFloat64(f64([3])), { title: 'zeros', inputs: [values(0, -0)] }],
  Exp: [...smooth(), onFloat64(f64([3])), { title: 'far out', inputs: [values(-100, 80, -200, Number.NEGATIVE_INFINITY)] }],
  Log: [
    ...smooth(positive),
    onFloat64(tensor('float64', [2], Float64Array.of(2, 9))),
    { title: 'zero', inputs: [values(0)], isBeyondShaders: true },
  ],
  Erf: [
    ...smooth(),
    { title: 'far out', inputs: [values(-9, -4, -2.5, 2.5, 4, 9)] },
    { ...onFloat64(f64([3])), isUnsupportedByOnnxRuntime: true },
  ],
  Tanh: [...smooth(), onFloat64(f64([3])), { title: 'far out', inputs: [values(-30, -9, 9, 30)] }],
  Sigmoid: [...smooth(), onFloat64(f64([3])), { title: 'far out', inputs: [values(-30, -9, 9, 30)] }],
  Relu: [...smooth(), onFloat64(f64([3])), { title: 'special values', inputs: [values(...special)], isBeyondShaders: true }],
  Gelu: [
    ...smooth(),
    ...smooth(f32, { attributes: { approximate: 'tanh' } }).map((each) => ({ ...each, title: `${each.title}, by tanh` })),
    { title: 'far out', inputs: [values(-30, -9, -4, 4, 9, 30)] },
    { ...onFloat64(f64([3])), isUnsupportedByOnnxRuntime: true },
  ],
  Clip: [
    { title: 'both bounds', inputs: [f32([3, 4]), f32([], 9), tensor('float32', [], Float32Array.of(1.5))] },
    { title: 'only below', inputs: [f32([3, 4]), tensor('float32', [], Float32Array.of(0))] },
    { title: 'only above', inputs: [f32([3, 4]), undefined, tensor('float32', [], Float32Array.of(0.5))] },
    { title: 'no bounds', inputs: [f32([3, 4])] },
    {
      title: 'special values',
      inputs: [values(...special), tensor('float32', [], Float32Array.of(-1)), tensor('float32', [], Float32Array.of(1))],
      isBeyondShaders: true,
    },
    {
      title: 'lower above upper',
      inputs: [f32([3, 4]), tensor('float32', [], Float32Array.of(1)), tensor('float32', [], Float32Array.of(-1))],
    },
    { title: 'int64', inputs: [i64([5]), int64([], [-3]), int64([], [3])] },
    onFloat64(f64([4]), tensor('float64', [], Float64Array.of(0))),
  ],
  Add: arithmetic(),
  Sub: arithmetic(),
  Mul: arithmetic(),
  Div: [f32, f64].flatMap((make) => withBroadcasting(make)).concat({ title: 'by zero', inputs: [values(1, -1, 0), values(0, 0, 0)] }),
  Pow: [
    ...withBroadcasting((shape, seed) => positive(shape, seed)),
    { title: 'whole powers of negative numbers', inputs: [f32([2, 3]), tensor('float32', [], Float32Array.of(3))] },
    { title: 'squares', inputs: [f32([2, 3]), tensor('float32', [], Float32Array.of(2))] },
    onFloat64(tensor('float64', [2], Float64Array.of(2, 9)), tensor('float64', [], Float64Array.of(0.5))),
  ],
  Min: [...arithmetic(), { title: 'NaN on either side', inputs: [values(Number.NaN, 1, 2), values(1, Number.NaN, 3)] }],
  Max: [...arithmetic(), { title: 'NaN on either side', inputs: [values(Number.NaN, 1, 2), values(1, Number.NaN, 3)] }],
  Equal: [...comparison(), ...withBroadcasting(bool)],
  Greater: comparison(),
  GreaterOrEqual: comparison(),
  Less: comparison(),
  LessOrEqual: comparison(),
  And: withBroadcasting(bool),
  Or: withBroadcasting(bool),
  Not: [{ title: 'a matrix', inputs: [bool([3, 4])] }],
  IsNaN: [{ title: 'special values', inputs: [values(...special)] }, onFloat64(f64([3]))],
  Where: [
    { title: 'equal shapes', inputs: [bool([2, 3]), f32([2, 3], 1), f32([2, 3], 2)] },
    { title: 'all three repeat', inputs: [bool([2, 1, 1]), f32([3, 1], 1), f32([4], 2)] },
    { title: 'a scalar otherwise', inputs: [bool([2, 3]), f32([2, 3]), tensor('float32', [], Float32Array.of(Number.NEGATIVE_INFINITY))] },
    {
      title: 'what is not chosen may be NaN',
      inputs: [tensor('bool', [2], Uint8Array.of(1, 0)), values(1, Number.NaN), values(Number.NaN, 2)],
    },
    { title: 'int64', inputs: [bool([2, 3]), i64([2, 3], 1), i64([3], 2)] },
    { title: 'int32', inputs: [bool([2, 3]), i32([2, 3], 1), i32([3], 2)] },
    { title: 'uint8', inputs: [bool([2, 3]), u8([2, 3], 1), u8([3], 2)] },
    onFloat64(bool([3]), f64([3], 1), f64([3], 2)),
    { title: 'nothing', inputs: [bool([0]), f32([0]), f32([1])] },
  ],
  MatMul: [
    { title: 'matrices', inputs: [f32([3, 4], 1), f32([4, 5], 2)] },
    { title: 'stacks of matrices', inputs: [f32([2, 3, 4], 1), f32([2, 4, 5], 2)] },
    { title: 'stacks that repeat', inputs: [f32([2, 1, 3, 4], 1), f32([3, 4, 2], 2)] },
    { title: 'a stack by one matrix', inputs: [f32([2, 3, 4], 1), f32([4, 5], 2)] },
    { title: 'a vector on the left', inputs: [f32([4], 1), f32([2, 4, 5], 2)] },
    { title: 'a vector on the right', inputs: [f32([2, 3, 4], 1), f32([4], 2)] },
    { title: 'two vectors', inputs: [f32([4], 1), f32([4], 2)] },
    { title: 'no rows', inputs: [f32([0, 4], 1), f32([4, 5], 2)] },
    { title: 'larger than a block', inputs: [f32([37, 129], 1), f32([129, 65], 2)] },
    onFloat64(f64([3, 4], 1), f64([4, 5], 2)),
  ],
  FusedMatMul: [
    { title: 'matrices', inputs: [f32([3, 4], 1), f32([4, 5], 2)] },
    { title: 'keys by queries', inputs: [f32([2, 3, 5, 4], 1), f32([2, 3, 6, 4], 2)], attributes: { transB: 1, alpha: 0.5 } },
    { title: 'the left transposed', inputs: [f32([2, 4, 3], 1), f32([2, 4, 5], 2)], attributes: { transA: 1 } },
    { title: 'both, in stacks that repeat', inputs: [f32([2, 1, 4, 3], 1), f32([3, 5, 4], 2)], attributes: { transA: 1, transB: 1 } },
    { title: 'a stack by one matrix', inputs: [f32([2, 3, 4], 1), f32([5, 4], 2)], attributes: { transB: 1 } },
    { title: 'no rows', inputs: [f32([2, 4, 0], 1), f32([2, 4, 5], 2)], attributes: { transA: 1 } },
    { title: 'larger than a block', inputs: [f32([2, 129, 37], 1), f32([2, 65, 129], 2)], attributes: { transA: 1, transB: 1, alpha: -2 } },
    { title: 'float64', inputs: [f64([2, 4, 3], 1), f64([2, 4, 5], 2)], attributes: { transA: 1 } },
  ],
  Gemm: [
    { title: 'without C', inputs: [f32([3, 4], 1), f32([4, 5], 2)] },
    { title: 'a linear layer', inputs: [f32([3, 4], 1), f32([5, 4], 2), f32([5], 3)], attributes: { transB: 1 } },
    {
      title: 'everything',
      inputs: [f32([4, 3], 1), f32([5, 4], 2), f32([3, 1], 3)],
      attributes: { transA: 1, transB: 1, alpha: 0.5, beta: -2 },
    },
    { title: 'a full C', inputs: [f32([3, 4], 1), f32([4, 5], 2), f32([3, 5], 3)] },
    { title: 'a scalar C', inputs: [f32([3, 4], 1), f32([4, 5], 2), f32([], 3)] },
    { title: 'C not read with beta 0', inputs: [f32([3, 4], 1), f32([4, 5], 2), f32([5], 3)], attributes: { beta: 0 } },
    { title: 'larger than a block', inputs: [f32([50, 129], 1), f32([65, 129], 2), f32([65], 3)], attributes: { transB: 1 } },
    onFloat64(f64([3, 4], 1), f64([4, 5], 2), f64([5], 3)),
  ],
  Conv: [
    { title: 'patches', inputs: [f32([2, 3, 8, 8], 1), f32([4, 3, 4, 4], 2), f32([4], 3)], attributes: { strides: [4, 4] } },
    {
      title: 'patches of a picture they do not fill',
      inputs: [f32([1, 3, 9, 11], 1), f32([4, 3, 4, 3], 2)],
      attributes: { strides: [4, 3] },
    },
    { title: 'defaults', inputs: [f32([1, 2, 5, 5], 1), f32([3, 2, 3, 3], 2)] },
    {
      title: 'padded unevenly',
      inputs: [f32([1, 2, 5, 4], 1), f32([3, 2, 3, 3], 2)],
      attributes: { pads: [1, 0, 2, 1], kernel_shape: [3, 3] },
    },
    { title: 'dilated, in groups', inputs: [f32([1, 4, 7, 7], 1), f32([6, 2, 2, 2], 2)], attributes: { dilations: [2, 3], group: 2 } },
    { title: 'one dimension', inputs: [f32([2, 2, 9], 1), f32([3, 2, 3], 2), f32([3], 3)], attributes: { strides: [2] } },
    { title: 'three dimensions', inputs: [f32([1, 2, 4, 4, 4], 1), f32([3, 2, 2, 2, 2], 2)], attributes: { strides: [2, 2, 2] } },
    { ...onFloat64(f64([1, 2, 3], 1), f64([1, 2, 2], 2)), isUnsupportedByOnnxRuntime: true },
  ],
  ConvTranspose: [
    { title: 'patches', inputs: [f32([2, 4, 2, 2], 1), f32([4, 3, 4, 4], 2), f32([3], 3)], attributes: { strides: [4, 4] } },
    { title: 'defaults', inputs: [f32([1, 3, 3, 3], 1), f32([3, 2, 3, 3], 2)] },
    {
      title: 'padded unevenly, with a rest',
      inputs: [f32([1, 3, 2, 2], 1), f32([3, 2, 3, 3], 2)],
      attributes: { pads: [1, 0, 1, 1], strides: [2, 3], output_padding: [1, 2], kernel_shape: [3, 3] },
    },
    { title: 'dilated, in groups', inputs: [f32([1, 6, 5, 4], 1), f32([6, 2, 2, 2], 2)], attributes: { dilations: [2, 3], group: 2 } },
    { title: 'one dimension', inputs: [f32([2, 3, 4], 1), f32([3, 2, 3], 2), f32([2], 3)], attributes: { strides: [2] } },
    { ...onFloat64(f64([1, 2, 3], 1), f64([2, 1, 2], 2)), isUnsupportedByOnnxRuntime: true },
  ],
  ReduceMean: reductionCases(),
  ReduceSum: [...reductionCases(), ...reducedInt(), { title: 'of nothing', inputs: [f32([2, 0]), whole(1)] }],
  ReduceSumSquare: reductionCases(),
  ReduceMax: [...reductionCases(), ...reducedInt()],
  ReduceMin: [...reductionCases(), ...reducedInt()],
  Softmax: [
    { title: 'the last axis', inputs: [f32([2, 3, 5])] },
    { title: 'an inner axis', inputs: [f32([2, 3, 5])], attributes: { axis: 1 } },
    { title: 'masked', inputs: [values(1, Number.NEGATIVE_INFINITY, 2, Number.NEGATIVE_INFINITY)] },
    { title: 'large', inputs: [values(1000, 1001, 999)] },
    {
      title: 'masked altogether',
      inputs: [tensor('float32', [1, 3], new Float32Array(3).fill(Number.NEGATIVE_INFINITY))],
      isBeyondShaders: true,
    },
    { title: 'NaN', inputs: [values(1, Number.NaN, 2)], isBeyondShaders: true },
    { title: 'long rows', inputs: [f32([2, 197])] },
    onFloat64(f64([2, 3])),
  ],
  LayerNormalization: [
    {
      title: 'a linear stack, three outputs',
      inputs: [f32([2, 3, 8], 1), f32([8], 2), f32([8], 3)],
      nOutputs: 3,
      attributes: { epsilon: 1e-6 },
    },
    { title: 'one output', inputs: [f32([2, 3, 8], 1), f32([8], 2), f32([8], 3)] },
    { title: 'no bias', inputs: [f32([2, 8], 1), f32([8], 2)], nOutputs: 3 },
    { title: 'over two axes', inputs: [f32([2, 3, 4], 1), f32([3, 4], 2), f32([3, 4], 3)], nOutputs: 3, attributes: { axis: 1 } },
    { title: 'a constant row', inputs: [tensor('float32', [1, 4], new Float32Array(4).fill(3)), f32([4], 2), f32([4], 3)], nOutputs: 3 },
    onFloat64(f64([2, 8], 1), f64([8], 2), f64([8], 3)),
  ],
  ArgMax: [
    { title: 'the last axis', inputs: [f32([3, 4])], attributes: { axis: -1 } },
    { title: 'an inner axis, dropped', inputs: [f32([2, 3, 4])], attributes: { axis: 1, keepdims: 0 } },
    { title: 'the first of equals', inputs: [values(1, 3, 3, 2)] },
    { title: 'the last of equals', inputs: [values(1, 3, 3, 2)], attributes: { select_last_index: 1 } },
    { title: 'token ids (int64)', inputs: [int64([2, 4], [5, 9, 9, 0, 7, 1, 2, 3])], attributes: { axis: 1, keepdims: 0 } },
    { title: 'token ids (int32)', inputs: [i32([2, 4])], attributes: { axis: 1, keepdims: 0 } },
    onFloat64(f64([4])),
  ],
  TopK: [
    { title: 'the last axis', inputs: [f32([3, 7]), whole(3)], nOutputs: 2 },
    { title: 'the first axis', inputs: [f32([7, 2]), whole(2)], nOutputs: 2, attributes: { axis: 0 } },
    { title: 'the smallest', inputs: [f32([3, 7]), whole(2)], nOutputs: 2, attributes: { largest: 0 } },
    { title: 'all, with equals', inputs: [values(1, 3, 2, 3, 1), whole(5)], nOutputs: 2 },
    { title: 'the smallest of equals', inputs: [values(1, 3, 2, 3, 1), whole(3)], nOutputs: 2, attributes: { largest: 0 } },
    { title: 'many', inputs: [f32([2, 600]), whole(64)], nOutputs: 2 },
    { title: 'none', inputs: [f32([2, 5]), whole(0)], nOutputs: 2 },
    { title: 'int64', inputs: [i64([6]), whole(2)], nOutputs: 2 },
    { title: 'float64', inputs: [f64([6]), whole(2)], nOutputs: 2 },
  ],
  Shape: [
    { title: 'all axes', inputs: [f32([2, 3, 4])] },
    { title: 'the first', inputs: [f32([2, 3, 4])], attributes: { start: 0, end: 1 } },
    { title: 'from the end', inputs: [f32([2, 3, 4])], attributes: { start: -2 } },
    { title: 'a scalar', inputs: [f32([])] },
  ],
  Reshape: [
    { title: 'explicit', inputs: [f32([2, 6]), whole(3, 4)] },
    { title: 'the rest', inputs: [f32([2, 6]), whole(-1, 4)] },
    { title: 'kept axes', inputs: [f32([2, 6]), whole(0, 3, 2)] },
    { title: 'kept axes and the rest', inputs: [f32([2, 3, 4]), whole(0, -1)] },
    { title: 'to a vector', inputs: [bool([2, 3]), whole(-1)] },
    { title: 'to a scalar', inputs: [f32([1, 1]), whole()] },
    { title: 'int64', inputs: [i64([2, 3]), whole(3, 2)] },
  ],
  Transpose: [
    { title: 'reversed', inputs: [f32([2, 3, 4])] },
    { title: 'heads before positions', inputs: [f32([2, 3, 4, 5])], attributes: { perm: [0, 2, 1, 3] } },
    { title: 'a cycle', inputs: [f32([2, 3, 4])], attributes: { perm: [1, 2, 0] } },
    { title: 'int64', inputs: [i64([2, 3])] },
    { title: 'nothing', inputs: [f32([0, 3])] },
  ],
  Squeeze: [
    { title: 'every axis of length 1', inputs: [f32([1, 3, 1])] },
    { title: 'one of them', inputs: [f32([1, 3, 1]), whole(-1)] },
  ],
  Unsqueeze: [
    { title: 'around', inputs: [f32([3]), whole(0, 2)] },
    { title: 'from the end', inputs: [f32([2, 3]), whole(-1)] },
    { title: 'a scalar', inputs: [f32([]), whole(0)] },
  ],
  Expand: [
    { title: 'over a batch', inputs: [f32([1, 4]), whole(3, 2, 4)] },
    { title: 'in the middle', inputs: [f32([2, 1, 4]), whole(2, 3, 4)] },
    { title: 'both ways', inputs: [f32([2, 1]), whole(1, 3)] },
    { title: 'a scalar', inputs: [f32([]), whole(2, 2)] },
    { title: 'int64', inputs: [i64([1]), whole(3)] },
    { title: 'bool', inputs: [bool([1]), whole(3)] },
  ],
  Concat: [
    { title: 'the first axis', inputs: [f32([1, 3], 1), f32([2, 3], 2)], attributes: { axis: 0 } },
    { title: 'the middle axis', inputs: [f32([2, 1, 3], 1), f32([2, 4, 3], 2), f32([2, 0, 3], 3)], attributes: { axis: 1 } },
    { title: 'from the end', inputs: [f32([2, 3], 1), f32([2, 1], 2)], attributes: { axis: -1 } },
    { title: 'one', inputs: [f32([2, 3])], attributes: { axis: 0 } },
    { title: 'int64', inputs: [i64([2], 1), i64([3], 2)], attributes: { axis: 0 } },
    { title: 'bool', inputs: [bool([2], 1), bool([3], 2)], attributes: { axis: 0 } },
  ],
  Split: [
    { title: 'given lengths', inputs: [f32([2, 6]), whole(1, 3, 2)], nOutputs: 3, attributes: { axis: 1 } },
    { title: 'equal parts', inputs: [f32([6, 2])], nOutputs: 3, attributes: { num_outputs: 3 } },
    { title: 'a shorter last part', inputs: [f32([2, 7])], nOutputs: 3, attributes: { num_outputs: 3, axis: -1 } },
    { title: 'int64', inputs: [i64([4])], nOutputs: 2, attributes: { num_outputs: 2 } },
  ],
  Slice: [
    { title: 'leading axes', inputs: [f32([4, 5]), whole(1, 2), whole(3, 5)] },
    { title: 'one axis to the end', inputs: [f32([2, 5, 3]), whole(1), whole(2 ** 31 - 1), whole(1)] },
    { title: 'from the end', inputs: [f32([2, 5]), whole(-3), whole(-1), whole(-1)] },
    { title: 'every second', inputs: [f32([2, 7]), whole(1), whole(7), whole(1), whole(2)] },
    { title: 'reversed', inputs: [f32([2, 5]), whole(-1), whole(-(2 ** 31)), whole(1), whole(-1)] },
    { title: 'nothing', inputs: [f32([2, 5]), whole(3), whole(3), whole(1)] },
    { title: 'beyond the end', inputs: [f32([2, 5]), whole(3), whole(9), whole(1)] },
    { title: 'int64', inputs: [i64([5]), whole(1), whole(3)] },
    { title: 'bool', inputs: [bool([5]), whole(1), whole(3)] },
  ],
  Pad: [
    { title: 'on both sides', inputs: [f32([2, 3]), whole(1, 0, 0, 2)] },
    { title: 'nothing added', inputs: [f32([2, 3]), whole(0, 0, 0, 0)] },
    { title: 'a row into a sequence', inputs: [f32([2, 1, 4]), whole(0, 0, 0, 0, 5, 0)] },
    { title: 'nothing there', inputs: [f32([0, 2]), whole(1, 0, 1, 0)] },
    { title: 'int64', inputs: [i64([3]), whole(1, 1)] },
    { title: 'float64', inputs: [f64([3]), whole(1, 1)] },
    { title: 'bool', inputs: [bool([3]), whole(1, 1)] },
  ],
  Gather: [
    { title: 'rows', inputs: [f32([5, 3]), int64([2], [4, 0])] },
    { title: 'a table of embeddings', inputs: [f32([7, 3]), int64([2, 4], [0, 6, 3, 3, 1, 2, 5, 0])] },
    { title: 'one position, dropped', inputs: [f32([2, 5, 3]), int64([], [0])], attributes: { axis: 1 } },
    { title: 'the last axis', inputs: [f32([2, 5]), int64([3], [4, 4, 1])], attributes: { axis: -1 } },
    { title: 'from the end', inputs: [f32([5, 3]), int64([2], [-1, -5])] },
    { title: 'int32 indices', inputs: [f32([5, 3]), tensor('int32', [2], Int32Array.of(1, 2))] },
    { title: 'none', inputs: [f32([5, 3]), int64([0], [])] },
    { title: 'int64 data', inputs: [i64([5]), int64([2], [1, 2])] },
    { title: 'bool data', inputs: [bool([5]), int64([2], [1, 2])] },
  ],
  GatherElements: [
    { title: 'the last axis', inputs: [f32([3, 4]), int64([3, 2], [0, 3, 1, 1, 2, 0])], attributes: { axis: 1 } },
    { title: 'the first axis', inputs: [f32([3, 2]), int64([2, 2], [2, 0, 1, 1])] },
    { title: 'from the end', inputs: [f32([2, 3]), int64([2, 1], [-1, -3])], attributes: { axis: 1 } },
    { title: 'int32 indices, int64 data', inputs: [i64([4]), tensor('int32', [2], Int32Array.of(3, 1))] },
  ],
  ScatterElements: [
    { title: 'the last axis', inputs: [f32([3, 4], 1), int64([3, 2], [0, 3, 1, 2, 2, 0]), f32([3, 2], 2)], attributes: { axis: 1 } },
    { title: 'the first axis', inputs: [f32([3, 2], 1), int64([2, 2], [2, 0, 1, 1]), f32([2, 2], 2)] },
    {
      title: 'added up',
      inputs: [f32([2, 3], 1), int64([2, 3], [0, 0, 2, 1, 1, 1]), f32([2, 3], 2)],
      attributes: { axis: 1, reduction: 'add' },
    },
    { title: 'int64', inputs: [i64([4], 1), int64([2], [3, 1]), i64([2], 2)] },
  ],
  ScatterND: [
    { title: 'rows', inputs: [f32([4, 3], 1), int64([2, 1], [2, 0]), f32([2, 3], 2)] },
    {
      title: 'rows added up, some twice',
      inputs: [f32([4, 3], 1), int64([2, 2, 1], [2, 0, 2, -1]), f32([2, 2, 3], 2)],
      attributes: { reduction: 'add' },
    },
    { title: 'elements', inputs: [f32([4], 1), int64([2, 1], [3, 1]), f32([2], 2)] },
    { title: 'one', inputs: [f32([4, 2], 1), int64([1], [3]), f32([2], 2)] },
    { title: 'int64', inputs: [i64([4], 1), int64([2, 1], [3, 1]), i64([2], 2)] },
    { title: 'float64, added', inputs: [f64([4, 2], 1), int64([2, 1], [3, 3]), f64([2, 2], 2)], attributes: { reduction: 'add' } },
  ],
  AdamUpdate: [
    { title: 'with decay', inputs: adamInputs(f32, [3, 5], { rate: 0.01, epsilon: 1e-3, decay: 0.9 }), ...adam },
    { title: 'without decay', inputs: adamInputs(f32, [7, 33], { rate: 0.01, epsilon: 1e-8 }), ...adam },
    { title: 'other factors', inputs: adamInputs(f32, [6], { rate: 2, epsilon: 0.1 }), nOutputs: 3, attributes: { beta1: 0, beta2: 0.5 } },
    { title: 'a scalar', inputs: adamInputs(f32, [], { rate: 0.1, epsilon: 1e-8 }), ...adam },
    { title: 'nothing', inputs: adamInputs(f32, [2, 0], { rate: 0.1, epsilon: 1e-8 }), ...adam },
    { title: 'float64', inputs: adamInputs(f64, [4, 2], { rate: 0.1, epsilon: 1e-8, decay: 0.99 }), ...adam },
    {
      title: 'a gradient of 0, a huge one and none',
      inputs: [values(1, 2, 3), values(0, 1e15, Number.NaN), values(0, 0, 1), values(0, 0, 1), ...[0.1, 1e-8].map((x) => f32Scalar(x))],
      ...adam,
    },
  ],
}
