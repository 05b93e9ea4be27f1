/**
 * Operators that this process computes itself, over the arrays that the weights are kept in. A session would copy what they make into fresh
 * memory; here it can take the place of what it was made from.
 */

import type { Attribute } from '../../graph/graph.js'
import type { OpName } from '../../graph/operators.js'

export type Floats = Float32Array | Float64Array

export interface HostCall {
  /** Undefined: an absent optional input. */
  readonly inputs: readonly (Floats | undefined)[]
  /** Of their lengths; one may be the array of the input that it `replaces`. */
  readonly outputs: readonly Floats[]
  readonly attributes: Readonly<Record<string, Attribute>>
}

export interface HostKernel {
  /** For each output, the input whose dtype and shape it has and whose array it may be written to. */
  readonly replaces: readonly number[]
  /** Throws nothing. */
  readonly compute: (call: HostCall) => void
}

export const hostKernels: Readonly<Partial<Record<OpName, HostKernel>>> = {
  AdamUpdate: { replaces: [0, 2, 3], compute: adamUpdate },
}

/** One pass: each element is read and written once. */
function adamUpdate({ inputs, outputs, attributes }: HostCall): void {
  const [p, g, m, v, rates, epsilons, decays] = inputs as readonly Floats[]
  const [nextP, nextM, nextV] = outputs as readonly [Floats, Floats, Floats]
  const { beta1, beta2 } = attributes as { readonly beta1: number; readonly beta2: number }
  const [rate, epsilon, decay] = [rates![0]!, epsilons![0]!, decays?.[0] ?? 1]
  for (let at = 0; at < nextP.length; at++) {
    const gradient = g![at]!
    const moment = beta1 * m![at]! + gradient
    const square = beta2 * v![at]! + gradient * gradient
    nextM[at] = moment
    nextV[at] = square
    nextP[at] = decay * p![at]! - (rate * moment) / (Math.sqrt(square) + epsilon)
  }
}
