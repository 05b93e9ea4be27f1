import type { Tensor as TfTensor } from '@tensorflow/tfjs-core'
import { elementwise as reference } from '../reference/elementwise.js'
import { device, host, isHost, type TfKernel } from './kernel.js'
import type { Tf } from './library.js'

const unary =
  (compute: (tf: Tf, x: TfTensor) => TfTensor): TfKernel =>
  ({ tf, inputs: [x] }) => [compute(tf, device(tf, x))]

const binary =
  (compute: (tf: Tf, a: TfTensor, b: TfTensor) => TfTensor): TfKernel =>
  ({ tf, inputs: [a, b] }) => [compute(tf, device(tf, a), device(tf, b))]

const geluExact = (tf: Tf, x: TfTensor) => tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1))

function geluTanh(tf: Tf, x: TfTensor): TfTensor {
  const cube = tf.mul(tf.mul(tf.mul(x, x), x), 0.044715)
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(tf.mul(tf.add(x, cube), Math.sqrt(2 / Math.PI))), 1))
}

const cast: TfKernel = ({ tf, inputs: [x], attributes }) => {
  const to = attributes.to as string
  if (to === 'float32') return [tf.cast(device(tf, x), 'float32')]
  if (to === 'bool') return [tf.notEqual(device(tf, x), 0)]
  return reference.Cast({ inputs: [host(x!)], nOutputs: 1, attributes, float: 'float32' })
}

const clip: TfKernel = ({ tf, inputs: [x, low, high] }) => {
  const above = low ? tf.maximum(device(tf, x), device(tf, low)) : device(tf, x)
  return [high ? tf.minimum(above, device(tf, high)) : above]
}

const where: TfKernel = ({ tf, inputs: [condition, then, otherwise], attributes }) => {
  if (isHost(then!) && then.dtype !== 'float32' && then.dtype !== 'bool') {
    const inputs = [condition!, then, otherwise!].map(host)
    return reference.Where({ inputs, nOutputs: 1, attributes, float: 'float32' })
  }
  return [tf.where(device(tf, condition), device(tf, then), device(tf, otherwise))]
}

export const elementwise = {
  Identity: unary((tf, x) => tf.clone(x)),
  Cast: cast,
  Neg: unary((tf, x) => tf.neg(x)),
  Sign: unary((tf, x) => tf.sign(x)),
  Abs: unary((tf, x) => tf.abs(x)),
  Sqrt: unary((tf, x) => tf.sqrt(x)),
  Reciprocal: unary((tf, x) => tf.reciprocal(x)),
  Exp: unary((tf, x) => tf.exp(x)),
  Log: unary((tf, x) => tf.log(x)),
  Erf: unary((tf, x) => tf.erf(x)),
  Tanh: unary((tf, x) => tf.tanh(x)),
  Sigmoid: unary((tf, x) => tf.sigmoid(x)),
  Relu: unary((tf, x) => tf.relu(x)),
  Gelu: (call) => unary(call.attributes.approximate === 'tanh' ? geluTanh : geluExact)(call),
  Clip: clip,
  Add: binary((tf, a, b) => tf.add(a, b)),
  Sub: binary((tf, a, b) => tf.sub(a, b)),
  Mul: binary((tf, a, b) => tf.mul(a, b)),
  Div: binary((tf, a, b) => tf.div(a, b)),
  Pow: binary((tf, a, b) => tf.pow(a, b)),
  Min: binary((tf, a, b) => tf.minimum(a, b)),
  Max: binary((tf, a, b) => tf.maximum(a, b)),
  Equal: binary((tf, a, b) => tf.equal(a, b)),
  Greater: binary((tf, a, b) => tf.greater(a, b)),
  GreaterOrEqual: binary((tf, a, b) => tf.greaterEqual(a, b)),
  Less: binary((tf, a, b) => tf.less(a, b)),
  LessOrEqual: binary((tf, a, b) => tf.lessEqual(a, b)),
  And: binary((tf, a, b) => tf.logicalAnd(a, b)),
  Or: binary((tf, a, b) => tf.logicalOr(a, b)),
  Not: unary((tf, x) => tf.logicalNot(x)),
  IsNaN: unary((tf, x) => tf.isNaN(x)),
  Where: where,
} as const satisfies Record<string, TfKernel>
