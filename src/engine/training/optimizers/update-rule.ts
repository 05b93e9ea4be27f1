/** How one parameter is updated: what every optimizer says of itself. */

import type { GraphBuilder } from '../../graph/builder.js'
import type { ValueType } from '../../graph/graph.js'
import type { Tensor } from '../../tensor.js'

export interface OptimizedParameter {
  readonly name: string
  readonly type: ValueType
  /** After clipping; of the parameter's type. */
  readonly gradient: string
  readonly isDecayed: boolean
}

export interface UpdateRule {
  /** What lies beside a parameter from step to step, of the parameter's type, 0 at first. */
  stateNames(parameter: string): readonly string[]
  /**
   * The nodes that update one parameter.
   * @returns the new values: of the parameter, still without a name; and of its state, by name, each named by `nextName`
   */
  update(b: GraphBuilder, parameter: OptimizedParameter): { readonly parameter: string; readonly state: Readonly<Record<string, string>> }
  /**
   * What its inputs are at one update.
   * @param setting  `update` counts from 1
   */
  inputs(setting: { readonly update: number; readonly learningRate: number }): Readonly<Record<string, Tensor>>
}

/** The output that a parameter or a state takes its next value from. */
export const nextName = (name: string) => `next/${name}`
