/** Operators that read and write by index. */

import * as gradients from '../gradients/gather.js'
import { type Operator, refuse } from '../operator.js'
import type { Dim } from '../value-type.js'
import { anyDtype, axisAttribute, int, normalizeAxis, operand, row, show } from './rules.js'

const reduction = { kind: 'string', default: 'none', allowed: ['none', 'add'] } as const

export const gathering = {
  /** Whole slices of x at `indices` along `axis`: `[...before, ...indices, ...after]`. A negative index counts from the end. */
  Gather: row(
    13,
    2,
    gradients.gather,
    (call) => {
      const data = operand(call, 0, anyDtype)
      const indices = operand(call, 1, ['int32', 'int64'])
      const axis = normalizeAxis(int(call, 'axis'), data.shape.length)
      return [{ dtype: data.dtype, shape: [...data.shape.slice(0, axis), ...indices.shape, ...data.shape.slice(axis + 1)] }]
    },
    axisAttribute(0),
  ),
  /** One element of x for each index: `out[i][j] = x[i][indices[i][j]]` for axis 1. The result has the shape of `indices`. */
  GatherElements: row(
    13,
    2,
    gradients.gatherElements,
    (call) => {
      const data = operand(call, 0, anyDtype)
      const indices = operand(call, 1, ['int32', 'int64'])
      mustFitInside(indices.shape, data.shape, normalizeAxis(int(call, 'axis'), data.shape.length))
      return [{ dtype: data.dtype, shape: indices.shape }]
    },
    axisAttribute(0),
  ),
  /** A copy of x with `out[i][indices[i][j]] = updates[i][j]` for axis 1. Where indices repeat, `none` leaves it open which one wins. */
  ScatterElements: row(
    18,
    3,
    gradients.scatterElements,
    (call) => {
      const [data, updates] = [operand(call, 0, anyDtype), operand(call, 2, anyDtype)]
      if (data.dtype !== updates.dtype) refuse(`the inputs mix ${data.dtype} and ${updates.dtype}`)
      const indices = operand(call, 1, ['int32', 'int64'])
      if (show(indices.shape) !== show(updates.shape)) refuse(`indices ${show(indices.shape)} with updates ${show(updates.shape)}`)
      mustFitInside(indices.shape, data.shape, normalizeAxis(int(call, 'axis'), data.shape.length))
      return [{ dtype: data.dtype, shape: data.shape }]
    },
    { ...axisAttribute(0), reduction },
  ),
  /**
   * A copy of x with whole slices of its first axis replaced, or added to: `out[indices[i][0]] = updates[i]`. ONNX lets an index have
   * several coordinates; here it has one. Indices `[..., 1]`, updates `[..., ...rest of x]`.
   */
  ScatterND: row(
    18,
    3,
    gradients.scatterND,
    (call) => {
      const [data, indices, updates] = [operand(call, 0, anyDtype), operand(call, 1, ['int64']), operand(call, 2, anyDtype)]
      if (data.dtype !== updates.dtype) refuse(`the inputs mix ${data.dtype} and ${updates.dtype}`)
      if (data.shape.length === 0 || indices.shape.at(-1) !== 1) refuse(`indices ${show(indices.shape)} into ${show(data.shape)}`)
      const wanted = [...indices.shape.slice(0, -1), ...data.shape.slice(1)]
      if (show(updates.shape) !== show(wanted)) refuse(`updates ${show(updates.shape)} for ${show(wanted)}`)
      return [{ dtype: data.dtype, shape: data.shape }]
    },
    { reduction },
  ),
} as const satisfies Record<string, Operator>

function mustFitInside(indices: readonly Dim[], data: readonly Dim[], axis: number): void {
  const fits = (dim: Dim, at: number) => at === axis || dim === data[at] || (typeof dim === 'number' && dim <= (data[at] as number))
  if (indices.length !== data.length || !indices.every(fits)) refuse(`indices ${show(indices)} do not fit into ${show(data)}`)
}
