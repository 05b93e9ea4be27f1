/** `import`: a model from the hub or from a folder, as `refract import` does it. */

import { Type } from 'typebox'
import { type ImportProgress, importModel } from '../../../catalog/import/import-model.js'
import { parseSource } from '../../../catalog/import/source.js'
import { describeModel } from '../../../engine/models/load.js'
import type { WeightProcessing } from '../../../engine/models/model.js'
import { defineWholeJob, type JobContext } from '../job-kind.js'

const weightProcessings = ['fold-layer-norm', 'centre-writing-weights', 'fold-value-biases'] as const satisfies readonly WeightProcessing[]

export const importJob = defineWholeJob({
  name: 'import',
  summary: 'Bring a model from the hub, or from a folder of this server, into the catalog',
  input: Type.Object(
    {
      source: Type.String({ minLength: 1, maxLength: 1000, description: 'A repository of the hub (`org/name`), or a folder.' }),
      revision: Type.Optional(
        Type.String({ minLength: 1, maxLength: 200, description: 'A branch, a tag or a commit; `main` unless given.' }),
      ),
      id: Type.Optional(Type.String({ minLength: 1, maxLength: 100, description: "The model's id; made from its name unless given." })),
      processing: Type.Optional(
        Type.Array(Type.Enum([...weightProcessings]), {
          uniqueItems: true,
          description: 'Weight processing, in this order; none unless given.',
        }),
      ),
    },
    { title: 'ImportJob', additionalProperties: false },
  ),
  example: { source: 'openai/clip-vit-base-patch32' },
  lane: 'transfer',
  place: 'data-folder',
  // whether there is a folder, and what is in it, is not for everyone who may add to the catalog
  scope: async ({ source, revision }) => ((await parseSource(source, revision)).kind === 'hub' ? 'write' : 'admin'),

  async run({ source, id, revision, processing = [] }, context) {
    const { catalog, config, signal } = context
    const { model, isNew } = await importModel({
      source,
      ...(id !== undefined && { id }),
      ...(revision !== undefined && { revision }),
      processing,
      catalog,
      config,
      inspect: ({ folder, processing: applied }, inspectSignal) =>
        describeModel(folder, { processing: applied, ...(inspectSignal && { signal: inspectSignal }) }),
      onProgress: progressOf(context),
      signal,
    })
    return { model: model.id, isNew, weightsSha256: model.weightsSha256 }
  },
})

const doing: Readonly<Record<ImportProgress['step'], string>> = {
  find: 'looking for',
  download: 'downloading',
  copy: 'copying',
  check: 'checking',
  register: 'registering',
}

/** Bytes are what takes time; the steps before and after have none. */
function progressOf({ progress }: Pick<JobContext, 'progress'>): (step: ImportProgress) => void {
  let done = 0
  return ({ step, what, doneBytes, totalBytes }) => {
    if (totalBytes > 0) done = Math.max(done, (0.98 * doneBytes) / totalBytes)
    progress(done, `${doing[step]} ${what}`)
  }
}
