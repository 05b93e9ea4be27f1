/**
 * Operators that this process computes itself, over the arrays that the weights are kept in. A session would copy what they make into fresh
 * memory; here it can take the place of what it was made from.
 */

import type { Attribute } from '../../graph/graph.js'
import type { OpName } from '../../graph/operators.js'
import { type AdamStep, type Floats, newArrays, updateInPieces, updateOneByOne } from './adam-update.js'

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
  /** Arrays for its outputs in which it is faster to write them over at the next run; they cannot be transferred. */
  readonly lasting?: (like: readonly Floats[]) => readonly Floats[]
  /** Throws nothing. */
  readonly compute: (call: HostCall) => void
}

export const hostKernels: Readonly<Partial<Record<OpName, HostKernel>>> = {
  AdamUpdate: { replaces: [0, 2, 3], lasting: adamArrays, compute: adamUpdate },
}

function adamArrays(like: readonly Floats[]): readonly Floats[] {
  const [p] = like
  return p instanceof Float32Array ? newArrays(p.length) : like.map(({ length }) => new Float64Array(length))
}

function adamUpdate({ inputs, outputs, attributes }: HostCall): void {
  const [p, g, m, v, rates, epsilons, decays] = inputs as readonly Floats[]
  const { beta1, beta2 } = attributes as { readonly beta1: number; readonly beta2: number }
  const step: AdamStep<Floats> = {
    from: [p!, g!, m!, v!],
    to: outputs as AdamStep<Floats>['to'],
    ...{ beta1, beta2, rate: rates![0]!, epsilon: epsilons![0]!, decay: decays?.[0] ?? 1 },
  }
  if (isSingle(step)) updateInPieces(step)
  else updateOneByOne(step)
}

/** Its arrays are of one dtype. */
function isSingle(step: AdamStep<Floats>): step is AdamStep<Float32Array> {
  return step.from[0] instanceof Float32Array
}
