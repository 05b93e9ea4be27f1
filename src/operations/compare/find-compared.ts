/** The SAEs of a comparison, which are of one model, and what is read by them. */

import type { ModelRecord } from '../../catalog/catalog.js'
import { EngineError } from '../../engine/errors.js'
import type { PositionSelector } from '../../engine/interventions/edit.js'
import { Problems } from '../errors.js'
import { type DownloadedSae, findModelOfSae } from '../feature-facts/find-feature.js'
import { findDownloadedSaes } from '../find-saes.js'
import type { Context } from '../operation.js'
import { type PlannedSaeRead, planSaeRead } from '../plan-sae-read.js'

export interface Compared {
  readonly model: ModelRecord
  readonly saes: readonly DownloadedSae[]
}

/** @throws SAE_UNKNOWN, SAE_NOT_DOWNLOADED, MODEL_UNKNOWN, MODEL_NOT_DOWNLOADED; INPUT_INVALID for SAEs of several models */
export async function findCompared(context: Context, ids: readonly string[]): Promise<Compared> {
  const saes = await findDownloadedSaes(context, ids)
  const [first] = saes as [DownloadedSae]
  const problems = new Problems()
  for (const [index, { id, modelId }] of saes.entries()) {
    if (modelId === first.modelId) continue
    const path = `saes[${index}]`
    problems.add(
      path,
      new EngineError('INPUT_INVALID', { path, problem: `${id} is an SAE of ${modelId}, and ${first.id} of ${first.modelId}` }),
    )
  }
  problems.throwIfAny()
  return { saes, model: await findModelOfSae(context.catalog, first) }
}

/** @throws SAE_MISFIT, and what is wrong with positions */
export function planReads({ model, saes }: Compared, positions: PositionSelector | undefined): PlannedSaeRead[] {
  const problems = new Problems()
  const reads = saes.flatMap((sae, index) => {
    const place = { model, problems, path: `saes[${index}]`, positionsPath: 'positions' }
    return planSaeRead(sae, { ...place, ...(positions !== undefined && { positions }), topK: 0, imageTopK: 0 }) ?? []
  })
  problems.throwIfAny()
  return reads
}

/** As edits say positions: those asked for, else those that the SAE was trained on. */
export const selectorOf = ({ sae }: PlannedSaeRead, positions: PositionSelector | undefined) =>
  (positions ?? sae.positions ?? 'all') as PositionSelector
