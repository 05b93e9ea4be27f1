/** Which model an SAE belongs to: as the caller says, as its published entry says, or as its files call it. */

import { EngineError } from '../../engine/errors.js'
import type { SaeDescription } from '../../engine/saes/load-sae.js'
import type { Catalog } from '../catalog.js'
import type { SaeEntry } from '../saes.js'
import { slugOf } from './slug.js'
import { repositoryNamed } from './source.js'

export interface ModelChoice {
  /** The caller's. */
  readonly model?: string
  readonly entry?: SaeEntry | undefined
  readonly catalog: Pick<Catalog, 'models' | 'baseModels'>
}

/** @throws INPUT_INVALID when nobody says, or two say different things; BASE_MODEL_UNKNOWN when there is none of the caller's name */
export async function modelOfSae({ training }: SaeDescription, { model, entry, catalog }: ModelChoice): Promise<string> {
  if (entry !== undefined) {
    if (model === undefined || model === entry.modelId) return entry.modelId
    throw invalid(`${entry.id} is an SAE of ${entry.modelId}, not of ${model}`)
  }
  if (model !== undefined) {
    const found = await catalog.baseModels.find(model)
    if (found) return found.id
    throw new EngineError('BASE_MODEL_UNKNOWN', { id: model, known: await catalog.models.ids() })
  }
  const { modelName } = training
  if (modelName === undefined) throw invalid('the files do not say which model it was trained on; name it (--model)')
  const repo = repositoryNamed(modelName)
  const found = (await catalog.baseModels.find(modelName)) ?? (repo === undefined ? undefined : await catalog.baseModels.find(repo))
  if (found) return found.id
  if (repo === undefined) {
    throw invalid(
      `the files say that it was trained on "${modelName.slice(0, 100)}", which nothing here is called; name the model (--model)`,
    )
  }
  // Not here and never heard of, and yet a name that it can be imported by.
  const id = slugOf({ kind: 'hub', repo, requestedRevision: 'main' })
  await catalog.baseModels.add([{ id, name: repo, repo, aliases: [modelName], license: null }])
  return id
}

const invalid = (problem: string) => new EngineError('INPUT_INVALID', { path: 'model', problem: `${problem}.` })
