/**
 * The SAEs that a search looks at: those that are here, of one model.
 */

import type { ModelRecord } from '../../catalog/catalog.js'
import type { FeatureSetRecord } from '../../catalog/feature-sets.js'
import { EngineError } from '../../engine/errors.js'
import { RequestError } from '../errors.js'
import { type DownloadedSae, findDownloadedSae, findModelOfSae } from '../feature-facts/find-feature.js'
import { findModel } from '../find-model.js'
import { fixedLimits } from '../limits.js'
import type { Context } from '../operation.js'

export interface SearchedSae {
  readonly sae: DownloadedSae
  /** The index over most pictures; undefined where there is none. */
  readonly set: FeatureSetRecord | undefined
}

export interface Searched {
  readonly model: ModelRecord
  /** By id. */
  readonly saes: readonly SearchedSae[]
}

export interface SaeFilter {
  readonly sae?: string
  readonly model?: string
  readonly layer?: number
}

type Catalog = Context['catalog']

/** @returns undefined when there is none. @throws SAE_UNKNOWN, SAE_NOT_DOWNLOADED, MODEL_UNKNOWN, MODEL_NOT_DOWNLOADED, LIMIT_EXCEEDED, INPUT_INVALID */
export async function searchedSaes(catalog: Catalog, filter: SaeFilter): Promise<Searched | undefined> {
  const model = filter.model === undefined ? undefined : await findModel(catalog, filter.model)
  const saes = filter.sae === undefined ? await allSaes(catalog, filter) : [await findDownloadedSae(catalog, filter.sae)]
  const wanted = saes.filter(
    ({ modelId, layer }) => (!model || modelId === model.id) && (filter.layer === undefined || layer === filter.layer),
  )
  const [first] = wanted
  if (!first) return undefined
  const models = [...new Set(wanted.map(({ modelId }) => modelId))]
  if (models.length > 1) {
    const problem = `is missing: there are SAEs of ${models.join(', ')}, and what one model knows cannot be compared with another`
    throw new EngineError('INPUT_INVALID', { path: 'model', problem })
  }
  const maximum = fixedLimits.saes
  if (wanted.length > maximum) {
    const instead = 'Name a "layer" or one "sae".'
    throw new RequestError('LIMIT_EXCEEDED', { limit: 'saes', given: wanted.length, maximum, what: 'SAEs to search', instead })
  }
  const sets = await Promise.all(wanted.map(({ id }) => largestSet(catalog, id)))
  return { model: model ?? (await findModelOfSae(catalog, first)), saes: wanted.map((sae, index) => ({ sae, set: sets[index] })) }
}

/** Of those that are equally large, the newest. */
export async function largestSet(catalog: Catalog, sae: string): Promise<FeatureSetRecord | undefined> {
  return [...(await catalog.features.sets(sae))].sort((a, b) => b.about.nImages - a.about.nImages)[0]
}

async function allSaes(catalog: Catalog, { model, layer }: SaeFilter): Promise<DownloadedSae[]> {
  const { items } = await catalog.saes.list({
    ...{ status: 'downloaded', limit: 10 * fixedLimits.saes },
    ...(model !== undefined && { model }),
    ...(layer !== undefined && { layer }),
  })
  return items.flatMap(({ download, ...sae }) => (download === null ? [] : [{ ...sae, download }]))
}
