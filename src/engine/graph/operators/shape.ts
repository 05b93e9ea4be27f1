/** Operators that move elements about and compute nothing. */

import { add, divide, multiply } from '../dims.js'
import * as gradients from '../gradients/shape.js'
import { type Call, type Operator, refuse } from '../operator.js'
import type { Dim } from '../value-type.js'
import {
  anyDtype,
  axisAttribute,
  broadcast,
  contents,
  int,
  ints,
  normalizeAxes,
  normalizeAxis,
  operand,
  operands,
  row,
  show,
  sliceRange,
  wholeNumbers,
  withAxis,
} from './rules.js'

export const shape = {
  /** The lengths of axes `start` to `end` as an int64 vector. With it, Concat and Expand a value is repeated over a symbolic batch. */
  Shape: row(
    19,
    1,
    'none',
    (call) => {
      const input = operand(call, 0, anyDtype)
      const lengths = input.shape.slice(int(call, 'start'), call.attributes.end as number | undefined)
      return [{ dtype: 'int64', shape: [lengths.length], contents: lengths }]
    },
    { start: { kind: 'int', default: 0 }, end: { kind: 'int' } },
  ),
  /** Inputs: x, shape; in the shape 0 keeps x's axis of the same place, and one -1 takes what remains. */
  Reshape: row(
    19,
    2,
    gradients.reshape,
    (call) => {
      const input = operand(call, 0, anyDtype)
      const wanted = contents(call, 1, 'the shape')
      const free = wanted.filter((dim) => dim === -1).length
      if (free > 1 || wanted.some((dim) => typeof dim === 'number' && dim < -1)) refuse(`${show(wanted)} is not a shape`)
      const dims = wanted.map((dim, axis) => (dim === 0 ? (input.shape[axis] ?? refuse(`0 at axis ${axis} of ${show(wanted)}`)) : dim))
      const total = multiply(input.shape)
      if (free === 0) {
        if (multiply(dims) !== total) refuse(`${show(input.shape)} does not reshape to ${show(wanted)}`)
        return [{ dtype: input.dtype, shape: dims }]
      }
      const rest = divide(total, multiply(dims.filter((dim) => dim !== -1)))
      if (rest === undefined) refuse(`${show(input.shape)} does not reshape to ${show(wanted)}`)
      return [{ dtype: input.dtype, shape: dims.map((dim) => (dim === -1 ? rest! : dim)) }]
    },
    { allowzero: { kind: 'int', default: 0, allowed: [0] } },
  ),
  /** Absent `perm`: the axes reversed. */
  Transpose: row(
    13,
    1,
    gradients.transposition,
    (call) => {
      const input = operand(call, 0, anyDtype)
      const perm = ints(call, 'perm')
      if (!perm) return [{ dtype: input.dtype, shape: input.shape.toReversed() }]
      const isPermutation = perm.length === input.shape.length && perm.every((_, axis) => perm.includes(axis))
      if (!isPermutation) refuse(`perm ${show(perm)} does not permute the axes of ${show(input.shape)}`)
      return [{ dtype: input.dtype, shape: perm.map((axis) => input.shape[axis]!) }]
    },
    { perm: { kind: 'ints' } },
  ),
  /** Inputs: x, axes (a constant; absent: every axis of length 1). */
  Squeeze: {
    ...row(13, 2, gradients.squeeze, (call) => {
      const input = operand(call, 0, anyDtype)
      const axes = call.inputs[1]
        ? normalizeAxes(wholeNumbers(call, 1, 'axes'), input.shape.length)
        : input.shape.flatMap((dim, axis) => (dim === 1 ? [axis] : []))
      const long = axes.find((axis) => input.shape[axis] !== 1)
      if (long !== undefined) refuse(`axis ${long} of ${show(input.shape)} is not of length 1`)
      return [{ dtype: input.dtype, shape: input.shape.filter((_, axis) => !axes.includes(axis)) }]
    }),
    inputs: [1, 2],
  },
  /** Inputs: x, axes of the result (a constant). */
  Unsqueeze: row(13, 2, gradients.unsqueeze, (call) => {
    const input = operand(call, 0, anyDtype)
    const wanted = wholeNumbers(call, 1, 'axes')
    const axes = normalizeAxes(wanted, input.shape.length + wanted.length)
    const dims = [...input.shape]
    for (const axis of axes) dims.splice(axis, 0, 1)
    return [{ dtype: input.dtype, shape: dims }]
  }),
  /** Inputs: x, shape; broadcasts both ways, as ONNX says. */
  Expand: row(13, 2, gradients.expand, (call) => {
    const input = operand(call, 0, anyDtype)
    const wanted = contents(call, 1, 'the shape')
    if (wanted.some((dim) => typeof dim === 'number' && dim < 0)) refuse(`${show(wanted)} is not a shape`)
    return [{ dtype: input.dtype, shape: broadcast(input.shape, wanted) }]
  }),
  Concat: {
    ...row(13, 1, gradients.concat, (call) => {
      const inputs = operands(call, anyDtype)
      const { dtype, shape: first } = inputs[0]!
      const axis = normalizeAxis(int(call, 'axis'), first.length)
      const sameElsewhere = (dims: readonly Dim[]) =>
        dims.length === first.length && dims.every((dim, at) => at === axis || dim === first[at])
      const odd = inputs.find((input) => !sameElsewhere(input.shape))
      if (odd) refuse(`${show(first)} and ${show(odd.shape)} do not join along axis ${axis}`)
      const dims = withAxis(first, axis, add(inputs.map((input) => input.shape[axis]!)))
      const isKnown = first.length === 1 && inputs.every((input) => input.contents)
      return [{ dtype, shape: dims, ...(isKnown ? { contents: inputs.flatMap((input) => input.contents!) } : {}) }]
    }),
    inputs: [1, Number.POSITIVE_INFINITY],
    attributes: { axis: { kind: 'int', required: true } },
  },
  /** Inputs: x, lengths (known before the run, if only as symbols; absent: `num_outputs` equal parts, the last shorter where they do not divide). */
  Split: {
    ...row(18, 2, gradients.split, (call) => {
      const input = operand(call, 0, anyDtype)
      const axis = normalizeAxis(int(call, 'axis'), input.shape.length)
      const lengths = splitLengths(call, input.shape[axis]!)
      if (lengths.length !== call.nOutputs) refuse(`${lengths.length} parts for ${call.nOutputs} outputs`)
      return lengths.map((length) => ({ dtype: input.dtype, shape: withAxis(input.shape, axis, length) }))
    }),
    inputs: [1, 2],
    outputs: [1, Number.POSITIVE_INFINITY],
    attributes: { ...axisAttribute(0), num_outputs: { kind: 'int' } },
  },
  /** Inputs: x, starts, ends, axes (absent: the first ones), steps (absent: 1); all constants, with numpy's meaning. */
  Slice: {
    ...row(13, 5, gradients.slice, (call) => {
      const input = operand(call, 0, anyDtype)
      const starts = wholeNumbers(call, 1, 'starts')
      const ends = wholeNumbers(call, 2, 'ends')
      const given = call.inputs[3] ? wholeNumbers(call, 3, 'axes') : starts.map((_, axis) => axis)
      const steps = call.inputs[4] ? wholeNumbers(call, 4, 'steps') : starts.map(() => 1)
      if (new Set([starts.length, ends.length, given.length, steps.length]).size !== 1)
        refuse('starts, ends, axes and steps differ in length')
      normalizeAxes(given, input.shape.length)
      const dims = [...input.shape]
      for (const [at, axis] of given.entries()) {
        const normal = normalizeAxis(axis, input.shape.length)
        dims[normal] = sliceLength(input.shape[normal]!, { start: starts[at]!, end: ends[at]!, step: steps[at]! })
      }
      return [{ dtype: input.dtype, shape: dims }]
    }),
    inputs: [3, 5],
  },
  /** Inputs: x, pads (a constant; all beginnings, then all ends). With zeros, and only where an axis has a known length. */
  Pad: row(
    19,
    2,
    gradients.pad,
    (call) => {
      const input = operand(call, 0, anyDtype)
      const pads = wholeNumbers(call, 1, 'pads')
      if (pads.length !== 2 * input.shape.length) refuse(`pads ${show(pads)} for ${show(input.shape)}`)
      if (pads.some((length) => length < 0)) refuse('pads out of range')
      const dims = input.shape.map((dim, axis) => {
        const more = pads[axis]! + pads[axis + input.shape.length]!
        if (more > 0 && typeof dim !== 'number') refuse(`axis ${axis} must be a number to be padded, not "${dim}"`)
        return more > 0 ? (dim as number) + more : dim
      })
      return [{ dtype: input.dtype, shape: dims }]
    },
    { mode: { kind: 'string', default: 'constant', allowed: ['constant'] } },
  ),
} as const satisfies Record<string, Operator>

