/**
 * Gradients of convolutions. Patches that do not overlap, as a vision transformer cuts them, are rows of one matrix product; everything
 * else is convolution again, with strides and dilations exchanged (Dumoulin & Visin 2016, "A guide to convolution arithmetic").
 */

import type { GradientBuilder, GradientCall, GradientRule } from '../operator.js'
import { convolutionSteps, int } from '../operators/rules.js'
import { inputOf, lengths, outputOf, sumOver, type Value, wholes } from './building.js'

interface Convolution {
  /** `[batch, cIn, ...]`: what a Conv reads and a ConvTranspose makes. */
  readonly wide: Value
  /** `[batch, cOut, ...]`: what a Conv makes and a ConvTranspose reads. */
  readonly narrow: Value
  /** `[cOut, cIn / group, ...kernel]` */
  readonly weight: Value
  readonly group: number
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  readonly pads: readonly number[]
}

export const conv: GradientRule = (b, call) => {
  const convolution = read(call, { wide: inputOf(call, 0), narrow: { ...outputOf(call, 0), name: call.gradients[0]! } })
  const ofBias = () => overChannels(b, convolution.narrow)
  const [ofX, ofWeight] = isPatchwise(convolution) ? [patchesBack, ofPatchWeight] : [spreadOut, weightGradient]
  return [
    call.wanted[0] ? ofX(b, convolution) : undefined,
    call.wanted[1] ? ofWeight(b, convolution) : undefined,
    call.wanted[2] ? ofBias() : undefined,
  ]
}

export const convTranspose: GradientRule = (b, call) => {
  const convolution = read(call, { wide: { ...outputOf(call, 0), name: call.gradients[0]! }, narrow: inputOf(call, 0) })
  const { wide, weight } = convolution
  return [
    call.wanted[0] ? b.op('Conv', [wide.name, weight.name], attributesOf(convolution)) : undefined,
    call.wanted[1] ? weightGradient(b, convolution) : undefined,
    call.wanted[2] ? overChannels(b, wide) : undefined,
  ]
}

function read(call: GradientCall, { wide, narrow }: { wide: Value; narrow: Value }): Convolution {
  const weight = inputOf(call, 1)
  return { wide, narrow, weight, group: int(call, 'group'), ...convolutionSteps(call.attributes, weight.shape.length - 2) }
}

const attributesOf = ({ strides, dilations, pads, group }: Convolution) => ({ strides, dilations, pads, group })

/** The sum over everything but the channels. */
function overChannels(b: GradientBuilder, { name, shape }: Value): string {
  return sumOver(
    b,
    name,
    shape.flatMap((_, axis) => (axis === 1 ? [] : [axis])),
    0,
  )
}

/** What each output wrote to the places it read. */
function spreadOut(b: GradientBuilder, convolution: Convolution): string {
  const { wide, narrow, weight, strides, dilations, pads } = convolution
  const rank = strides.length
  const output_padding = strides.map((stride, axis) => {
    const reach = (weight.shape[axis + 2] as number) * dilations[axis]! - dilations[axis]! + 1
    const covered = ((narrow.shape[axis + 2] as number) - 1) * stride + reach - pads[axis]! - pads[axis + rank]!
    return (wide.shape[axis + 2] as number) - covered
  })
  const padding = output_padding.some((length) => length > 0) ? { output_padding } : {}
  return b.op('ConvTranspose', [narrow.name, weight.name], { ...attributesOf(convolution), ...padding })
}

/**
 * Over the batch: `wide` and the gradient with batch and channels exchanged, the one convolved with the other; what a kernel's step
 * reached over is now the stride. Where strides left a rest, the result is longer than the kernel.
 */
function weightGradient(b: GradientBuilder, convolution: Convolution): string {
  const { wide, narrow, weight, group, strides, dilations, pads } = convolution
  const rank = strides.length
  const exchanged = [1, 0, ...strides.map((_, axis) => axis + 2)]
  const parts = (value: Value): string[] => {
    if (group === 1) return [value.name]
    const each = new Array<number>(group).fill((value.shape[1] as number) / group)
    return b.opMany('Split', [value.name, wholes(b, each)], { nOutputs: group, attributes: { axis: 1 } })
  }
  const [wides, narrows] = [parts(wide), parts(narrow)]
  const kernels = wides.map((part, at) => {
    const inputs = [part, narrows[at]!].map((value) => b.op('Transpose', [value], { perm: exchanged }))
    const made = b.op('Conv', inputs, { strides: dilations, dilations: strides, pads }) // [cIn / group, cOut / group, ...]
    const axes = strides.map((_, axis) => axis + 2)
    const kernel = weight.shape.slice(2) as number[]
    const cut = b.op('Slice', [made, wholes(b, new Array<number>(rank).fill(0)), wholes(b, kernel), wholes(b, axes)])
    return b.op('Transpose', [cut], { perm: exchanged })
  })
  return group === 1 ? kernels[0]! : b.op('Concat', kernels, { axis: 0 })
}

