/**
 * The SAEs that edits of features name, and what an index has seen of their features.
 */

import { saeSource } from '../../catalog/sae-source.js'
import { EngineError } from '../../engine/errors.js'
import type { SaeSource } from '../../engine/host/host.js'
import type { EditingSae } from '../../engine/interventions/technique.js'
import { type Problems, RequestError } from '../errors.js'
import { findDownloadedSae } from '../feature-facts/find-feature.js'
import type { Context } from '../operation.js'
import type { EditInput } from '../schemas/edit.js'
import { largestSet } from '../search/searched-saes.js'

type Catalog = Pick<Context, 'catalog'>['catalog']

export interface EditSaes {
  /** By id: its place among the others. */
  readonly places: ReadonlyMap<string, number>
  readonly sources: readonly SaeSource[]
  readonly described: readonly EditingSae[]
}

/** Each SAE once. What cannot be used goes to `problems`, at the edits that name it. */
export async function editSaes(
  catalog: Catalog,
  edits: readonly EditInput[],
  { model, path, problems }: { readonly model: string; readonly path: string; readonly problems: Problems },
): Promise<EditSaes> {
  const ids = [...new Set(edits.flatMap((edit) => ('sae' in edit ? [edit.sae] : [])))]
  const settled = await Promise.allSettled(ids.map((id) => saeOfModel(catalog, id, model)))
  const found = settled.flatMap((outcome, at) => {
    if (outcome.status === 'fulfilled') return [outcome.value]
    const index = edits.findIndex((edit) => 'sae' in edit && edit.sae === ids[at])
    problems.collect(`${path}[${index}].sae`, () => {
      throw outcome.reason
    })
    return []
  })
  return {
    places: new Map(found.map(({ id }, place) => [id, place])),
    sources: found.map((sae) => saeSource(sae)),
    described: found.map(({ id, download }) => ({ config: download.description.config, prefix: '', name: id })),
  }
}

/** @throws SAE_UNKNOWN, SAE_NOT_DOWNLOADED, INPUT_INVALID */
async function saeOfModel(catalog: Catalog, id: string, model: string) {
  const sae = await findDownloadedSae(catalog, id)
  if (sae.modelId === model) return sae
  throw new EngineError('INPUT_INVALID', { path: 'sae', problem: `"${sae.id}" is of ${sae.modelId}, and this runs ${model}` })
}

/**
 * The largest activations that an index has seen of features: the index over most pictures, else the newest.
 * @throws FEATURES_UNKNOWN where nothing was indexed; INPUT_INVALID of a feature that was never active, at `path(index)`
 */
export async function largestActivations(
  catalog: Catalog,
  { sae, features }: { readonly sae: string; readonly features: readonly number[] },
  path: (index: number) => string,
): Promise<number[]> {
  const set = await largestSet(catalog, sae)
  if (!set) throw new RequestError('FEATURES_UNKNOWN', { sae, known: [] })
  const largest = await catalog.features.statistic(set, 'max')
  const problems = features.flatMap((feature, index) => {
    const most = largest[feature]
    // one that the SAE does not have is refused as such
    if (most === undefined || most > 0) return []
    const message = `feature ${feature} of ${sae} was never active on ${set.dataset.id}, so it has no largest activation`
    return [{ path: path(index), message }]
  })
  const [first] = problems
  if (first) throw new EngineError('INPUT_INVALID', { path: first.path, problem: first.message }, problems)
  return features.map((feature) => largest[feature] ?? 1)
}
