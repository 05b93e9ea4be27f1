/** How much memory an analysis takes: from what it says that it costs, the model's values and the SAEs' latents. */

import type { AnalysisCost } from '../analyses/analysis.js'
import type { SaeConfig } from '../saes/sae.js'

/** Of one input of a model. */
export interface RowSize {
  /** Of all values of a run, whether they are alive at once or not. */
  readonly bytes: number
  /** Of those that are alive at once, at most, when each goes after its last use. */
  readonly aliveBytes: number
  /** Of values as large as the residual stream, one in each block. */
  readonly streamBytes: number
  readonly tokens: number
}

/** Forward values, their gradients, and what is on the way between them. */
const WITH_GRADIENTS = 3

/** What edits and readings add to a plain run. */
const WITH_EDITS = 1.5

/** Pre-activations, activations and what an edit makes of them. */
const LATENTS = 3

/** @param configs  of the SAEs that it works with */
export function analysisBytes(
  { rows, gradients = false, kept = 0, bytes }: AnalysisCost,
  { row, configs }: { readonly row: RowSize; readonly configs: readonly SaeConfig[] },
): number {
  const latents = row.tokens * configs.reduce((sum, { dSae, dIn, dOut }) => sum + 4 * (LATENTS * dSae + dIn + 2 * dOut), 0)
  const ofRow = gradients ? WITH_GRADIENTS * (row.bytes + latents) : WITH_EDITS * row.aliveBytes + latents
  return rows * ofRow + kept * row.streamBytes + bytes
}
