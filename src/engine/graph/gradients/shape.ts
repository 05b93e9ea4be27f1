/** Gradients of the operators that move elements: what was repeated is summed, what was taken goes back to its place among zeros. */

import type { GradientBuilder, GradientRule } from '../operator.js'
import { int, normalizeAxes, normalizeAxis, sliceRange, wholeNumbers } from '../operators/rules.js'
import type { Dim } from '../value-type.js'
import { filled, inputOf, lengths, literal, ofOne, outputOf, permOf, reshapeTo, sumTo, transpose, type Value, wholes } from './building.js'

export const reshape = ofOne((b, { gradient, x }) => reshapeTo(b, gradient, x))

export const transposition = ofOne((b, { gradient, x, call }) => {
  const perm = permOf(call.attributes.perm, x.shape.length)
  return transpose(
    b,
    gradient,
    perm.map((_, axis) => perm.indexOf(axis)),
  )
})

export const squeeze: GradientRule = (b, call) => {
  const x = inputOf(call, 0)
  const given = call.inputs[1] ? normalizeAxes(wholeNumbers(call, 1, 'axes'), x.shape.length) : undefined
  const axes = given ?? x.shape.flatMap((dim, axis) => (dim === 1 ? [axis] : []))
  return [axes.length === 0 ? call.gradients[0] : b.op('Unsqueeze', [call.gradients[0]!, wholes(b, axes)])]
}

export const unsqueeze: GradientRule = (b, call) => {
  const axes = normalizeAxes(wholeNumbers(call, 1, 'axes'), call.outputs[0]!.shape.length)
  return [axes.length === 0 ? call.gradients[0] : b.op('Squeeze', [call.gradients[0]!, wholes(b, axes)])]
}

export const expand = ofOne((b, { gradient, x, y }) => sumTo(b, { ...y, name: gradient }, x.shape))

export const concat: GradientRule = (b, call) => {
  const gradient = call.gradients[0]!
  const axis = normalizeAxis(int(call, 'axis'), call.outputs[0]!.shape.length)
  const parts = call.inputs.map((_, at) => inputOf(call, at))
  if (parts.length === 1) return [gradient]
  const taken = parts.map(({ shape }) => shape[axis]!)
  if (call.wanted.every(Boolean) || !taken.every((length) => typeof length === 'number')) {
    const given = lengths(b, taken, parts)
    return b.opMany('Split', [gradient, given], { nOutputs: parts.length, attributes: { axis } })
  }
  const ends = taken.map((_, at) => taken.slice(0, at + 1).reduce((sum, length) => sum + length, 0))
  return parts.map((_, at) => {
    if (!call.wanted[at]) return undefined
    return b.op('Slice', [gradient, wholes(b, [ends[at]! - taken[at]!]), wholes(b, [ends[at]!]), wholes(b, [axis])])
  })
}

export const split: GradientRule = (b, call) => {
  const axis = int(call, 'axis')
  const parts = call.gradients.map((gradient, at) => gradient ?? filled(b, outputOf(call, at), 0))
  return [parts.length === 1 ? parts[0] : b.op('Concat', parts, { axis })]
}

/** Zeros around the part. */
export const slice: GradientRule = (b, call) => {
  const [x, y] = [inputOf(call, 0), outputOf(call, 0)]
  const [starts, ends] = [wholeNumbers(call, 1, 'starts'), wholeNumbers(call, 2, 'ends')]
  const axes = (call.inputs[3] ? wholeNumbers(call, 3, 'axes') : starts.map((_, axis) => axis)).map((axis) =>
    normalizeAxis(axis, x.shape.length),
  )
  const steps = call.inputs[4] ? wholeNumbers(call, 4, 'steps') : starts.map(() => 1)
  const [before, after] = [x.shape.map(() => 0), x.shape.map(() => 0)]
  let part: Value = { ...y, name: call.gradients[0]! }
  for (const [at, axis] of axes.entries()) {
    const length = x.shape[axis]!
    if (length === y.shape[axis] && steps[at] === 1) continue
    if (typeof length !== 'number') {
      part = placedInOpenAxis(b, part, { x, axis, index: starts[at]! })
      continue
    }
    const { from, count } = sliceRange(length, { start: starts[at]!, end: ends[at]!, step: steps[at]! })
    const first = steps[at]! > 0 ? from : from + (count - 1) * steps[at]!
    part = spread(b, part, { axis, step: steps[at]!, room: length - first, x })
    before[axis] = first
    after[axis] = length - first - (part.shape[axis] as number)
  }
  return [padded(b, part.name, before, after)]
}

function padded(b: GradientBuilder, value: string, before: readonly number[], after: readonly number[]): string {
  return [...before, ...after].every((length) => length === 0) ? value : b.op('Pad', [value, wholes(b, [...before, ...after])])
}

/** The first or the last element of an axis of symbolic length (the shape rule allows no other), back in its place. */
function placedInOpenAxis(b: GradientBuilder, part: Value, { x, axis, index }: { x: Value; axis: number; index: number }): Value {
  const shape = part.shape.with(axis, x.shape[axis]!)
  const zeros = b.op('Expand', [literal(b, part, 0), lengths(b, shape, [x])])
  const places = b.op('Expand', [wholes(b, [index]), lengths(b, part.shape, [x])])
  return { ...part, name: b.op('ScatterElements', [zeros, places, part.name], { axis }), shape }
}

/** Elements `step` apart with zeros between them and, where there is room, behind the last; in the other order where the step is negative. */
function spread(b: GradientBuilder, part: Value, { axis, step, room, x }: { axis: number; step: number; room: number; x: Value }): Value {
  if (step === 1) return part
  const reversed =
    step > 0 ? part.name : b.op('Slice', [part.name, wholes(b, [-1]), wholes(b, [-(2 ** 31)]), wholes(b, [axis]), wholes(b, [-1])])
  if (step === -1) return { ...part, name: reversed }
  const apart = Math.abs(step)
  const none = new Array<number>(part.shape.length + 1).fill(0)
  const spaced = padded(b, b.op('Unsqueeze', [reversed, wholes(b, [axis + 1])]), none, none.with(axis + 1, apart - 1))
  const length = (part.shape[axis] as number) * apart
  const joined: Dim[] = part.shape.with(axis, length)
  const merged = b.op('Reshape', [spaced, lengths(b, joined, [x])])
  if (length <= room) return { ...part, name: merged, shape: joined }
  return {
    ...part,
    name: b.op('Slice', [merged, wholes(b, [0]), wholes(b, [room]), wholes(b, [axis])]),
    shape: joined.with(axis, room),
  }
}

export const pad: GradientRule = (b, call) => {
  const x = inputOf(call, 0)
  const rank = x.shape.length
  const before = wholeNumbers(call, 1, 'pads').slice(0, rank)
  const axes = x.shape.flatMap((dim, axis) => (dim === call.outputs[0]!.shape[axis] ? [] : [axis]))
  if (axes.length === 0) return [call.gradients[0]]
  const starts = axes.map((axis) => before[axis]!)
  const ends = axes.map((axis) => before[axis]! + (x.shape[axis] as number))
  return [b.op('Slice', [call.gradients[0]!, wholes(b, starts), wholes(b, ends), wholes(b, axes)])]
}
