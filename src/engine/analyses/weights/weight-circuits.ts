/**
 * What the weights of attention heads say of them: the spectra of their OV and QK circuits, and whether they copy. Computed from the small
 * factors (dHead x dHead), in float64.
 */

import type { Analysis } from '../analysis.js'
import { type HeadFactors, headFactors } from './head-factors.js'
import { eigenvalues } from './linear-algebra/eigenvalues.js'
import { multiply, transpose } from './linear-algebra/matrix.js'
import { orthogonalize } from './linear-algebra/orthogonalize.js'
import { type Spread, singularValues, spreadOf } from './linear-algebra/singular-values.js'

export interface WeightCircuitsInput {
  /** Each once, with its heads. */
  readonly layers: readonly { readonly layer: number; readonly heads: readonly number[] }[]
  /** dHead and dModel of the model, so that `cost` knows. */
  readonly dHead: number
  readonly dModel: number
  readonly nHeads: number
}

export interface Circuit extends Spread {
  /** Largest first; at most dHead of them are not 0. */
  readonly singularValues: Float64Array
  /**
   * The sum of the real parts of the eigenvalues over the sum of their sizes, from -1 to 1. Of OV: the copying score, 1 where all that is written
   * points along what was read (Elhage et al. 2021). Of QK: whether tokens look at their like.
   */
  readonly eigenvalueScore: number
  /** Of the eigenvalues that are not 0, those whose real part is positive. */
  readonly positiveEigenvalues: number
}

export interface HeadCircuits {
  readonly layer: number
  readonly head: number
  readonly ov: Circuit
  readonly qk: Circuit
}

export const weightCircuits: Analysis<WeightCircuitsInput, readonly HeadCircuits[]> = {
  // a layer's weights as they are and by head
  cost: ({ dHead, dModel, nHeads }) => ({ rows: 0, bytes: 100 * dModel * dHead * nHeads }),

  async run(bench, { layers }) {
    const found: HeadCircuits[] = []
    for (const { layer, heads } of layers) {
      const factors = await headFactors(bench, layer)
      for (const head of heads) {
        await bench.stillWanted()
        found.push({ layer, head, ...circuitsOf(factors[head]!) })
      }
    }
    return found
  },
}

export function circuitsOf({ q, k, v, o }: HeadFactors): Pick<HeadCircuits, 'ov' | 'qk'> {
  // of Q' K the transposed factors take the places of O and V
  return { ov: circuit(o, transpose(v)), qk: circuit(transpose(q), transpose(k)) }
}

/**
 * Of left right', both `[dModel, dHead]`. With left = Ql Rl and right = Qr Rr it is Ql (Rl Rr') Qr', which has the singular values of
 * Rl Rr'; its eigenvalues that are not 0 are those of right' left.
 */
function circuit(left: HeadFactors['o'], right: HeadFactors['o']): Circuit {
  const core = multiply(orthogonalize(left).r, transpose(orthogonalize(right).r))
  const values = singularValues(core).slice(0, left.rows)
  const spread = spreadOf(values)
  const turning = eigenvalues(multiply(transpose(right), left)).map(({ real, imaginary }) => ({ real, size: Math.hypot(real, imaginary) }))
  const sizes = turning.reduce((sum, { size }) => sum + size, 0)
  const counted = turning.filter(({ size }) => size > 1e-12 * spread.spectral)
  return {
    ...spread,
    singularValues: values,
    eigenvalueScore: sizes > 0 ? turning.reduce((sum, { real }) => sum + real, 0) / sizes : 0,
    positiveEigenvalues: counted.length > 0 ? counted.filter(({ real }) => real > 0).length / counted.length : 0,
  }
}
