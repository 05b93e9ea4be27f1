import { convolutionSteps } from '../../graph/operators/rules.js'
import { elementCount, strides } from '../../tensor.js'
import { forEachCoordinate, type Kernel, numbersOf, offsetAt, store } from './kernel.js'

const conv: Kernel = ({ inputs: [x, weight, bias], attributes }) => {
  const kernel = weight!.shape.slice(2)
  const rank = kernel.length
  const { strides: step, pads, dilations } = convolutionSteps(attributes, rank)
  const sizes = x!.shape.slice(2)
  const spatial = sizes.map((size, axis) => {
    const reach = dilations[axis]! * (kernel[axis]! - 1) + 1
    return Math.floor((size + pads[axis]! + pads[axis + rank]! - reach) / step[axis]!) + 1
  })
  const [batch, cOut, cInPerGroup] = [x!.shape[0]!, weight!.shape[0]!, weight!.shape[1]!]
  const cOutPerGroup = cOut / (attributes.group as number)
  const [xData, weightData] = [numbersOf(x!), numbersOf(weight!)]
  const [xSteps, weightSteps] = [strides(x!.shape), strides(weight!.shape)]
  const shape = [batch, cOut, ...spatial]
  const result = new Float64Array(elementCount(shape))
  forEachCoordinate(shape, (at, offset) => {
    const [image, channel] = at as [number, number]
    const firstChannel = Math.floor(channel / cOutPerGroup) * cInPerGroup
    let sum = bias ? numbersOf(bias)[channel]! : 0
    forEachCoordinate([cInPerGroup, ...kernel], (tap) => {
      const place = sizes.map((_, axis) => at[axis + 2]! * step[axis]! + tap[axis + 1]! * dilations[axis]! - pads[axis]!)
      if (place.some((position, axis) => position < 0 || position >= sizes[axis]!)) return // padding
      sum += xData[offsetAt([image, firstChannel + tap[0]!, ...place], xSteps)]! * weightData[offsetAt([channel, ...tap], weightSteps)]!
    })
    result[offset] = sum
  })
  return [store(x!.dtype, shape, result)]
}

/** Every element of x adds the kernel, times itself, where a convolution that made it would have read. */
const convTranspose: Kernel = ({ inputs: [x, weight, bias], attributes }) => {
  const kernel = weight!.shape.slice(2)
  const rank = kernel.length
  const { strides: step, pads, dilations } = convolutionSteps(attributes, rank)
  const more = (attributes.output_padding as readonly number[] | undefined) ?? kernel.map(() => 0)
  const spatial = x!.shape.slice(2).map((size, axis) => {
    const reach = dilations[axis]! * (kernel[axis]! - 1) + 1
    return (size - 1) * step[axis]! + reach + more[axis]! - pads[axis]! - pads[axis + rank]!
  })
  const group = attributes.group as number
  const [cOut, cInPerGroup] = weight!.shape as [number, number]
  const shape = [x!.shape[0]!, cInPerGroup * group, ...spatial]
  const [xData, weightData] = [numbersOf(x!), numbersOf(weight!)]
  const [own, weightSteps] = [strides(shape), strides(weight!.shape)]
  const result = new Float64Array(elementCount(shape))
  if (bias) {
    forEachCoordinate(shape, (at, offset) => {
      result[offset] = numbersOf(bias)[at[1]!]!
    })
  }
  forEachCoordinate(x!.shape, (at, offset) => {
    const [image, channel] = at as [number, number]
    const firstChannel = Math.floor(channel / (cOut / group)) * cInPerGroup
    forEachCoordinate([cInPerGroup, ...kernel], (tap) => {
      const place = spatial.map((_, axis) => at[axis + 2]! * step[axis]! + tap[axis + 1]! * dilations[axis]! - pads[axis]!)
      if (place.some((position, axis) => position < 0 || position >= spatial[axis]!)) return // cut off by padding
      const target = offsetAt([image, firstChannel + tap[0]!, ...place], own)
      result[target] = result[target]! + xData[offset]! * weightData[offsetAt([channel, ...tap], weightSteps)]!
    })
  })
  return [store(x!.dtype, shape, result)]
}

export const convolutions = { Conv: conv, ConvTranspose: convTranspose } as const satisfies Record<string, Kernel>
