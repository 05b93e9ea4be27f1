/**
 * Models that come with the repository are used where they are: registered under their folder's name, and again whenever they changed.
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import type { Catalog, ModelRecord } from '../catalog.js'
import { isModelSlug } from '../models.js'
import { licenseOfFolder } from './card-license.js'
import { readFolder, recordsOf } from './copy-folder.js'
import type { ImportRequest } from './import-model.js'
import { weightsIdentity } from './opened-source.js'

/**
 * Registers each folder of `models` (`<models>/<id>/config.json`, ...) that is not registered as it is now.
 *
 * @param label  of `models` in provenance, such as `demo/models`
 * @returns what was registered now
 */
export async function registerInPlace(
  models: string,
  label: string,
  { catalog, inspect, signal }: { catalog: Pick<Catalog, 'models'> } & Pick<ImportRequest, 'inspect' | 'signal'>,
): Promise<ModelRecord[]> {
  const entries = await fs.readdir(models, { withFileTypes: true }).catch(() => [])
  const registered: ModelRecord[] = []
  for (const { name: id } of entries.filter((entry) => entry.isDirectory() && isModelSlug(entry.name))) {
    const folder = path.join(models, id)
    const provenance = { kind: 'folder', name: `${label}/${id}` } as const
    const existing = await catalog.models.get(id)
    // The id is a user's own model.
    if (existing && (existing.provenance.kind !== 'folder' || existing.provenance.name !== provenance.name)) continue
    const { names, weightFiles } = await readFolder(folder)
    const files = await recordsOf(folder, names, signal)
    if (existing?.folder === folder && sameFiles(existing.files, files)) continue
    const weights = files.filter((file) => weightFiles.includes(file.path))
    const weightsSha256 = weightsIdentity(weights)
    const description = await inspect({ key: `${id}@${weightsSha256}`, folder, processing: [] }, signal)
    // What was registered is not there any more: the folder itself changed.
    if (existing && !sameFiles(existing.files, files)) await catalog.models.remove(id)
    registered.push(
      await catalog.models.register({
        id,
        name: id,
        description,
        provenance,
        license: await licenseOfFolder(folder),
        files,
        weightsSha256,
        weightBytes: weights.reduce((sum, file) => sum + file.bytes, 0),
        folder,
        processing: [],
      }),
    )
  }
  return registered
}

function sameFiles(a: ModelRecord['files'], b: ModelRecord['files']): boolean {
  const key = (files: ModelRecord['files']) =>
    files
      .map((file) => `${file.sha256} ${file.path}`)
      .sort()
      .join('\n')
  return key(a) === key(b)
}
