import { sliceRange } from '../../graph/operators/rules.js'
import { allocate, elementCount, strides, type Tensor } from '../../tensor.js'
import { axisOf, broadcastShape, broadcastStrides, forEachCoordinate, type Kernel, offsetAt, pick, store, wholeNumbers } from './kernel.js'

export function transpose(x: Tensor, perm: readonly number[]): Tensor {
  const own = strides(x.shape)
  const steps = perm.map((axis) => own[axis]!)
  return pick(
    x,
    perm.map((axis) => x.shape[axis]!),
    (coordinate) => offsetAt(coordinate, steps),
  )
}

export function expand(x: Tensor, target: readonly number[]): Tensor {
  const shape = broadcastShape(x.shape, target)
  const steps = broadcastStrides(x.shape, shape)
  return pick(x, shape, (coordinate) => offsetAt(coordinate, steps))
}

const reshape: Kernel = ({ inputs: [x, wanted] }) => {
  const dims = wholeNumbers(wanted!).map((length, axis) => (length === 0 ? x!.shape[axis]! : length))
  const rest = elementCount(x!.shape) / dims.filter((length) => length !== -1).reduce((product, length) => product * length, 1)
  return [{ ...x!, shape: dims.map((length) => (length === -1 ? rest : length)) }]
}

/** The part of x that begins at `from` along `axis` and has `length` elements there. */
function part(x: Tensor, { axis, from, length }: { axis: number; from: number; length: number }): Tensor {
  const steps = strides(x.shape)
  return pick(x, x.shape.with(axis, length), (coordinate) => offsetAt(coordinate, steps) + from * steps[axis]!)
}

const concat: Kernel = ({ inputs, attributes }) => {
  const parts = inputs as readonly Tensor[]
  const { dtype, shape: first } = parts[0]!
  const axis = axisOf(attributes.axis as number, first.length)
  const shape = first.with(
    axis,
    parts.reduce((sum, { shape }) => sum + shape[axis]!, 0),
  )
  const data = allocate(dtype, elementCount(shape)) as Float32Array
  const steps = strides(shape)
  let from = 0
  for (const each of parts) {
    forEachCoordinate(each.shape, (coordinate, offset) => {
      data[offsetAt(coordinate, steps) + from * steps[axis]!] = (each.data as Float32Array)[offset]!
    })
    from += each.shape[axis]!
  }
  return [{ dtype, shape, data }]
}

const split: Kernel = ({ inputs: [x, given], attributes, nOutputs }) => {
  const axis = axisOf(attributes.axis as number, x!.shape.length)
  const each = Math.ceil(x!.shape[axis]! / nOutputs)
  const equal = Array.from({ length: nOutputs }, (_, at) => (at < nOutputs - 1 ? each : x!.shape[axis]! - each * (nOutputs - 1)))
  const lengths = given ? wholeNumbers(given) : equal
  let from = 0
  return lengths.map((length) => {
    from += length
    return part(x!, { axis, from: from - length, length })
  })
}

const slice: Kernel = ({ inputs: [x, starts, ends, givenAxes, givenSteps] }) => {
  const [start, end] = [wholeNumbers(starts!), wholeNumbers(ends!)]
  const axes = givenAxes ? wholeNumbers(givenAxes).map((axis) => axisOf(axis, x!.shape.length)) : start.map((_, axis) => axis)
  const stepOf = givenSteps ? wholeNumbers(givenSteps) : start.map(() => 1)
  const own = strides(x!.shape)
  const ranges = x!.shape.map((length, axis) => {
    const at = axes.indexOf(axis)
    return at < 0
      ? { from: 0, count: length, step: 1 }
      : { ...sliceRange(length, { start: start[at]!, end: end[at]!, step: stepOf[at]! }), step: stepOf[at]! }
  })
  const shape = ranges.map(({ count }) => count)
  return [
    pick(x!, shape, (coordinate) =>
      ranges.reduce((offset, { from, step }, axis) => offset + (from + coordinate[axis]! * step) * own[axis]!, 0),
    ),
  ]
}

/** Zeros in front and behind. */
const pad: Kernel = ({ inputs: [x, pads] }) => {
  const given = wholeNumbers(pads!)
  const rank = x!.shape.length
  const shape = x!.shape.map((length, axis) => length + given[axis]! + given[axis + rank]!)
  const data = allocate(x!.dtype, elementCount(shape)) as Float32Array
  const steps = strides(shape)
  forEachCoordinate(x!.shape, (coordinate, offset) => {
    const place = coordinate.map((at, axis) => at + given[axis]!)
    data[offsetAt(place, steps)] = (x!.data as Float32Array)[offset]!
  })
  return [{ dtype: x!.dtype, shape, data }]
}

const squeeze: Kernel = ({ inputs: [x, givenAxes] }) => {
  const rank = x!.shape.length
  const axes = givenAxes ? wholeNumbers(givenAxes).map((axis) => axisOf(axis, rank)) : undefined
  return [{ ...x!, shape: x!.shape.filter((length, axis) => (axes ? !axes.includes(axis) : length !== 1)) }]
}

const unsqueeze: Kernel = ({ inputs: [x, givenAxes] }) => {
  const given = wholeNumbers(givenAxes!)
  const axes = given.map((axis) => axisOf(axis, x!.shape.length + given.length)).sort((a, b) => a - b)
  return [{ ...x!, shape: axes.reduce((shape, axis) => shape.toSpliced(axis, 0, 1), [...x!.shape]) }]
}

export const shape = {
  Shape: ({ inputs: [x], attributes }) => {
    const lengths = x!.shape.slice(attributes.start as number, attributes.end as number | undefined)
    return [store('int64', [lengths.length], lengths)]
  },
  Reshape: reshape,
  Transpose: ({ inputs: [x], attributes }) => [
    transpose(x!, (attributes.perm as readonly number[] | undefined) ?? x!.shape.map((_, at) => at).reverse()),
  ],
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Expand: ({ inputs: [x, wanted] }) => [expand(x!, wholeNumbers(wanted!))],
  Concat: concat,
  Split: split,
  Slice: slice,
  Pad: pad,
} as const satisfies Record<string, Kernel>
