/**
 * Data sets of one's own: uploaded as a zip file, or registered from where their pictures lie on the server's machine.
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import { Type } from 'typebox'
import type { DatasetSource } from '../catalog/import/dataset-source.js'
import { type DatasetImport, importDataset } from '../catalog/import/import-dataset.js'
import { withScratchFolder } from '../catalog/scratch-folder.js'
import { describeDataset, findDataset } from './datasets.js'
import { RequestError } from './errors.js'
import type { Json as JsonValue } from './jobs/job-kind.js'
import { limitsOf } from './limits.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { about, DatasetId, DatasetShape } from './schemas/dataset.js'

/** A file that a door has put down already, because it was too large to be held in memory. */
export interface SavedFile {
  readonly path: string
}

export const uploadDataset = defineOperation({
  name: 'uploadDataset',
  kind: 'mutation',
  scope: 'write',
  summary:
    'Register the pictures of a zip file as a data set: class folders, a plain folder, or pictures with a list of captions and labels',
  input: Type.Object(
    {
      file: Type.Unsafe<Uint8Array | SavedFile>({ description: 'A zip file.', 'x-scalar': 'Upload' }),
      ...about,
      part: Type.Optional(
        Type.String({ minLength: 1, maxLength: 100, description: 'Which of `train`, `val`, ... where the class folders are below such.' }),
      ),
      unreadable: Type.Optional(
        Type.Enum(['fail', 'skip'], {
          title: 'UnreadablePictures',
          description: 'Refuse the data set when a picture cannot be read (the default), or leave such pictures out and count them.',
        }),
      ),
    },
    { title: 'UploadDatasetInput', additionalProperties: false },
  ),
  output: DatasetShape,

  async run(context, { file, part, unreadable = 'fail', ...said }, call) {
    const take = (zip: string) => {
      const source: DatasetSource = { kind: 'found', file: zip, unreadable, ...(part !== undefined && { part }) }
      return imported(context, { source, about: said, onZip: (contents) => requireWithinLimits(contents, context) }, call)
    }
    if (!(file instanceof Uint8Array)) return take(file.path)
    return withScratchFolder(context.config.dataDir, async (folder) => {
      const zip = path.join(folder, 'upload.zip')
      await fs.writeFile(zip, file)
      return take(zip)
    })
  },
})

export const registerDataset = defineOperation({
  name: 'registerDataset',
  kind: 'mutation',
  scope: 'admin',
  summary: "Register pictures that are on the server's machine as a data set, described as in a training configuration",
  input: Type.Object(
    {
      ...about,
      data: Type.Unsafe<JsonValue>({
        type: 'object',
        'x-scalar': 'Json',
        description: '`{ "kind": "folder", "folder": "/pictures" }`; docs/training-data.md has the kinds.',
      }),
    },
    { title: 'RegisterDatasetInput', additionalProperties: false },
  ),
  output: DatasetShape,
  example: { id: 'my-pictures', license: 'cc0-1.0', data: { kind: 'folder', folder: '/data/pictures' } },

  run(context, { data, ...said }, call) {
    return imported(context, { source: { kind: 'described', description: data }, about: said }, call)
  },
})

export const removeDataset = defineOperation({
  name: 'removeDataset',
  kind: 'mutation',
  scope: 'write',
  summary: 'Forget a data set that no job works with. Its pictures stay, and numbers that were measured on it keep its hash',
  input: Type.Object({ id: DatasetId }, { title: 'RemoveDatasetInput', additionalProperties: false }),
  output: DatasetShape,

  async run({ catalog }, { id }) {
    const record = await findDataset(catalog, id)
    const [job] = await catalog.jobs.using(`dataset:${id}`)
    if (job) {
      const problem = `it works with the data set "${id}"`
      throw new RequestError('JOB_CONFLICT', { job: job.id, problem, instead: `Wait for it, or stop it: DELETE /v1/jobs/${job.id}.` })
    }
    await catalog.datasets.remove(id)
    return describeDataset(record)
  },
})

async function imported({ catalog, config }: Context, request: Pick<DatasetImport, 'source' | 'about' | 'onZip'>, { signal }: Call) {
  const limits = { maxPixels: config.maxImagePixels }
  const { dataset } = await importDataset({ ...request, catalog, dataDir: config.dataDir, limits, signal })
  return describeDataset(dataset)
}

/** What is uploaded small may be large when it is unpacked. @throws LIMIT_EXCEEDED */
function requireWithinLimits({ nFiles, bytes }: { readonly nFiles: number; readonly bytes: number }, { config }: Context): void {
  const { datasetFiles, datasetBytes } = limitsOf(config)
  const instead = 'Register it from the server itself: refract datasets add.'
  if (nFiles > datasetFiles) {
    throw new RequestError('LIMIT_EXCEEDED', {
      limit: 'datasetFiles',
      given: nFiles,
      maximum: datasetFiles,
      what: 'Files in the zip file',
      instead,
    })
  }
  if (bytes > datasetBytes) {
    throw new RequestError('LIMIT_EXCEEDED', {
      limit: 'datasetBytes',
      given: bytes,
      maximum: datasetBytes,
      what: 'Bytes in the zip file, unpacked',
      instead,
    })
  }
}