// --- patches that do not overlap

function isPatchwise({ weight, group, strides, dilations, pads }: Convolution): boolean {
  const isWhole = strides.every((stride, axis) => stride === weight.shape[axis + 2])
  return isWhole && group === 1 && dilations.every((step) => step === 1) && pads.every((pad) => pad === 0)
}

/** `[batch, cOut, ...places]` as rows `[batch * places, cOut]`. */
function rowsOf(b: GradientBuilder, { name, shape }: Value): string {
  const perm = [0, ...shape.slice(2).map((_, axis) => axis + 2), 1]
  return b.op('Reshape', [b.op('Transpose', [name], { perm }), wholes(b, [-1, shape[1] as number])])
}

/** Of `[batch, cIn, place, kernel, place, kernel]`: the places first, then what a patch holds. */
function patchesFirst(rank: number): number[] {
  const axes = Array.from({ length: rank }, (_, axis) => 2 + 2 * axis)
  return [0, ...axes, 1, ...axes.map((axis) => axis + 1)]
}

/** What the patches cover of each axis; a picture may be larger. */
function covered({ narrow, strides }: Convolution): number[] {
  return strides.map((stride, axis) => stride * (narrow.shape[axis + 2] as number))
}

function inPlaces({ wide, narrow, strides }: Convolution): (number | string)[] {
  return [wide.shape[0]!, wide.shape[1]!, ...strides.flatMap((stride, axis) => [narrow.shape[axis + 2]!, stride])]
}

function ofPatchWeight(b: GradientBuilder, convolution: Convolution): string {
  const { wide, narrow, weight, strides } = convolution
  const ends = covered(convolution)
  const axes = strides.map((_, axis) => axis + 2)
  const isWhole = ends.every((end, axis) => end === wide.shape[axis + 2])
  const starts = wholes(
    b,
    axes.map(() => 0),
  )
  const cut = isWhole ? wide.name : b.op('Slice', [wide.name, starts, wholes(b, ends), wholes(b, axes)])
  const places = b.op('Reshape', [cut, lengths(b, inPlaces(convolution), [wide])])
  const ordered = b.op('Transpose', [places], { perm: patchesFirst(strides.length) })
  const patchSize = (weight.shape.slice(1) as number[]).reduce((product, length) => product * length, 1)
  const patches = b.op('Reshape', [ordered, wholes(b, [-1, patchSize])])
  const made = b.op('Gemm', [rowsOf(b, narrow), patches], { transA: 1 })
  return b.op('Reshape', [made, wholes(b, weight.shape as number[])])
}

function patchesBack(b: GradientBuilder, convolution: Convolution): string {
  const { wide, narrow, weight, strides } = convolution
  const matrix = b.op('Reshape', [weight.name, wholes(b, [weight.shape[0] as number, -1])])
  const patches = b.op('Gemm', [rowsOf(b, narrow), matrix])
  const perm = patchesFirst(strides.length)
  const shape = inPlaces(convolution)
  const ordered = b.op('Reshape', [
    patches,
    lengths(
      b,
      perm.map((axis) => shape[axis]!),
      [wide],
    ),
  ])
  const places = b.op('Transpose', [ordered], { perm: perm.map((_, axis) => perm.indexOf(axis)) })
  const ends = covered(convolution)
  const whole = b.op('Reshape', [places, lengths(b, [wide.shape[0]!, wide.shape[1]!, ...ends], [wide])])
  const rest = ends.map((end, axis) => (wide.shape[axis + 2] as number) - end)
  if (rest.every((length) => length === 0)) return whole
  return b.op('Pad', [whole, wholes(b, [...new Array<number>(wide.shape.length + 2).fill(0), ...rest])])
}
