/** How much memory an analysis takes: from what it says that it costs, the model's values and the SAEs' latents. */

import type { AnalysisCost } from '../analyses/analysis.js'
import type { SaeConfig } from '../saes/sae.js'

/** Of one input of a model. */
export interface RowSize {
  /** Of all values of a run, whether they are alive at once or not. */
  readonly bytes: number
  readonly tokens: number
}

/** Forward values, their gradients, and what is on the way between them. */
const WITH_GRADIENTS = 3

/** Pre-activations, activations and what an edit makes of them. */
const LATENTS = 3

/** @param configs  of the SAEs that it works with */
export function analysisBytes(
  { rows, gradients = false, bytes }: AnalysisCost,
  { row, configs }: { readonly row: RowSize; readonly configs: readonly SaeConfig[] },
): number {
  const perToken = configs.reduce((sum, { dSae, dIn, dOut }) => sum + 4 * (LATENTS * dSae + dIn + 2 * dOut), 0)
  return rows * (row.bytes + row.tokens * perToken) * (gradients ? WITH_GRADIENTS : 1) + bytes
}
