/**
 * Optimizers as operators. A step moves every weight and every number of state through memory a few times, and for large layers that is a
 * good part of its time, so the formulas are arranged for few passes: everything that is one number for the whole step (bias corrections,
 * learning rate, epsilon) is computed outside and folded into two factors.
 *
 * Kingma and Ba (2015), "Adam"; Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization". The result is torch's
 * (`torch.optim.Adam`, `AdamW`), epsilon where torch has it.
 */

import type { GraphBuilder } from '../graph/builder.js'
import type { ValueType } from '../graph/graph.js'
import { scalar, type Tensor } from '../tensor.js'

interface AdamSetting {
  /** Default 0.9. */
  readonly beta1?: number
  /** Default 0.999. */
  readonly beta2?: number
  /** Default 1e-8. */
  readonly epsilon?: number
}

export type Optimizer =
  | (AdamSetting & { readonly kind: 'adam' })
  /** `decayed`: `all` parameters, as torch does; `matrices` (default): weights of linear layers and convolutions only. */
  | (AdamSetting & { readonly kind: 'adamw'; readonly weightDecay?: number; readonly decayed?: 'all' | 'matrices' })

export interface OptimizedParameter {
  readonly name: string
  readonly type: ValueType
  /** After clipping; of the parameter's type. */
  readonly gradient: string
}

/** The names under which the optimizer's memory lies beside the weights. */
export const firstMoment = (parameter: string) => `adam/m/${parameter}`
export const secondMoment = (parameter: string) => `adam/v/${parameter}`

/** State of one parameter: by name, of the parameter's type, 0 at first. */
export const stateNames = (parameter: string): readonly string[] => [firstMoment(parameter), secondMoment(parameter)]

/** The output that a parameter or a state takes its next value from. */
export const nextName = (name: string) => `next/${name}`

/** Inputs of a step, one number each. */
const rateInput = 'adam/rate'
const epsilonInput = 'adam/epsilon'
const decayInput = 'adam/decay'

const defaults = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
const defaultWeightDecay = 0.01

/**
 * The nodes that update one parameter.
 *
 * With g the gradient: m <- beta1 m + g, v <- beta2 v + g^2, p <- decay p - rate m / (sqrt(v) + epsilon'). Adam's moments are (1 - beta1) m
 * and (1 - beta2) v; these factors and the bias corrections are in `rate` and `epsilon'` (see `optimizerInputs`).
 *
 * @returns the new values: of the parameter, still without a name; and of its state, by name, each named by `nextName`
 */
export function updateNodes(
  b: GraphBuilder,
  { name, type, gradient }: OptimizedParameter,
  optimizer: Optimizer,
): { readonly parameter: string; readonly state: Readonly<Record<string, string>> } {
  const { beta1, beta2 } = { ...defaults, ...optimizer }
  const shape = type.shape as readonly number[]
  const [m, v] = [b.parameter(firstMoment(name), shape), b.parameter(secondMoment(name), shape)]
  // Named where they are made: naming a value that something reads already would copy it.
  const nextM = b.named(nextName(m), b.op('Add', [b.op('Mul', [m, b.constant(scalar(beta1))]), gradient]))
  const square = b.op('Mul', [gradient, gradient])
  const nextV = b.named(nextName(v), b.op('Add', [b.op('Mul', [v, b.constant(scalar(beta2))]), square]))
  const denominator = b.op('Add', [b.op('Sqrt', [nextV]), b.input(epsilonInput, 'float32', [])])
  const change = b.op('Mul', [b.op('Div', [nextM, denominator]), b.input(rateInput, 'float32', [])])
  const kept = isDecayed(optimizer, name, shape) ? b.op('Mul', [name, b.input(decayInput, 'float32', [])]) : name
  return { parameter: b.op('Sub', [kept, change]), state: { [firstMoment(name)]: nextM, [secondMoment(name)]: nextV } }
}

/**
 * What the step's inputs are at one update.
 * @param update  from 1
 */
export function optimizerInputs(optimizer: Optimizer, { update, learningRate }: { update: number; learningRate: number }) {
  const { beta1, beta2, epsilon } = { ...defaults, ...optimizer }
  // p -= lr / c1 * (1 - b1) m / (sqrt((1 - b2) v) / sqrt(c2) + eps), with c = 1 - b^update
  const toRoot = Math.sqrt((1 - beta2 ** update) / (1 - beta2))
  const rate = ((learningRate * (1 - beta1)) / (1 - beta1 ** update)) * toRoot
  const inputs: Record<string, Tensor> = { [rateInput]: scalar(rate), [epsilonInput]: scalar(epsilon * toRoot) }
  if (optimizer.kind === 'adamw') inputs[decayInput] = scalar(1 - learningRate * (optimizer.weightDecay ?? defaultWeightDecay))
  return inputs
}

/** Tables that are looked up or added, not multiplied with: usually left without decay. */
const tables = /(^|[./])(W_E|W_pos|cls_token|register_tokens)$/

function isDecayed(optimizer: Optimizer, name: string, shape: readonly number[]): boolean {
  if (optimizer.kind !== 'adamw' || (optimizer.weightDecay ?? defaultWeightDecay) === 0) return false
  return optimizer.decayed === 'all' || (shape.length >= 2 && !tables.test(name))
}
