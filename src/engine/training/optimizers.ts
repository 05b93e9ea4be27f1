/** Optimizers, and which of a model's parameters each of their rules is for. */

import type { ValueType } from '../graph/graph.js'
import { adam } from './optimizers/adam.js'
import { muon } from './optimizers/muon.js'
import type { UpdateRule } from './optimizers/update-rule.js'

export { nextName } from './optimizers/update-rule.js'

interface AdamSetting {
  /** Default 0.9. */
  readonly beta1?: number
  /** Default 0.999. */
  readonly beta2?: number
  /** Default 1e-8. */
  readonly epsilon?: number
}

interface Decay {
  /** Decoupled from the gradient. Default 0.01. */
  readonly weightDecay?: number
  /** `all` parameters, as torch does; `matrices` (default): weights of linear layers and convolutions only. */
  readonly decayed?: 'all' | 'matrices'
}

export type Optimizer =
  | (AdamSetting & { readonly kind: 'adam' })
  | (AdamSetting & Decay & { readonly kind: 'adamw' })
  /** Muon for the matrices of the blocks, AdamW for the rest. */
  | (AdamSetting &
      Decay & {
        readonly kind: 'muon'
        /** Default 0.95. */
        readonly momentum?: number
        /** Muon's learning rate in multiples of AdamW's, which is the step's. Default 10. */
        readonly matrixFactor?: number
      })

const defaultWeightDecay = 0.01
const defaultMatrixFactor = 10

/** How each parameter is updated, and what all of them are fed. */
export interface ParameterRules {
  of(name: string, type: ValueType): { readonly rule: UpdateRule; readonly isDecayed: boolean }
  /** Inputs of a step for all rules, used or not. */
  inputs: UpdateRule['inputs']
}

export function parameterRules(optimizer: Optimizer): ParameterRules {
  const weightDecay = optimizer.kind === 'adam' ? 0 : (optimizer.weightDecay ?? defaultWeightDecay)
  const forAll = adam({ ...optimizer, weightDecay })
  const forMatrices =
    optimizer.kind === 'muon'
      ? muon({ ...optimizer, weightDecay, learningRateFactor: optimizer.matrixFactor ?? defaultMatrixFactor })
      : forAll
  return {
    of: (name, { shape }) => ({
      rule: isHidden(name, shape.length) ? forMatrices : forAll,
      isDecayed: weightDecay !== 0 && (isAllDecayed(optimizer) || isMatrix(name, shape.length)),
    }),
    inputs: (setting) => ({ ...forAll.inputs(setting), ...forMatrices.inputs(setting) }),
  }
}

/** Tables that are looked up or added, not multiplied with: usually left without decay. */
const tables = /(^|[./])(W_E|W_pos|cls_token|register_tokens)$/

const isMatrix = (name: string, rank: number) => rank >= 2 && !tables.test(name)

/** A linear layer within a block: neither patches, tables nor head. */
const isHidden = (name: string, rank: number) => rank === 2 && /(^|[./])blocks\.\d+\./.test(name)

const isAllDecayed = (optimizer: Optimizer) => optimizer.kind !== 'adam' && optimizer.decayed === 'all'
