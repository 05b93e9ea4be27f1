/** Operators that work element by element, with numpy broadcasting. */

import type { DType } from '../../tensor.js'
import { type Call, type Operator, refuse } from '../operator.js'
import { anyDtype, broadcast, floats, numbers, operand, operands } from './rules.js'

const sameAsInput = (among: readonly DType[]) => (call: Call) => {
  const { dtype, shape } = operand(call, 0, among)
  return [{ dtype, shape }]
}

const unary = (since: number, among: readonly DType[], more: Partial<Operator> = {}): Operator => ({
  inputs: [1, 1],
  outputs: [1, 1],
  attributes: {},
  since,
  infer: sameAsInput(among),
  ...more,
})

const binary = (since: number, among: readonly DType[], result?: DType): Operator => ({
  inputs: [2, 2],
  outputs: [1, 1],
  attributes: {},
  since,
  infer: (call) => {
    const [left, right] = operands(call, among)
    return [{ dtype: result ?? left!.dtype, shape: broadcast(left!.shape, right!.shape) }]
  },
})

export const elementwise = {
  Identity: unary(19, anyDtype, {
    inverse: 'Identity',
    infer: (call) => [operand(call, 0, anyDtype)],
  }),
  Cast: unary(19, anyDtype, {
    attributes: { to: { kind: 'dtype', required: true } },
    infer: (call) => [{ dtype: call.attributes.to as DType, shape: operand(call, 0, anyDtype).shape }],
  }),
  Neg: unary(13, numbers, { inverse: 'Neg' }),
  Abs: unary(13, numbers),
  Sqrt: unary(13, floats),
  Reciprocal: unary(13, floats, { inverse: 'Reciprocal' }),
  Exp: unary(13, floats),
  Log: unary(13, floats),
  Erf: unary(13, floats),
  Tanh: unary(13, floats),
  Sigmoid: unary(13, floats),
  Relu: unary(14, floats),
  /** `none`: x Phi(x); `tanh`: its approximation by a hyperbolic tangent (`gelu_new`). */
  Gelu: unary(20, floats, { attributes: { approximate: { kind: 'string', default: 'none', allowed: ['none', 'tanh'] } } }),
  /** Inputs: x, lower bound, upper bound; a bound is a scalar. With lower > upper the result is upper. */
  Clip: unary(13, numbers, {
    inputs: [1, 3],
    infer: (call) => {
      const [input, ...bounds] = operands(call, numbers)
      if (bounds.some((bound) => bound.shape.length > 0)) refuse('the bounds must be scalars')
      return [{ dtype: input!.dtype, shape: input!.shape }]
    },
  }),
  Add: binary(14, numbers),
  Sub: binary(14, numbers),
  Mul: binary(14, numbers),
  /** Of floats only: a whole-number division by zero ends the process in some backends. */
  Div: binary(14, floats),
  Pow: binary(15, floats),
  /** ONNX takes any number of inputs, here two. A NaN in either gives NaN. */
  Min: binary(13, numbers),
  Max: binary(13, numbers),
  Equal: binary(19, [...numbers, 'bool'], 'bool'),
  Greater: binary(13, numbers, 'bool'),
  GreaterOrEqual: binary(16, numbers, 'bool'),
  Less: binary(13, numbers, 'bool'),
  LessOrEqual: binary(16, numbers, 'bool'),
  And: binary(7, ['bool']),
  Or: binary(7, ['bool']),
  Not: unary(1, ['bool'], { inverse: 'Not' }),
  IsNaN: unary(20, floats, { infer: (call) => [{ dtype: 'bool', shape: operand(call, 0, floats).shape }] }),
  /** Inputs: condition, value where true, value where false. */
  Where: {
    inputs: [3, 3],
    outputs: [1, 1],
    attributes: {},
    since: 16,
    infer: (call) => {
      const condition = operand(call, 0, ['bool'])
      const [then, otherwise] = operands(call, [...numbers, 'uint8'], 1)
      return [{ dtype: then!.dtype, shape: broadcast(condition.shape, then!.shape, otherwise!.shape) }]
    },
  },
} as const satisfies Record<string, Operator>
