/**
 * Muon: momentum whose matrix is made orthogonal, so that a step has one length in every direction of the matrix. For the matrices of hidden
 * layers; everything else is for Adam.
 *
 * Jordan et al. (2024), "Muon: An optimizer for hidden layers in neural networks". The result is that of `torch.optim.Muon` (with
 * `adjust_lr_fn` "original"), which iterates in bfloat16 where this iterates in float32.
 */

import type { GraphBuilder } from '../../graph/builder.js'
import { scalar } from '../../tensor.js'
import { nextName, type UpdateRule } from './update-rule.js'

export interface MuonSetting {
  /** Default 0.95, with Nesterov's correction. */
  readonly momentum?: number
  /** Of parameters that decay; 0 for none. */
  readonly weightDecay: number
  /** Its learning rate in multiples of the step's, which is Adam's. */
  readonly learningRateFactor: number
}

const momentumName = (parameter: string) => `muon/momentum/${parameter}`
const rateInput = 'muon/rate'
const decayInput = 'muon/decay'

const defaultMomentum = 0.95

/** Of x, x^3 and x^5: chosen by the authors for the steepest slope at 0. Singular values end up between 0.7 and 1.2, not at 1. */
const [linear, cubic, quintic] = [3.4445, -4.775, 2.0315]
const nIterations = 5
const smallestNorm = 1e-7

/** With g the gradient: m <- momentum m + (1 - momentum) g, p <- decay p - rate sqrt(max(1, rows / columns)) orthogonal((1 - momentum) g + momentum m). */
export function muon({ momentum = defaultMomentum, weightDecay, learningRateFactor }: MuonSetting): UpdateRule {
  return {
    stateNames: (parameter) => [momentumName(parameter)],

    update(b, { name, type, gradient, isDecayed }) {
      const shape = type.shape as readonly [number, number]
      const times = (value: string, factor: number) => b.op('Mul', [value, b.constant(scalar(factor))])
      const state = b.parameter(momentumName(name), shape)
      const now = times(gradient, 1 - momentum)
      const next = b.named(nextName(state), b.op('Add', [times(state, momentum), now]))
      const direction = orthogonal(b, b.op('Add', [now, times(next, momentum)]), shape)
      const rate = times(b.input(rateInput, 'float32', []), Math.sqrt(Math.max(1, shape[0] / shape[1])))
      const kept = isDecayed ? b.op('Mul', [name, b.input(decayInput, 'float32', [])]) : name
      return { parameter: b.op('Sub', [kept, b.op('Mul', [direction, rate])]), state: { [state]: next } }
    },

    inputs({ learningRate }) {
      const rate = learningRate * learningRateFactor
      return { [rateInput]: scalar(rate), [decayInput]: scalar(1 - rate * weightDecay) }
    },
  }
}

/** The matrix with all its singular values near 1, by iterations of x <- a x + b x^3 + c x^5 in the singular values. */
function orthogonal(b: GraphBuilder, matrix: string, [nRows, nColumns]: readonly [number, number]): string {
  const norm = b.op('Sqrt', [b.op('ReduceSumSquare', [matrix], { keepdims: 0 })])
  let x = b.op('Div', [matrix, b.op('Max', [norm, b.constant(scalar(smallestNorm))])])
  const isTall = nRows > nColumns
  for (let iteration = 0; iteration < nIterations; iteration++) {
    const gram = b.op('Gemm', [x, x], isTall ? { transA: 1 } : { transB: 1 }) // over the shorter side
    const polynomial = b.op('Gemm', [gram, gram, gram], { alpha: quintic, beta: cubic })
    x = b.op('Gemm', isTall ? [x, polynomial, x] : [polynomial, x, x], { beta: linear })
  }
  return x
}
