/** SAEs that a request names, found together: whatever is wrong with any of them is said at once. */

import type { ModelRecord } from '../catalog/catalog.js'
import { EngineError } from '../engine/errors.js'
import { fitProblems } from '../engine/saes/fit-model.js'
import { Problems } from './errors.js'
import { type DownloadedSae, findDownloadedSae } from './feature-facts/find-feature.js'
import type { Context } from './operation.js'

/** @throws SAE_UNKNOWN, SAE_NOT_DOWNLOADED, each at its path */
export async function findDownloadedSaes({ catalog }: Context, ids: readonly string[], path = 'saes'): Promise<DownloadedSae[]> {
  const problems = new Problems()
  const settled = await Promise.allSettled(ids.map((sae) => findDownloadedSae(catalog, sae)))
  const found = settled.flatMap((outcome, index) => {
    if (outcome.status === 'fulfilled') return [outcome.value]
    problems.collect(`${path}[${index}]`, () => {
      throw outcome.reason
    })
    return []
  })
  problems.throwIfAny()
  return found
}

/** Whether SAEs are ones of a model; what does not fit goes to `problems`. */
export function checkSaesFit(saes: readonly DownloadedSae[], model: ModelRecord, problems: Problems, path = 'saes'): void {
  for (const [index, { id, modelId, download }] of saes.entries()) {
    if (modelId !== model.id) {
      const problem = `${id} is an SAE of ${modelId}, and this runs ${model.id}`
      problems.add(`${path}[${index}]`, new EngineError('INPUT_INVALID', { path: `${path}[${index}]`, problem }), problem)
      continue
    }
    const misfit = fitProblems(download.description.config, model.description.vision.hookPoints)
    if (misfit.length > 0) problems.add(`${path}[${index}]`, new EngineError('SAE_MISFIT', { sae: id, model: model.id, problems: misfit }))
  }
}
