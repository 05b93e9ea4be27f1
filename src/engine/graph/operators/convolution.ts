/** Convolution, which is cross-correlation, as everywhere in the field. */

import * as gradients from '../gradients/convolution.js'
import { type Operator, refuse } from '../operator.js'
import type { Dim } from '../value-type.js'
import { convolutionSteps, floats, int, ints, operands, show } from './rules.js'

const steps = {
  strides: { kind: 'ints' },
  pads: { kind: 'ints' },
  dilations: { kind: 'ints' },
  kernel_shape: { kind: 'ints' },
  group: { kind: 'int', default: 1 },
} as const satisfies Operator['attributes']

/** What both directions share: the operands, with their steps checked. */
function convolution(call: Parameters<Operator['infer']>[0]) {
  const [x, weight, bias] = operands(call, floats)
  const rank = x!.shape.length - 2
  if (rank < 1 || weight!.shape.length !== rank + 2) refuse(`a convolution of ${show(x!.shape)} with ${show(weight!.shape)}`)
  const kernel = weight!.shape.slice(2).map((dim) => (typeof dim === 'number' ? dim : refuse(`a kernel of ${show(weight!.shape)}`)))
  const group = int(call, 'group')
  const declared = ints(call, 'kernel_shape')
  if (declared && show(declared) !== show(kernel)) refuse(`kernel_shape ${show(declared)} with weight ${show(weight!.shape)}`)
  const { strides, pads, dilations } = convolutionSteps(call.attributes, rank)
  if (strides.length !== rank || dilations.length !== rank || pads.length !== 2 * rank) {
    refuse(`strides, dilations or pads not for rank ${rank}`)
  }
  if ([...strides, ...dilations].some((step) => step < 1) || pads.some((pad) => pad < 0)) {
    refuse('strides, dilations or pads out of range')
  }
  const sizes = x!.shape.slice(2).map((size, axis) => {
    return typeof size === 'number' ? size : refuse(`axis ${2 + axis} must be a number, not "${size}"`)
  })
  return { x: x!, weight: weight!, bias, kernel, group, rank, strides, pads, dilations, sizes }
}

function checkBias(bias: { readonly shape: readonly Dim[] } | undefined, channels: Dim): void {
  if (bias && (bias.shape.length !== 1 || bias.shape[0] !== channels)) refuse(`bias ${show(bias.shape)} for ${channels} output channels`)
}

export const convolutions = {
  /** x `[batch, cIn, ...]`, weight `[cOut, cIn / group, ...kernel]`, bias `[cOut]`. In one group the channels may be symbolic. */
  Conv: {
    inputs: [2, 3],
    outputs: [1, 1],
    attributes: steps,
    since: 11,
    infer: (call) => {
      const { x, weight, bias, kernel, group, strides, pads, dilations, sizes, rank } = convolution(call)
      const [cOut, cInPerGroup] = weight.shape
      const isGrouped = group > 1 && typeof cOut === 'number' && typeof cInPerGroup === 'number' && cOut % group === 0
      const fits = isGrouped ? x.shape[1] === cInPerGroup * group : group === 1 && x.shape[1] === cInPerGroup
      if (!fits) refuse(`${x.shape[1]} channels with weight ${show(weight.shape)} in ${group} group(s)`)
      checkBias(bias, cOut!)
      const spatial = kernel.map((length, axis): Dim => {
        const padded = sizes[axis]! + pads[axis]! + pads[axis + rank]! - dilations[axis]! * (length - 1) - 1
        if (padded < 0) refuse(`a kernel of ${show(kernel)} does not fit into ${show(x.shape)}`)
        return Math.floor(padded / strides[axis]!) + 1
      })
      return [{ dtype: x.dtype, shape: [x.shape[0]!, cOut!, ...spatial] }]
    },
    gradient: gradients.conv,
  },
  /** The way back: x `[batch, cOut, ...]`, a Conv's weight `[cOut, cIn / group, ...kernel]`, bias `[cIn]`; each element of x adds a kernel. */
  ConvTranspose: {
    inputs: [2, 3],
    outputs: [1, 1],
    attributes: { ...steps, output_padding: { kind: 'ints' } },
    since: 11,
    infer: (call) => {
      const { x, weight, bias, kernel, group, strides, pads, dilations, sizes, rank } = convolution(call)
      const [cOut, cInPerGroup] = weight.shape
      const isGrouped = group > 1 && typeof cOut === 'number' && typeof cInPerGroup === 'number' && cOut % group === 0
      if (x.shape[1] !== cOut || !(isGrouped || group === 1)) {
        refuse(`${x.shape[1]} channels with weight ${show(weight.shape)} in ${group} group(s)`)
      }
      const channels = isGrouped ? cInPerGroup * group : cInPerGroup!
      checkBias(bias, channels)
      const more = ints(call, 'output_padding') ?? new Array<number>(rank).fill(0)
      const isRest =
        more.length === rank && more.every((length, axis) => length >= 0 && length < Math.max(strides[axis]!, dilations[axis]!))
      if (!isRest) refuse(`output_padding ${show(more)} with strides ${show(strides)}`)
      const spatial = kernel.map((length, axis): Dim => {
        const reach = dilations[axis]! * (length - 1) + 1
        const size = (sizes[axis]! - 1) * strides[axis]! + reach + more[axis]! - pads[axis]! - pads[axis + rank]!
        return size > 0 ? size : refuse(`padding ${show(pads)} leaves nothing of ${show(x.shape)}`)
      })
      return [{ dtype: x.dtype, shape: [x.shape[0]!, channels, ...spatial] }]
    },
    gradient: gradients.convTranspose,
  },
} as const satisfies Record<string, Operator>
