/**
 * Convolutions of any rank as products of matrices, one for each place of the kernel. A kernel that steps by its own size, as that of patches does, is
 * one product.
 */

import type { Tensor as TfTensor } from '@tensorflow/tfjs-core'
import { convolutionSteps } from '../../graph/operators/rules.js'
import { forEachCoordinate } from '../reference/kernel.js'
import { device, indices, type TfKernel } from './kernel.js'
import type { Tf } from './library.js'

const conv: TfKernel = ({ tf, inputs: [given, weights, bias], attributes }) => {
  const weight = device(tf, weights)
  const kernel = weight.shape.slice(2)
  const rank = kernel.length
  const { strides: step, pads, dilations } = convolutionSteps(attributes, rank)
  const around = kernel.map((_, axis) => [pads[axis]!, pads[axis + rank]!] as [number, number])
  const x = tf.pad(device(tf, given), [[0, 0], [0, 0], ...around])
  const groups = attributes.group as number
  const isPatches = groups === 1 && kernel.every((length, axis) => length === step[axis] && dilations[axis] === 1)
  const made = isPatches
    ? ofPatches(tf, x, weight)
    : tf.concat(
        tf.split(x, groups, 1).map((part, group) => {
          const own = tf.split(weight, groups, 0)[group]!
          return tap(tf, part, own, { step, dilations })
        }),
        1,
      )
  return [bias ? tf.add(made, tf.reshape(device(tf, bias), [-1, ...kernel.map(() => 1)])) : made]
}

/** `[batch, cIn, ...sizes]` in patches of the kernel's size; what does not fill one is left over. */
function ofPatches(tf: Tf, x: TfTensor, weight: TfTensor): TfTensor {
  const kernel = weight.shape.slice(2)
  const [batch, cIn] = x.shape as [number, number]
  const counts = kernel.map((length, axis) => Math.floor(x.shape[axis + 2]! / length))
  const whole = tf.slice(
    x,
    x.shape.map(() => 0),
    [batch, cIn, ...counts.map((count, axis) => count * kernel[axis]!)],
  )
  const cut = tf.reshape(whole, [batch, cIn, ...counts.flatMap((count, axis) => [count, kernel[axis]!])])
  const grid = kernel.map((_, axis) => 2 + 2 * axis)
  const patches = tf.reshape(tf.transpose(cut, [0, ...grid, 1, ...grid.map((axis) => axis + 1)]), [-1, weight.size / weight.shape[0]!])
  const made = tf.matMul(patches, tf.reshape(weight, [weight.shape[0]!, -1]), false, true)
  return channelsFirst(tf, tf.reshape(made, [batch, ...counts, weight.shape[0]!]))
}

/** The sum over the kernel's places of what each sees, times its weights. */
function tap(
  tf: Tf,
  x: TfTensor,
  weight: TfTensor,
  { step, dilations }: { readonly step: readonly number[]; readonly dilations: readonly number[] },
): TfTensor {
  const kernel = weight.shape.slice(2)
  const [batch, cIn] = x.shape as [number, number]
  const counts = kernel.map((length, axis) => Math.floor((x.shape[axis + 2]! - (dilations[axis]! * (length - 1) + 1)) / step[axis]!) + 1)
  const last = tf.transpose(x, [0, ...kernel.map((_, axis) => axis + 2), 1])
  let sum: TfTensor | undefined
  forEachCoordinate(kernel, (place) => {
    let seen = last
    for (const [axis, count] of counts.entries()) {
      const at = Array.from({ length: count }, (_, index) => index * step[axis]! + place[axis]! * dilations[axis]!)
      seen = tf.gather(seen, indices(tf, at, [count]) as never, axis + 1)
    }
    const own = tf.reshape(tf.slice(weight, [0, 0, ...place], [weight.shape[0]!, cIn, ...kernel.map(() => 1)]), [weight.shape[0]!, cIn])
    const part = tf.matMul(tf.reshape(seen, [-1, cIn]), own, false, true)
    sum = sum ? tf.add(sum, part) : part
  })
  return channelsFirst(tf, tf.reshape(sum!, [batch, ...counts, weight.shape[0]!]))
}

