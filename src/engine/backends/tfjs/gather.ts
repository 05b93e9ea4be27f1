import type { Tensor as TfTensor } from '@tensorflow/tfjs-core'
import { strides } from '../../tensor.js'
import { axisOf, forEachCoordinate, indexInto, offsetAt } from '../reference/kernel.js'
import { device, indices, type TfCall, type TfKernel, type Value, wholes } from './kernel.js'
import type { Tf } from './library.js'

const gather: TfKernel = ({ tf, inputs: [given, where], attributes }) => {
  const x = device(tf, given)
  const axis = axisOf(attributes.axis as number, x.rank)
  const places = wholes(where!).map((index) => indexInto(x.shape[axis]!, index))
  const shape = [...x.shape.slice(0, axis), ...where!.shape, ...x.shape.slice(axis + 1)]
  return [tf.reshape(tf.gather(x, indices(tf, places, [places.length]) as never, axis), shape)]
}

const flat = (tf: Tf, x: TfTensor) => tf.reshape(x, [-1])

/** For each index, where along the flattened data its element lies. */
function offsetsOf(shape: readonly number[], where: Value, axis: number): Int32Array {
  const places = wholes(where)
  const own = strides(shape)
  const offsets = new Int32Array(places.length)
  forEachCoordinate(where.shape, (coordinate, at) => {
    offsets[at] = offsetAt(coordinate.with(axis, indexInto(shape[axis]!, places[at]!)), own)
  })
  return offsets
}

const gatherElements: TfKernel = ({ tf, inputs: [given, where], attributes }) => {
  const x = device(tf, given)
  const offsets = offsetsOf(x.shape, where!, axisOf(attributes.axis as number, x.rank))
  return [tf.reshape(tf.gather(flat(tf, x), indices(tf, offsets, [offsets.length]) as never), [...where!.shape])]
}

/** Rows of `x`, `[n, ...]`, replaced or added to at `places`. */
function scatter({ tf, attributes }: TfCall, x: TfTensor, places: ArrayLike<number>, updates: TfTensor): TfTensor {
  const at = indices(tf, places, [places.length, 1])
  if (attributes.reduction !== 'add') return tf.tensorScatterUpdate(x, at as never, updates)
  return tf.add(x, tf.scatterND(at as never, updates, x.shape as never))
}

const scatterElements: TfKernel = (call) => {
  const { tf, inputs, attributes } = call
  const [x, updates] = [device(tf, inputs[0]), device(tf, inputs[2])]
  const offsets = offsetsOf(x.shape, inputs[1]!, axisOf(attributes.axis as number, x.rank))
  return [offsets.length === 0 ? tf.clone(x) : tf.reshape(scatter(call, flat(tf, x), offsets, flat(tf, updates)), x.shape)]
}

const scatterND: TfKernel = (call) => {
  const { tf, inputs } = call
  const [x, updates] = [device(tf, inputs[0]), device(tf, inputs[2])]
  const places = wholes(inputs[1]!).map((index) => indexInto(x.shape[0]!, index))
  if (places.length === 0) return [tf.clone(x)]
  return [scatter(call, x, places, tf.reshape(updates, [places.length, ...x.shape.slice(1)]))]
}

export const gathering = {
  Gather: gather,
  GatherElements: gatherElements,
  ScatterElements: scatterElements,
  ScatterND: scatterND,
} as const satisfies Record<string, TfKernel>
