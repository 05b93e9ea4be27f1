/**
 * Adam and AdamW. A step moves every weight and every number of state through memory, and for large layers that is a good part of its time, so
 * it is one operator, and everything that is one number for the whole step (bias corrections, learning rate, epsilon) is computed outside
 * and folded into two factors.
 *
 * Kingma and Ba (2015), "Adam"; Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization". The result is torch's
 * (`torch.optim.Adam`, `AdamW`), epsilon where torch has it.
 */

import { scalar } from '../../tensor.js'
import { nextName, type UpdateRule } from './update-rule.js'

export interface AdamSetting {
  /** Default 0.9. */
  readonly beta1?: number
  /** Default 0.999. */
  readonly beta2?: number
  /** Default 1e-8. */
  readonly epsilon?: number
  /** Of parameters that decay; 0 for none. */
  readonly weightDecay: number
}

/** The names under which its memory lies beside the weights. */
const firstMoment = (parameter: string) => `adam/m/${parameter}`
const secondMoment = (parameter: string) => `adam/v/${parameter}`

/** Inputs of a step, one number each. */
const rateInput = 'adam/rate'
const epsilonInput = 'adam/epsilon'
const decayInput = 'adam/decay'

const defaults = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }

/**
 * With g the gradient: m <- beta1 m + g, v <- beta2 v + g^2, p <- decay p - rate m / (sqrt(v) + epsilon'). Adam's moments are (1 - beta1) m
 * and (1 - beta2) v; these factors and the bias corrections are in `rate` and `epsilon'`.
 */
export function adam(setting: AdamSetting): UpdateRule {
  const { beta1, beta2, epsilon } = { ...defaults, ...setting }
  return {
    stateNames: (parameter) => [firstMoment(parameter), secondMoment(parameter)],

    update(b, { name, type, gradient, isDecayed }) {
      const shape = type.shape as readonly number[]
      const [m, v] = [b.parameter(firstMoment(name), shape), b.parameter(secondMoment(name), shape)]
      const numbers = [rateInput, epsilonInput, ...(isDecayed ? [decayInput] : [])].map((input) => b.input(input, 'float32', []))
      const made = b.opMany('AdamUpdate', [name, gradient, m, v, ...numbers], { nOutputs: 3, attributes: { beta1, beta2 } })
      return { parameter: made[0]!, state: { [m]: b.named(nextName(m), made[1]!), [v]: b.named(nextName(v), made[2]!) } }
    },

    inputs({ update, learningRate }) {
      // p -= lr / c1 * (1 - b1) m / (sqrt((1 - b2) v) / sqrt(c2) + eps), with c = 1 - b^update
      const toRoot = Math.sqrt((1 - beta2 ** update) / (1 - beta2))
      const rate = ((learningRate * (1 - beta1)) / (1 - beta1 ** update)) * toRoot
      return {
        [rateInput]: scalar(rate),
        [epsilonInput]: scalar(epsilon * toRoot),
        [decayInput]: scalar(1 - learningRate * setting.weightDecay),
      }
    },
  }
}
