/** Products of matrices, and convolution. */

import { type Operator, refuse } from '../operator.js'
import type { Dim } from '../value-type.js'
import { broadcast, floats, int, ints, mustBroadcastTo, operands, show } from './rules.js'

export const linearAlgebra = {
  /** As numpy's `matmul`: the last two axes are matrices, those before broadcast; a vector gains an axis that is dropped again. */
  MatMul: {
    inputs: [2, 2],
    outputs: [1, 1],
    attributes: {},
    since: 13,
    infer: (call) => {
      const [left, right] = operands(call, floats)
      if (left!.shape.length === 0 || right!.shape.length === 0) refuse('a scalar cannot be multiplied as a matrix')
      const a = left!.shape.length === 1 ? [1, ...left!.shape] : left!.shape
      const b = right!.shape.length === 1 ? [...right!.shape, 1] : right!.shape
      if (a.at(-1) !== b.at(-2)) refuse(`shapes ${show(left!.shape)} and ${show(right!.shape)} do not multiply`)
      const shape = broadcast(a.slice(0, -2), b.slice(0, -2))
      if (left!.shape.length > 1) shape.push(a.at(-2)!)
      if (right!.shape.length > 1) shape.push(b.at(-1)!)
      return [{ dtype: left!.dtype, shape }]
    },
  },
  /** `alpha A' B' + beta C` of matrices; `'` transposes where `transA`, `transB` say so; C broadcasts to the result. */
  Gemm: {
    inputs: [2, 3],
    outputs: [1, 1],
    attributes: {
      alpha: { kind: 'float', default: 1 },
      beta: { kind: 'float', default: 1 },
      transA: { kind: 'int', default: 0, allowed: [0, 1] },
      transB: { kind: 'int', default: 0, allowed: [0, 1] },
    },
    since: 13,
    infer: (call) => {
      const [a, b, c] = operands(call, floats)
      if (a!.shape.length !== 2 || b!.shape.length !== 2) refuse(`Gemm takes matrices, not ${show(a!.shape)} and ${show(b!.shape)}`)
      const [rows, inner] = int(call, 'transA') ? a!.shape.toReversed() : a!.shape
      const [innerB, columns] = int(call, 'transB') ? b!.shape.toReversed() : b!.shape
      if (inner !== innerB) refuse(`shapes ${show([rows!, inner!])} and ${show([innerB!, columns!])} (after transposition) do not multiply`)
      const shape = [rows!, columns!]
      if (c) mustBroadcastTo('C', c.shape, shape)
      return [{ dtype: a!.dtype, shape }]
    },
  },
  /** x `[batch, cIn, ...]`, weight `[cOut, cIn / group, ...kernel]`, bias `[cOut]`; cross-correlation, as everywhere in the field. */
  Conv: {
    inputs: [2, 3],
    outputs: [1, 1],
    attributes: {
      strides: { kind: 'ints' },
      pads: { kind: 'ints' },
      dilations: { kind: 'ints' },
      kernel_shape: { kind: 'ints' },
      group: { kind: 'int', default: 1 },
    },
    since: 11,
    infer: (call) => {
      const [x, weight, bias] = operands(call, floats)
      const rank = x!.shape.length - 2
      if (rank < 1 || weight!.shape.length !== rank + 2) refuse(`a convolution of ${show(x!.shape)} with ${show(weight!.shape)}`)
      const [cOut, cInPerGroup, ...kernel] = weight!.shape as readonly number[]
      const group = int(call, 'group')
      const numeric = [x!.shape[1]!, cOut!, cInPerGroup!, ...kernel].every((dim) => typeof dim === 'number')
      if (!numeric) refuse(`channels and kernel must be numbers, not ${show(x!.shape)} and ${show(weight!.shape)}`)
      if (group < 1 || cOut! % group !== 0 || x!.shape[1] !== cInPerGroup! * group) {
        refuse(`${x!.shape[1]} channels with weight ${show(weight!.shape)} in ${group} group(s)`)
      }
      if (bias && (bias.shape.length !== 1 || bias.shape[0] !== cOut)) refuse(`bias ${show(bias.shape)} for ${cOut} output channels`)
      const declared = ints(call, 'kernel_shape')
      if (declared && show(declared) !== show(kernel)) refuse(`kernel_shape ${show(declared)} with weight ${show(weight!.shape)}`)
      const { strides, pads, dilations } = convolutionSteps(call.attributes, rank)
      if (strides.length !== rank || dilations.length !== rank || pads.length !== 2 * rank)
        refuse(`strides, dilations or pads not for rank ${rank}`)
      if ([...strides, ...dilations].some((step) => step < 1) || pads.some((pad) => pad < 0))
        refuse('strides, dilations or pads out of range')
      const spatial = kernel.map((length, axis): Dim => {
        const size = x!.shape[2 + axis]!
        if (typeof size !== 'number') refuse(`axis ${2 + axis} must be a number, not "${size}"`)
        const padded = (size as number) + pads[axis]! + pads[axis + rank]! - dilations[axis]! * (length - 1) - 1
        if (padded < 0) refuse(`a kernel of ${show(kernel)} does not fit into ${show(x!.shape)}`)
        return Math.floor(padded / strides[axis]!) + 1
      })
      return [{ dtype: x!.dtype, shape: [x!.shape[0]!, cOut!, ...spatial] }]
    },
  },
} as const satisfies Record<string, Operator>

/** A convolution's steps with ONNX's defaults: stride and dilation 1, no padding. `pads` has all beginnings, then all ends. */
export function convolutionSteps(attributes: Readonly<Record<string, unknown>>, rank: number) {
  const read = (name: string, otherwise: readonly number[]) => (attributes[name] as readonly number[] | undefined) ?? otherwise
  const ones = new Array<number>(rank).fill(1)
  return { strides: read('strides', ones), dilations: read('dilations', ones), pads: read('pads', new Array<number>(2 * rank).fill(0)) }
}
