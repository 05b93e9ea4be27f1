/**
 * SAEs that were trained here, from the folder of their run into the catalog. Each gets the id that an import makes of it; where that is
 * another SAE's already, its name in the training follows, and then the training's own, so that a result of hours is never refused a
 * place. Done again, the same SAEs are found under the same ids.
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import { describeSae } from '../../engine/saes/load-sae.js'
import type { Catalog } from '../catalog.js'
import { saeIdOf, slugPart } from '../sae-id.js'
import type { SaeEntry } from '../saes.js'
import { hashesOf } from './hub-cache.js'
import type { ImportOptions } from './import-progress.js'
import { importSae } from './import-sae.js'
import { saeFacts } from './sae-facts.js'

export interface TrainedSaesImport extends ImportOptions {
  /** One folder an SAE, called as the SAE is. */
  readonly folders: readonly string[]
  /** The catalogued model they were trained on. */
  readonly modelId: string
  /** Of the training; ends the ids of SAEs that would have none otherwise. */
  readonly training: string
  readonly catalog: Pick<Catalog, 'models' | 'saes' | 'baseModels'>
}

/** @returns ids, in the order of the folders. @throws what `importSae` throws */
export async function importTrainedSaes({ folders, training, ...options }: TrainedSaesImport): Promise<string[]> {
  const ids: string[] = []
  for (const folder of folders) {
    const id = await freeId(folder, training, options)
    const { sae } = await importSae({
      source: folder,
      id,
      model: options.modelId,
      inspectSae: (source) => describeSae(source.folder, { overrides: source.overrides }),
      ...options,
    })
    ids.push(sae.id)
  }
  return ids
}

/** The first that nobody has, or that these very weights have. */
async function freeId(
  folder: string,
  training: string,
  { modelId, catalog, signal }: Pick<TrainedSaesImport, 'modelId' | 'catalog' | 'signal'>,
) {
  const description = await describeSae(folder)
  const { sha256 } = await hashesOf(await fs.realpath(path.join(folder, description.files.weights)), signal)
  const plain = saeIdOf(saeFacts(description, { modelId, provenance: { kind: 'folder', name: '' }, license: null, source: 'local' }))
  const named = [plain, slugPart(path.basename(folder))].filter((part) => part !== '').join('-')
  const isOurs = (entry: SaeEntry | undefined) => entry === undefined || entry.download?.weightsSha256 === sha256
  for (const id of [plain, named]) if (isOurs(await catalog.saes.get(id))) return id
  return `${named}-${training}`
}
