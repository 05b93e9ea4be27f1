/**
 * From the names of a request to an SAE, to the files it has here, and to what an index says of one of its features.
 */

import { Type } from 'typebox'
import type { ModelRecord } from '../../catalog/catalog.js'
import type { FeatureSetRecord, StoredFeature } from '../../catalog/feature-sets.js'
import type { SaeDownload, SaeEntry, SaeProvenance } from '../../catalog/saes.js'
import { RequestError } from '../errors.js'
import { findModel } from '../find-model.js'
import type { Context } from '../operation.js'

type Catalog = Context['catalog']

/** Fields of every request about a feature. */
export const featureFields = {
  sae: Type.String({ 'x-scalar': 'ID', minLength: 1, maxLength: 500, description: 'The id of an SAE.' }),
  index: Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1, description: 'Of the feature: the latent of the SAE.' }),
}

export const DatasetField = Type.Optional(
  Type.String({ minLength: 1, maxLength: 200, description: 'The data set that was indexed; the one indexed last unless given.' }),
)

/** An SAE whose files are here. */
export type DownloadedSae = SaeEntry & { readonly download: SaeDownload }

/** @throws SAE_UNKNOWN, with the nearest ids */
export async function findSae(catalog: Catalog, id: string): Promise<SaeEntry> {
  const sae = await catalog.saes.get(id)
  return sae ?? unknownSae(catalog, id)
}

/** @throws SAE_UNKNOWN, with the nearest ids */
export async function unknownSae(catalog: Catalog, id: string): Promise<never> {
  throw new RequestError('SAE_UNKNOWN', { sae: id, known: await catalog.saes.ids() })
}

/** With its model. @throws SAE_UNKNOWN, SAE_NOT_DOWNLOADED; MODEL_NOT_DOWNLOADED, MODEL_UNKNOWN */
export async function findRunnableSae(catalog: Catalog, id: string): Promise<{ sae: DownloadedSae; model: ModelRecord }> {
  const sae = await findDownloadedSae(catalog, id)
  return { sae, model: await findModelOfSae(catalog, sae) }
}

/** @throws SAE_UNKNOWN, SAE_NOT_DOWNLOADED */
export async function findDownloadedSae(catalog: Catalog, id: string): Promise<DownloadedSae> {
  const sae = await findSae(catalog, id)
  const { download } = sae
  if (download === null) throw new RequestError('SAE_NOT_DOWNLOADED', { sae: id, from: sourceOf(sae.provenance) })
  return { ...sae, download }
}

/** @throws MODEL_NOT_DOWNLOADED, MODEL_UNKNOWN */
export function findModelOfSae(catalog: Catalog, { modelId }: SaeEntry): Promise<ModelRecord> {
  return findModel(catalog, modelId)
}

const sourceOf = (provenance: SaeProvenance) => (provenance.kind === 'hub' ? provenance.repo : 'with its folder')

/** @throws SAE_UNKNOWN, FEATURES_UNKNOWN */
export async function findFeatureSet(catalog: Catalog, { sae: id, dataset }: { sae: string; dataset?: string }): Promise<FeatureSetRecord> {
  await findSae(catalog, id)
  const sets = await catalog.features.sets(id)
  const set = dataset === undefined ? sets[0] : sets.find((each) => each.dataset.id === dataset)
  if (set) return set
  const known = [...new Set(sets.map((each) => each.dataset.id))]
  throw new RequestError('FEATURES_UNKNOWN', { sae: id, ...(dataset !== undefined && { dataset }), known })
}

/** @throws SAE_UNKNOWN, FEATURES_UNKNOWN, FEATURE_UNKNOWN */
export async function findFeature(
  catalog: Catalog,
  { index, ...which }: { sae: string; index: number; dataset?: string },
): Promise<{ set: FeatureSetRecord; feature: StoredFeature }> {
  const set = await findFeatureSet(catalog, which)
  const [feature] = await catalog.features.get(set, [index])
  if (!feature) throw new RequestError('FEATURE_UNKNOWN', { sae: which.sae, index, width: set.width })
  return { set, feature }
}
