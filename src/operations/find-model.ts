import type { Catalog, ModelRecord } from '../catalog/catalog.js'
import { RequestError } from './errors.js'

/** What a slug can be; anything else is not looked up (a database refuses NUL, and nothing else could be found). */
const SLUG = /^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/

/** @throws MODEL_UNKNOWN, with the nearest ids; MODEL_NOT_DOWNLOADED of one that published SAEs belong to */
export async function findModel(catalog: Catalog, id: string): Promise<ModelRecord> {
  const isSlug = SLUG.test(id)
  const model = isSlug ? await catalog.models.get(id) : undefined
  if (model) return model
  const base = isSlug ? await catalog.baseModels.get(id) : undefined
  if (base?.repo) throw new RequestError('MODEL_NOT_DOWNLOADED', { model: id, repo: base.repo })
  throw new RequestError('MODEL_UNKNOWN', { model: id, known: await catalog.models.ids() })
}
