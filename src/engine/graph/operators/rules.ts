/**
 * The vocabulary that the rows' rules are written in: reading a call, numpy broadcasting, axes.
 */

import type { DType } from '../../tensor.js'
import { type Call, type Inferred, type Operator, refuse } from '../operator.js'
import type { Dim } from '../value-type.js'

export const floats: readonly DType[] = ['float32', 'float64']
export const numbers: readonly DType[] = ['float32', 'float64', 'int32', 'int64']
export const anyDtype: readonly DType[] = ['float32', 'float64', 'int32', 'int64', 'uint8', 'bool']

/** A row with a fixed number of inputs and one output. */
export const row = (
  since: number,
  nInputs: number,
  gradient: Operator['gradient'],
  infer: Operator['infer'],
  attributes: Operator['attributes'] = {},
): Operator => ({
  inputs: [nInputs, nInputs],
  outputs: [1, 1],
  attributes,
  since,
  infer,
  gradient,
})

export const axisAttribute = (axis: number) => ({ axis: { kind: 'int', default: axis } }) as const

export const show = (shape: readonly Dim[]) => `[${shape.join(', ')}]`

/** Input `index`, of one of the dtypes `among`. */
export function operand(call: Call, index: number, among: readonly DType[]): Inferred {
  const input = call.inputs[index] ?? refuse(`input ${index} is absent`)
  if (!among.includes(input.dtype)) refuse(`input ${index} is ${input.dtype}; expected ${among.join(' or ')}`)
  return input
}

/** Inputs `from` to `to` (exclusive), present ones, all of one dtype among `among`. */
export function operands(call: Call, among: readonly DType[], from = 0, to = call.inputs.length): Inferred[] {
  const present: Inferred[] = []
  for (let index = from; index < to; index++) if (call.inputs[index]) present.push(operand(call, index, among))
  const first = present[0]
  const other = present.find((input) => input.dtype !== first?.dtype)
  if (first && other) refuse(`the inputs mix ${first.dtype} and ${other.dtype}`)
  return present
}

export const int = (call: Call, name: string) => call.attributes[name] as number
export const ints = (call: Call, name: string) => call.attributes[name] as readonly number[] | undefined

/** @see https://onnx.ai/onnx/repo-docs/Broadcasting.html A symbol meets only itself or 1. */
export function broadcast(...shapes: (readonly Dim[])[]): Dim[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length))
  return Array.from({ length: rank }, (_, axis) => {
    let result: Dim = 1
    for (const shape of shapes) {
      const dim = shape[axis - rank + shape.length] ?? 1
      if (dim === 1 || dim === result) continue
      if (result !== 1) refuse(`shapes ${shapes.map(show).join(' and ')} do not broadcast`)
      result = dim
    }
    return result
  })
}

/** `shape` must reach `target` by broadcasting without changing it. */
export function mustBroadcastTo(what: string, shape: readonly Dim[], target: readonly Dim[]): void {
  const fits = shape.length <= target.length && shape.every((dim, axis) => dim === 1 || dim === target[axis + target.length - shape.length])
  if (!fits) refuse(`${what} of shape ${show(shape)} does not broadcast to ${show(target)}`)
}

export function normalizeAxis(axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) refuse(`axis ${axis} is out of range for rank ${rank}`)
  return axis < 0 ? axis + rank : axis
}

/** Distinct axes, ascending. */
export function normalizeAxes(axes: readonly number[], rank: number): number[] {
  const result = axes.map((axis) => normalizeAxis(axis, rank))
  if (new Set(result).size !== result.length) refuse(`axes ${show(axes)} repeat`)
  return result.sort((a, b) => a - b)
}

/** The elements of an int64 vector that must be known before the run; they may be symbolic. */
export function contents(call: Call, index: number, what: string): readonly Dim[] {
  const input = operand(call, index, ['int64'])
  if (input.shape.length !== 1) refuse(`${what} must be a vector; it has shape ${show(input.shape)}`)
  return input.contents ?? refuse(`${what} must be a constant`)
}

export function wholeNumbers(call: Call, index: number, what: string): readonly number[] {
  const values = contents(call, index, what)
  if (!values.every((value) => typeof value === 'number')) refuse(`${what} must be numbers; they are ${show(values)}`)
  return values as readonly number[]
}

/** `dims` with `axis` replaced, or removed when `dim` is undefined. */
export function withAxis(dims: readonly Dim[], axis: number, dim?: Dim): Dim[] {
  return dim === undefined ? dims.toSpliced(axis, 1) : dims.with(axis, dim)
}

/** The axes that a reduction goes over: its second input's, or all. */
export function reducedAxes(call: Call, rank: number): readonly number[] {
  const axes = call.inputs[1] ? wholeNumbers(call, 1, 'axes') : []
  return axes.length > 0 ? normalizeAxes(axes, rank) : Array.from({ length: rank }, (_, axis) => axis)
}

/** Where a numpy slice of an axis of `length` begins, and how many elements it has. */
export function sliceRange(length: number, { start, end, step }: { start: number; end: number; step: number }) {
  const place = (index: number) => (index < 0 ? index + length : index)
  const clamp = (index: number, low: number, high: number) => Math.min(Math.max(index, low), high)
  const from = step > 0 ? clamp(place(start), 0, length) : clamp(place(start), 0, length - 1)
  const to = step > 0 ? clamp(place(end), 0, length) : clamp(place(end), -1, length - 1)
  return { from, count: Math.max(0, Math.ceil((to - from) / step)) }
}

/** A convolution's steps with ONNX's defaults: stride and dilation 1, no padding. `pads` has all beginnings, then all ends. */
export function convolutionSteps(attributes: Readonly<Record<string, unknown>>, rank: number) {
  const read = (name: string, otherwise: readonly number[]) => (attributes[name] as readonly number[] | undefined) ?? otherwise
  const ones = new Array<number>(rank).fill(1)
  return { strides: read('strides', ones), dilations: read('dilations', ones), pads: read('pads', new Array<number>(2 * rank).fill(0)) }
}
