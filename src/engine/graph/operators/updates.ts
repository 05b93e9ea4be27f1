/**
 * What an optimizer does to one parameter, as one operator: written with elementwise ones, it would move the whole parameter through memory
 * a dozen times.
 */

import { scalar, tensor } from '../../tensor.js'
import { type Operator, refuse } from '../operator.js'
import { floats, operands, show } from './rules.js'

export const updates = {
  /**
   * One step of Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019), with all that is one number for the step folded outside.
   * Inputs: parameter p, gradient g, moments m and v, of one shape; rate, epsilon, decay, scalars (absent decay: 1). Outputs: p', m', v':
   *
   *   m' = beta1 m + g;  v' = beta2 v + g^2;  p' = decay p - rate m' / (sqrt(v') + epsilon)
   *
   * Computed in float64 throughout; each result is rounded once, when it is stored.
   */
  AdamUpdate: {
    domain: 'refract',
    inputs: [6, 7],
    outputs: [3, 3],
    attributes: { beta1: { kind: 'float', required: true }, beta2: { kind: 'float', required: true } },
    since: 1,
    infer: (call) => {
      const given = operands(call, floats)
      const [parameter, ...rest] = given.slice(0, 4)
      const { dtype, shape } = parameter!
      const other = rest.find((each) => show(each.shape) !== show(shape))
      if (other) refuse(`the parameter is ${show(shape)}; its gradient and moments must be too, not ${show(other.shape)}`)
      if (given.slice(4).some((each) => each.shape.length > 0)) refuse('rate, epsilon and decay must be scalars')
      return Array.from({ length: 3 }, () => ({ dtype, shape }))
    },
    body: (b, { names: [p, g, m, v, rate, epsilon, decay], inputs, attributes }) => {
      const { beta1, beta2 } = attributes as { readonly beta1: number; readonly beta2: number }
      const times = (value: string, factor: number) => {
        const literal = inputs[0]!.dtype === 'float64' ? tensor('float64', [], Float64Array.of(factor)) : scalar(factor)
        return b.op('Mul', [value, b.constant(literal)])
      }
      const nextM = b.op('Add', [times(m!, beta1), g!])
      const nextV = b.op('Add', [times(v!, beta2), b.op('Mul', [g!, g!])])
      const change = b.op('Mul', [b.op('Div', [nextM, b.op('Add', [b.op('Sqrt', [nextV]), epsilon!])]), rate!])
      return [b.op('Sub', [decay ? b.op('Mul', [p!, decay]) : p!, change]), nextM, nextV]
    },
    gradient: 'body',
  },
} as const satisfies Record<string, Operator>