function splitLengths(call: Call, length: Dim): readonly Dim[] {
  const parts = call.attributes.num_outputs as number | undefined
  if (call.inputs[1]) {
    if (parts !== undefined) refuse('lengths and num_outputs exclude each other')
    const lengths = contents(call, 1, 'lengths')
    if (lengths.some((part) => typeof part === 'number' && part < 0) || add(lengths) !== length)
      refuse(`parts ${show(lengths)} of an axis of ${length}`)
    return lengths
  }
  if (parts === undefined || parts < 1) refuse('lengths or num_outputs must be given')
  if (typeof length !== 'number') {
    const each = divide(length, parts!) ?? refuse(`an axis of ${length} does not divide into ${parts}`)
    return new Array<Dim>(parts!).fill(each)
  }
  const each = Math.ceil(length / parts!)
  const last = length - each * (parts! - 1)
  if (last < 0) refuse(`an axis of ${length} does not divide into ${parts}`)
  return Array.from({ length: parts! }, (_, part) => (part === parts! - 1 ? last : each))
}

function sliceLength(length: Dim, slice: { start: number; end: number; step: number }): Dim {
  if (slice.step === 0) refuse('a step of 0')
  if (typeof length === 'number') return sliceRange(length, slice).count
  // Of a symbolic axis only what does not depend on its length: all of it, its first or its last element.
  const { start, end, step } = slice
  const unbounded = 2 ** 31 - 1
  if (step === 1 && start === 0 && end >= unbounded) return length
  if (step === 1 && ((start === 0 && end === 1) || (start === -1 && end >= unbounded))) return 1
  return refuse(`the slice ${start}:${end}:${step} of an axis of symbolic length ${length}; gather by an input instead`)
}
