/** Operators that work element by element, with numpy broadcasting. */

import type { DType } from '../../tensor.js'
import * as gradients from '../gradients/elementwise.js'
import { type Call, type GradientRule, type Operator, refuse } from '../operator.js'
import { anyDtype, broadcast, floats, numbers, operand, operands } from './rules.js'

const sameAsInput = (among: readonly DType[]) => (call: Call) => {
  const { dtype, shape } = operand(call, 0, among)
  return [{ dtype, shape }]
}

type Gradient = GradientRule | 'none'

const unary = (since: number, among: readonly DType[], gradient: Gradient, more: Partial<Operator> = {}): Operator => ({
  inputs: [1, 1],
  outputs: [1, 1],
  attributes: {},
  since,
  infer: sameAsInput(among),
  gradient,
  ...more,
})

const binary = (since: number, among: readonly DType[], gradient: Gradient, result?: DType): Operator => ({
  inputs: [2, 2],
  outputs: [1, 1],
  attributes: {},
  since,
  infer: (call) => {
    const [left, right] = operands(call, among)
    return [{ dtype: result ?? left!.dtype, shape: broadcast(left!.shape, right!.shape) }]
  },
  gradient,
})

export const elementwise = {
  Identity: unary(19, anyDtype, gradients.identity, {
    inverse: 'Identity',
    infer: (call) => [operand(call, 0, anyDtype)],
  }),
  Cast: unary(19, anyDtype, gradients.cast, {
    attributes: { to: { kind: 'dtype', required: true } },
    infer: (call) => [{ dtype: call.attributes.to as DType, shape: operand(call, 0, anyDtype).shape }],
  }),
  Neg: unary(13, numbers, gradients.neg, { inverse: 'Neg' }),
  /** -1, 0 or 1. */
  Sign: unary(13, numbers, 'none'),
  Abs: unary(13, numbers, gradients.abs),
  Sqrt: unary(13, floats, gradients.sqrt),
  Reciprocal: unary(13, floats, gradients.reciprocal, { inverse: 'Reciprocal' }),
  Exp: unary(13, floats, gradients.exp),
  Log: unary(13, floats, gradients.log),
  Erf: unary(13, floats, gradients.erf),
  Tanh: unary(13, floats, gradients.tanh),
  Sigmoid: unary(13, floats, gradients.sigmoid),
  Relu: unary(14, floats, gradients.relu),
  /** `none`: x Phi(x); `tanh`: its approximation by a hyperbolic tangent (`gelu_new`). */
  Gelu: unary(20, floats, gradients.gelu, { attributes: { approximate: { kind: 'string', default: 'none', allowed: ['none', 'tanh'] } } }),
  /** Inputs: x, lower bound, upper bound; a bound is a scalar. With lower > upper the result is upper. */
  Clip: unary(13, numbers, gradients.clip, {
    inputs: [1, 3],
    infer: (call) => {
      const [input, ...bounds] = operands(call, numbers)
      if (bounds.some((bound) => bound.shape.length > 0)) refuse('the bounds must be scalars')
      return [{ dtype: input!.dtype, shape: input!.shape }]
    },
  }),
  Add: binary(14, numbers, gradients.add),
  Sub: binary(14, numbers, gradients.sub),
  Mul: binary(14, numbers, gradients.mul),
  /** Of floats only: a whole-number division by zero ends the process in some backends. */
  Div: binary(14, floats, gradients.div),
  Pow: binary(15, floats, gradients.pow),
  /** ONNX takes any number of inputs, here two. A NaN in either gives NaN. */
  Min: binary(13, numbers, gradients.min),
  Max: binary(13, numbers, gradients.max),
  Equal: binary(19, [...numbers, 'bool'], 'none', 'bool'),
  Greater: binary(13, numbers, 'none', 'bool'),
  GreaterOrEqual: binary(16, numbers, 'none', 'bool'),
  Less: binary(13, numbers, 'none', 'bool'),
  LessOrEqual: binary(16, numbers, 'none', 'bool'),
  And: binary(7, ['bool'], 'none'),
  Or: binary(7, ['bool'], 'none'),
  Not: unary(1, ['bool'], 'none', { inverse: 'Not' }),
  IsNaN: unary(20, floats, 'none', { infer: (call) => [{ dtype: 'bool', shape: operand(call, 0, floats).shape }] }),
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
    gradient: gradients.where,
  },
} as const satisfies Record<string, Operator>
