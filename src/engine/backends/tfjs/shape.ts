import { sliceRange } from '../../graph/operators/rules.js'
import { axisOf, broadcastShape } from '../reference/kernel.js'
import { device, indices, type TfKernel, wholes } from './kernel.js'

const reshape: TfKernel = ({ tf, inputs: [given, wanted] }) => {
  const x = device(tf, given)
  const dims = wholes(wanted!).map((length, axis) => (length === 0 ? x.shape[axis]! : length))
  const known = dims.filter((length) => length !== -1).reduce((product, length) => product * length, 1)
  return [
    tf.reshape(
      x,
      dims.map((length) => (length === -1 ? x.size / known : length)),
    ),
  ]
}

const split: TfKernel = ({ tf, inputs: [given, lengths], attributes, nOutputs }) => {
  const x = device(tf, given)
  const axis = axisOf(attributes.axis as number, x.rank)
  const each = Math.ceil(x.shape[axis]! / nOutputs)
  const equal = Array.from({ length: nOutputs }, (_, at) => (at < nOutputs - 1 ? each : x.shape[axis]! - each * (nOutputs - 1)))
  return tf.split(x, lengths ? wholes(lengths) : equal, axis)
}

const slice: TfKernel = ({ tf, inputs: [given, starts, ends, givenAxes, givenSteps] }) => {
  const [start, end] = [wholes(starts!), wholes(ends!)]
  let x = device(tf, given)
  const axes = givenAxes ? wholes(givenAxes).map((axis) => axisOf(axis, x.rank)) : start.map((_, axis) => axis)
  const steps = givenSteps ? wholes(givenSteps) : start.map(() => 1)
  for (const [at, axis] of axes.entries()) {
    const step = steps[at]!
    const { from, count } = sliceRange(x.shape[axis]!, { start: start[at]!, end: end[at]!, step })
    const begin = x.shape.map((_, other) => (other === axis ? from : 0))
    if (step === 1) x = tf.slice(x, begin, x.shape.with(axis, count))
    else {
      const places = Array.from({ length: count }, (_, index) => from + index * step)
      x = tf.gather(x, indices(tf, places, [count]) as never, axis)
    }
  }
  return [tf.clone(x)]
}

const pad: TfKernel = ({ tf, inputs: [given, pads] }) => {
  const x = device(tf, given)
  const lengths = wholes(pads!)
  return [
    tf.pad(
      x,
      x.shape.map((_, axis) => [lengths[axis]!, lengths[axis + x.rank]!] as [number, number]),
    ),
  ]
}

const squeeze: TfKernel = ({ tf, inputs: [given, axes] }) => {
  const x = device(tf, given)
  const dropped = axes ? wholes(axes).map((axis) => axisOf(axis, x.rank)) : x.shape.flatMap((length, axis) => (length === 1 ? [axis] : []))
  return [
    tf.reshape(
      x,
      x.shape.filter((_, axis) => !dropped.includes(axis)),
    ),
  ]
}

const unsqueeze: TfKernel = ({ tf, inputs: [given, axes] }) => {
  const x = device(tf, given)
  const added = wholes(axes!)
  const places = added.map((axis) => axisOf(axis, x.rank + added.length)).sort((a, b) => a - b)
  return [
    tf.reshape(
      x,
      places.reduce((shape, axis) => shape.toSpliced(axis, 0, 1), [...x.shape]),
    ),
  ]
}

export const shape = {
  Shape: ({ inputs: [x], attributes }) => {
    const lengths = x!.shape.slice(attributes.start as number, attributes.end as number | undefined)
    return [{ dtype: 'int64', shape: [lengths.length], data: BigInt64Array.from(lengths, BigInt) }]
  },
  Reshape: reshape,
  Transpose: ({ tf, inputs: [given], attributes }) => {
    const x = device(tf, given)
    return [tf.transpose(x, (attributes.perm as number[] | undefined) ?? x.shape.map((_, at) => at).reverse())]
  },
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Expand: ({ tf, inputs: [given, wanted] }) => {
    const x = device(tf, given)
    return [tf.broadcastTo(x, broadcastShape(x.shape, wholes(wanted!)))]
  },
  Concat: ({ tf, inputs, attributes }) => {
    const parts = inputs.map((input) => device(tf, input))
    return [parts.length === 1 ? tf.clone(parts[0]!) : tf.concat(parts, axisOf(attributes.axis as number, parts[0]!.rank))]
  },
  Split: split,
  Slice: slice,
  Pad: pad,
} as const satisfies Record<string, TfKernel>
