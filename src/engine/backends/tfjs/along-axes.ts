import type { Tensor as TfTensor } from '@tensorflow/tfjs-core'
import { axisOf } from '../reference/kernel.js'
import { device, int64Of, type TfKernel, wholes } from './kernel.js'
import type { Tf } from './library.js'

const reduction =
  (reduce: (tf: Tf, x: TfTensor, axes: number[], keepDims: boolean) => TfTensor): TfKernel =>
  ({ tf, inputs: [given, givenAxes], attributes }) => {
    const x = device(tf, given)
    const named = givenAxes ? wholes(givenAxes).map((axis) => axisOf(axis, x.rank)) : []
    const axes = named.length > 0 ? named : x.shape.map((_, axis) => axis)
    return [axes.length === 0 ? tf.clone(x) : reduce(tf, x, axes, attributes.keepdims === 1)]
  }

/** Calls `compute` with `axis` as the last one, and puts it back. */
function alongLast(tf: Tf, x: TfTensor, axis: number, compute: (x: TfTensor) => TfTensor): TfTensor {
  const last = x.rank - 1
  if (axis === last) return compute(x)
  const swap = x.shape.map((_, at) => (at === axis ? last : at === last ? axis : at))
  return tf.transpose(compute(tf.transpose(x, swap)), swap)
}

const softmax: TfKernel = ({ tf, inputs: [given], attributes }) => {
  const x = device(tf, given)
  return [alongLast(tf, x, axisOf(attributes.axis as number, x.rank), (rows) => tf.softmax(rows))]
}

const layerNormalization: TfKernel = ({ tf, inputs: [given, scale, bias], attributes, nOutputs }) => {
  const x = device(tf, given)
  const from = axisOf(attributes.axis as number, x.rank)
  const axes = Array.from({ length: x.rank - from }, (_, at) => from + at)
  const mean = tf.mean(x, axes, true)
  const centred = tf.sub(x, mean)
  const variance = tf.mean(tf.square(centred), axes, true)
  const inverseScale = tf.reciprocal(tf.sqrt(tf.add(variance, attributes.epsilon as number)))
  const scaled = tf.mul(tf.mul(centred, inverseScale), device(tf, scale))
  return [bias ? tf.add(scaled, device(tf, bias)) : scaled, mean, inverseScale].slice(0, nOutputs)
}

const argMax: TfKernel = ({ tf, inputs: [given], attributes }) => {
  const x = device(tf, given)
  const axis = axisOf(attributes.axis as number, x.rank)
  const isLast = attributes.select_last_index === 1
  const found = tf.argMax(isLast ? tf.reverse(x, axis) : x, axis)
  const places = isLast ? tf.sub(x.shape[axis]! - 1, found) : found
  return [int64Of(attributes.keepdims === 1 ? tf.expandDims(places, axis) : places)]
}

const topK: TfKernel = ({ tf, inputs: [given, count], attributes }) => {
  const x = device(tf, given)
  const axis = axisOf(attributes.axis as number, x.rank)
  const sign = attributes.largest === 1 ? 1 : -1
  const [k] = wholes(count!) as [number]
  const last = x.rank - 1
  const swap = x.shape.map((_, at) => (at === axis ? last : at === last ? axis : at))
  const rows = axis === last ? x : tf.transpose(x, swap)
  const { values, indices } = tf.topk(sign === 1 ? rows : tf.neg(rows), k, true)
  const back = (found: TfTensor) => (axis === last ? found : tf.transpose(found, swap))
  return [back(sign === 1 ? values : tf.neg(values)), int64Of(back(indices))]
}

export const alongAxes = {
  ReduceMean: reduction((tf, x, axes, keep) => tf.mean(x, axes, keep)),
  ReduceSum: reduction((tf, x, axes, keep) => tf.sum(x, axes, keep)),
  ReduceSumSquare: reduction((tf, x, axes, keep) => tf.sum(tf.square(x), axes, keep)),
  ReduceMax: reduction((tf, x, axes, keep) => tf.max(x, axes, keep)),
  ReduceMin: reduction((tf, x, axes, keep) => tf.min(x, axes, keep)),
  Softmax: softmax,
  LayerNormalization: layerNormalization,
  ArgMax: argMax,
  TopK: topK,
} as const satisfies Record<string, TfKernel>
