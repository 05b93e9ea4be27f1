import type { DType, Tensor } from '../../tensor.js'
import { elementCount } from '../../tensor.js'
import { erf } from './erf.js'
import { broadcastShape, broadcastStrides, forEachCoordinate, type Kernel, numbersOf, offsetAt, store } from './kernel.js'

const unary =
  (compute: (x: number) => number, result?: DType): Kernel =>
  ({ inputs: [x] }) => [store(result ?? x!.dtype, x!.shape, Float64Array.from(numbersOf(x!), compute))]

/** Applies `compute` to the elements that broadcasting brings together. */
function zip(dtype: DType, operands: readonly Tensor[], compute: (...elements: number[]) => number): Tensor {
  const shape = broadcastShape(...operands.map((operand) => operand.shape))
  const steps = operands.map((operand) => broadcastStrides(operand.shape, shape))
  const elements = operands.map(numbersOf)
  const result = new Float64Array(elementCount(shape))
  forEachCoordinate(shape, (coordinate, offset) => {
    result[offset] = compute(...elements.map((data, at) => data[offsetAt(coordinate, steps[at]!)]!))
  })
  return store(dtype, shape, result)
}

const binary =
  (compute: (a: number, b: number) => number, result?: DType): Kernel =>
  ({ inputs: [a, b] }) => [zip(result ?? a!.dtype, [a!, b!], compute)]

const comparison = (holds: (a: number, b: number) => boolean) => binary((a, b) => Number(holds(a, b)), 'bool')

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
const geluExact = (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2))
const geluTanh = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

export const elementwise = {
  Identity: ({ inputs: [x] }) => [x!],
  /** float to whole: towards zero; to bool: whether it is not 0. */
  Cast: ({ inputs: [x], attributes, float }) => {
    const to = attributes.to === 'float32' ? float : (attributes.to as DType)
    const convert = to === 'bool' ? (value: number) => Number(value !== 0) : (value: number) => value
    return [to === x!.dtype ? x! : store(to, x!.shape, Float64Array.from(numbersOf(x!), convert))]
  },
  Neg: unary((x) => -x),
  Sign: unary(Math.sign),
  Abs: unary(Math.abs),
  Sqrt: unary(Math.sqrt),
  Reciprocal: unary((x) => 1 / x),
  Exp: unary(Math.exp),
  Log: unary(Math.log),
  Erf: unary(erf),
  Tanh: unary(Math.tanh),
  Sigmoid: unary(sigmoid),
  Relu: unary((x) => Math.max(x, 0)),
  Gelu: (call) => unary(call.attributes.approximate === 'tanh' ? geluTanh : geluExact)(call),
  Clip: ({ inputs: [x, low, high] }) => {
    const min = low ? numbersOf(low)[0]! : Number.NEGATIVE_INFINITY
    const max = high ? numbersOf(high)[0]! : Number.POSITIVE_INFINITY
    return [
      store(
        x!.dtype,
        x!.shape,
        Float64Array.from(numbersOf(x!), (value) => Math.min(Math.max(value, min), max)),
      ),
    ]
  },
  Add: binary((a, b) => a + b),
  Sub: binary((a, b) => a - b),
  Mul: binary((a, b) => a * b),
  Div: binary((a, b) => a / b),
  Pow: binary((a, b) => a ** b),
  Min: binary(Math.min),
  Max: binary(Math.max),
  Equal: comparison((a, b) => a === b),
  Greater: comparison((a, b) => a > b),
  GreaterOrEqual: comparison((a, b) => a >= b),
  Less: comparison((a, b) => a < b),
  LessOrEqual: comparison((a, b) => a <= b),
  And: comparison((a, b) => a !== 0 && b !== 0),
  Or: comparison((a, b) => a !== 0 || b !== 0),
  Not: unary((x) => Number(x === 0)),
  IsNaN: unary((x) => Number(Number.isNaN(x)), 'bool'),
  Where: ({ inputs: [condition, then, otherwise] }) => [
    zip(then!.dtype, [condition!, then!, otherwise!], (holds, a, b) => (holds !== 0 ? a : b)),
  ],
} as const satisfies Record<string, Kernel>