/** `[batch, ...sizes, c]` to `[batch, c, ...sizes]`. */
function channelsFirst(tf: Tf, x: TfTensor): TfTensor {
  return tf.transpose(x, [0, x.rank - 1, ...Array.from({ length: x.rank - 2 }, (_, axis) => axis + 1)])
}

/** Every element adds the kernel, times itself, where a convolution that made it would have read. */
const convTranspose: TfKernel = ({ tf, inputs: [given, weights, bias], attributes }) => {
  const [x, weight] = [device(tf, given), device(tf, weights)]
  const kernel = weight.shape.slice(2)
  const rank = kernel.length
  const { strides: step, pads, dilations } = convolutionSteps(attributes, rank)
  const more = (attributes.output_padding as readonly number[] | undefined) ?? kernel.map(() => 0)
  const groups = attributes.group as number
  const reach = kernel.map((length, axis) => dilations[axis]! * (length - 1))
  /** What the elements are spread to, before padding is cut off. */
  const spread = kernel.map((_, axis) => (x.shape[axis + 2]! - 1) * step[axis]! + reach[axis]! + 1 + more[axis]!)
  const parts = tf.split(x, groups, 1).map((part, group) => {
    const own = tf.split(weight, groups, 0)[group]!
    const [cIn, cOut] = own.shape as [number, number]
    const rows = tf.transpose(part, [0, ...kernel.map((_, axis) => axis + 2), 1])
    const between = apart(tf, rows, step)
    let sum: TfTensor | undefined
    forEachCoordinate(kernel, (place) => {
      const at = tf.reshape(tf.slice(own, [0, 0, ...place], [cIn, cOut, ...kernel.map(() => 1)]), [cIn, cOut])
      const made = tf.reshape(tf.matMul(tf.reshape(between, [-1, cIn]), at), [...between.shape.slice(0, -1), cOut])
      const moved = kernel.map((_, axis) => {
        const before = place[axis]! * dilations[axis]!
        return [before, spread[axis]! - before - between.shape[axis + 1]!] as [number, number]
      })
      const placed = tf.pad(made, [[0, 0], ...moved, [0, 0]])
      sum = sum ? tf.add(sum, placed) : placed
    })
    const kept = kernel.map((_, axis) => spread[axis]! - pads[axis]! - pads[axis + rank]!)
    return tf.slice(sum!, [0, ...kernel.map((_, axis) => pads[axis]!), 0], [x.shape[0]!, ...kept, cOut])
  })
  const made = channelsFirst(tf, parts.length === 1 ? parts[0]! : tf.concat(parts, parts[0]!.rank - 1))
  return [bias ? tf.add(made, tf.reshape(device(tf, bias), [-1, ...kernel.map(() => 1)])) : made]
}

/** `[batch, ...sizes, c]` with `step - 1` zeros between neighbours along each axis of sizes. */
function apart(tf: Tf, x: TfTensor, step: readonly number[]): TfTensor {
  return step.reduce((spread, by, at) => {
    if (by === 1) return spread
    const axis = at + 1
    const length = spread.shape[axis]!
    const cells = tf.expandDims(spread, axis + 1)
    const padded = tf.pad(
      cells,
      cells.shape.map((_, other) => (other === axis + 1 ? [0, by - 1] : [0, 0]) as [number, number]),
    )
    const flat = tf.reshape(padded, spread.shape.with(axis, length * by))
    return tf.slice(
      flat,
      flat.shape.map(() => 0),
      flat.shape.with(axis, (length - 1) * by + 1),
    )
  }, x)
}

export const convolutions = { Conv: conv, ConvTranspose: convTranspose } as const satisfies Record<string, TfKernel>
