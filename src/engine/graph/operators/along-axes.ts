/** Operators that look along one or several axes: reductions, normalisations, rankings. */

import type { DType } from '../../tensor.js'
import { float32, int64, tensor } from '../../tensor.js'
import * as gradients from '../gradients/along-axes.js'
import { type GradientRule, type Operator, refuse } from '../operator.js'
import { floats, int, mustBroadcastTo, normalizeAxis, numbers, operand, operands, reducedAxes, wholeNumbers, withAxis } from './rules.js'

const keepdims = { kind: 'int', default: 1, allowed: [0, 1] } as const

/** Inputs: x, axes (a constant; absent: all axes). */
const reduction = (since: number, among: readonly DType[], gradient: GradientRule): Operator => ({
  inputs: [1, 2],
  outputs: [1, 1],
  attributes: { keepdims, noop_with_empty_axes: { kind: 'int', default: 0, allowed: [0] } },
  since,
  infer: (call) => {
    const { dtype, shape } = operand(call, 0, among)
    const axes = reducedAxes(call, shape.length)
    const kept = shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim))
    return [{ dtype, shape: int(call, 'keepdims') ? kept : kept.filter((_, axis) => !axes.includes(axis)) }]
  },
  gradient,
})

export const alongAxes = {
  ReduceMean: reduction(18, floats, gradients.reduceMean),
  ReduceSum: reduction(13, numbers, gradients.reduceSum),
  ReduceSumSquare: reduction(18, numbers, gradients.reduceSumSquare),
  /** Of both extremes: with a NaN among the elements the result is open; backends differ. */
  ReduceMax: reduction(20, numbers, gradients.reduceExtreme),
  ReduceMin: reduction(20, numbers, gradients.reduceExtreme),
  Softmax: {
    inputs: [1, 1],
    outputs: [1, 1],
    attributes: { axis: { kind: 'int', default: -1 } },
    since: 13,
    infer: (call) => {
      const { dtype, shape } = operand(call, 0, floats)
      normalizeAxis(int(call, 'axis'), shape.length)
      return [{ dtype, shape }]
    },
    gradient: gradients.softmax,
  },
  /** Over the axes from `axis` on. Inputs: x, scale, bias. Outputs: y, mean, 1 / sqrt(variance + epsilon). */
  LayerNormalization: {
    inputs: [2, 3],
    outputs: [1, 3],
    attributes: { axis: { kind: 'int', default: -1 }, epsilon: { kind: 'float', default: 1e-5 } },
    since: 17,
    infer: (call) => {
      const [x, ...affine] = operands(call, floats)
      const axis = normalizeAxis(int(call, 'axis'), x!.shape.length)
      for (const parameter of affine) {
        mustBroadcastTo('scale or bias', parameter.shape, x!.shape.slice(axis))
      }
      const { dtype, shape } = x!
      const statistic = { dtype, shape: shape.map((dim, at) => (at < axis ? dim : 1)) }
      return [{ dtype, shape }, statistic, statistic].slice(0, call.nOutputs)
    },
    body: (builder, { names: [x, scale, bias], inputs, attributes }) => {
      const { dtype, shape } = inputs[0]!
      const from = normalizeAxis(attributes.axis as number, shape.length)
      const axes = builder.constant(
        int64(
          [shape.length - from],
          Array.from({ length: shape.length - from }, (_, at) => from + at),
        ),
      )
      const epsilon = attributes.epsilon as number
      const floor = builder.constant(dtype === 'float64' ? tensor('float64', [], Float64Array.of(epsilon)) : float32([], [epsilon]))
      const mean = builder.op('ReduceMean', [x!, axes])
      const centred = builder.op('Sub', [x!, mean])
      const variance = builder.op('ReduceMean', [builder.op('Mul', [centred, centred]), axes])
      const inverseScale = builder.op('Reciprocal', [builder.op('Sqrt', [builder.op('Add', [variance, floor])])])
      const scaled = builder.op('Mul', [builder.op('Mul', [centred, inverseScale]), scale!])
      return [bias ? builder.op('Add', [scaled, bias]) : scaled, mean, inverseScale]
    },
    gradient: gradients.layerNormalization,
    gradientOutputs: 3,
  },
  /** Index of the largest element; the first of equals. */
  ArgMax: {
    inputs: [1, 1],
    outputs: [1, 1],
    attributes: {
      axis: { kind: 'int', default: 0 },
      keepdims,
      select_last_index: { kind: 'int', default: 0, allowed: [0, 1] },
    },
    since: 13,
    infer: (call) => {
      const { shape } = operand(call, 0, numbers)
      const axis = normalizeAxis(int(call, 'axis'), shape.length)
      return [{ dtype: 'int64', shape: withAxis(shape, axis, int(call, 'keepdims') ? 1 : undefined) }]
    },
    gradient: 'none',
  },
  /** Inputs: x, k (a constant of one element). Outputs: values, indices; of equals the first comes first. Always sorted. */
  TopK: {
    inputs: [2, 2],
    outputs: [2, 2],
    attributes: {
      axis: { kind: 'int', default: -1 },
      largest: { kind: 'int', default: 1, allowed: [0, 1] },
      sorted: { kind: 'int', default: 1, allowed: [1] },
    },
    since: 11,
    infer: (call) => {
      const { dtype, shape } = operand(call, 0, numbers)
      const axis = normalizeAxis(int(call, 'axis'), shape.length)
      const [k, ...more] = wholeNumbers(call, 1, 'k')
      if (k === undefined || more.length > 0) refuse('k must have one element')
      const length = shape[axis]!
      if (k < 0 || (typeof length === 'number' ? k > length : k > 1)) refuse(`the top ${k} of ${length}`)
      const top = withAxis(shape, axis, k)
      return [
        { dtype, shape: top },
        { dtype: 'int64', shape: top },
      ]
    },
    gradient: gradients.topK,
  },
} as const satisfies Record<string, Operator>
