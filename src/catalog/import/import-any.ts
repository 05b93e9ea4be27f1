/** `refract import <source>`, whatever the source holds: which it is, its files say. */

import { EngineError } from '../../engine/errors.js'
import { isSaeId } from '../sae-id.js'
import { type Imported, importModelFrom, type ModelImportOptions } from './import-model.js'
import { type ImportedSae, importSaeFrom, type SaeImportOptions } from './import-sae.js'
import { openSource } from './open-source.js'
import { holdsSae } from './select-sae-files.js'

export interface AnyImportRequest extends Omit<ModelImportOptions, 'catalog'>, SaeImportOptions {
  /** A folder, `org/name[@revision]`, or the id of a published SAE. */
  readonly source: string
  readonly revision?: string
}

export type AnyImported = ({ readonly kind: 'model' } & Imported) | ({ readonly kind: 'sae' } & ImportedSae)

/** @throws what importing a model or an SAE throws; INPUT_INVALID for options of the one given with the other */
export async function importAny(request: AnyImportRequest): Promise<AnyImported> {
  const { source, revision, ...options } = await published(request)
  const opened = await openSource({ source, revision }, options)
  const isSae = await holdsSae(opened.names, opened.text)
  if (isSae && (options.processing ?? []).length > 0) throw misplaced('processing', 'an SAE', 'weight processing is for models')
  if (!isSae && options.model !== undefined) throw misplaced('model', 'a model', 'naming the model is for SAEs')
  if (!isSae && Object.keys(options.overrides ?? {}).length > 0) throw misplaced('overrides', 'a model', 'they are for SAEs')
  return isSae ? { kind: 'sae', ...(await importSaeFrom(opened, options)) } : { kind: 'model', ...(await importModelFrom(opened, options)) }
}

const misplaced = (path: string, what: string, why: string) =>
  new EngineError('INPUT_INVALID', { path, problem: `this is ${what}, and ${why}.` })

/** The id of an SAE in the catalog stands for where it was published. */
async function published(request: AnyImportRequest): Promise<AnyImportRequest> {
  const entry = isSaeId(request.source) ? await request.catalog.saes.get(request.source) : undefined
  if (!entry) return request
  const { provenance } = entry
  if (provenance.kind !== 'hub') {
    const problem = `${entry.id} was not published as a repository; import it from a folder, with this as its id (--id)`
    throw new EngineError('INPUT_INVALID', { path: 'source', problem })
  }
  const revision = request.revision ?? provenance.revision ?? undefined
  return { ...request, id: request.id ?? entry.id, source: provenance.repo, ...(revision !== undefined && { revision }) }
}
