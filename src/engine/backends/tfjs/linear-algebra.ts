import type { Tensor as TfTensor } from '@tensorflow/tfjs-core'
import { broadcastShape } from '../reference/kernel.js'
import { device, type TfKernel } from './kernel.js'
import type { Tf } from './library.js'

/** Stacks of matrices, `'` as the flags say. Stacks that repeat are written out where both do: TensorFlow.js repeats one of them only. */
function stacks(tf: Tf, a: TfTensor, b: TfTensor, [transA, transB]: readonly [boolean, boolean] = [false, false]): TfTensor {
  const [before, behind] = [a.shape.slice(0, -2), b.shape.slice(0, -2)]
  if (before.join() === behind.join()) return tf.matMul(a, b, transA, transB)
  const batch = broadcastShape(before, behind)
  const whole = (x: TfTensor) => tf.broadcastTo(x, [...batch, ...x.shape.slice(-2)])
  return tf.matMul(whole(a), whole(b), transA, transB)
}

/** As numpy's: vectors gain an axis that is dropped again. */
function matMul(tf: Tf, left: TfTensor, right: TfTensor): TfTensor {
  const a = left.rank === 1 ? tf.expandDims(left, 0) : left
  const b = right.rank === 1 ? tf.expandDims(right, -1) : right
  const product = stacks(tf, a, b)
  const dropped = [...(left.rank === 1 ? [product.rank - 2] : []), ...(right.rank === 1 ? [product.rank - 1] : [])]
  return dropped.length === 0 ? product : tf.squeeze(product, dropped)
}

const isSet = (flag: unknown) => flag === 1

const fusedMatMul: TfKernel = ({ tf, inputs: [a, b], attributes: { alpha, transA, transB } }) => {
  const product = stacks(tf, device(tf, a), device(tf, b), [isSet(transA), isSet(transB)])
  return [alpha === 1 ? product : tf.mul(product, alpha as number)]
}

const gemm: TfKernel = ({ tf, inputs: [a, b, c], attributes: { alpha, beta, transA, transB } }) => {
  const product = tf.matMul(device(tf, a), device(tf, b), isSet(transA), isSet(transB))
  const scaled = alpha === 1 ? product : tf.mul(product, alpha as number)
  if (!c) return [scaled]
  return [tf.add(scaled, beta === 1 ? device(tf, c) : tf.mul(device(tf, c), beta as number))]
}

export const linearAlgebra = {
  MatMul: ({ tf, inputs: [a, b] }) => [matMul(tf, device(tf, a), device(tf, b))],
  FusedMatMul: fusedMatMul,
  Gemm: gemm,
} as const satisfies Record<string, TfKernel>
