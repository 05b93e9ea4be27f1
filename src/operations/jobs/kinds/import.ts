/** `import`: a model or an SAE from the hub or from a folder, as `refract import` does it. */

import { Type } from 'typebox'
import { importAny } from '../../../catalog/import/import-any.js'
import type { ImportProgress } from '../../../catalog/import/import-progress.js'
import { parseSource } from '../../../catalog/import/source.js'
import { measureSkip } from '../../../engine/host/measure-skip.js'
import { describeModel } from '../../../engine/models/load.js'
import type { WeightProcessing } from '../../../engine/models/model.js'
import { describeSae } from '../../../engine/saes/load-sae.js'
import { SaeOverridesShape } from '../../schemas/sae-overrides.js'
import { defineWholeJob, type JobContext } from '../job-kind.js'

const weightProcessings = ['fold-layer-norm', 'centre-writing-weights', 'fold-value-biases'] as const satisfies readonly WeightProcessing[]

export const importJob = defineWholeJob({
  name: 'import',
  summary: 'Bring a model or an SAE from the hub, or from a folder of this server, into the catalog',
  input: Type.Object(
    {
      source: Type.String({
        minLength: 1,
        maxLength: 1000,
        description:
          'A repository of the hub (`org/name`), a folder, or the id of a published SAE. Whether it is a model or an SAE, its files say.',
      }),
      revision: Type.Optional(
        Type.String({ minLength: 1, maxLength: 200, description: 'A branch, a tag or a commit; `main` unless given.' }),
      ),
      id: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: 200,
          description: 'The id in the catalog; made from its name, or from what the SAE is, unless given.',
        }),
      ),
      model: Type.Optional(
        Type.String({
          minLength: 1,
          maxLength: 200,
          description: 'Of an SAE: the model it was trained on; as its files say unless given.',
        }),
      ),
      overrides: Type.Optional(SaeOverridesShape),
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

  async run({ source, id, revision, model, overrides, processing = [] }, context) {
    const { catalog, config, signal } = context
    const imported = await importAny({
      source,
      ...(id !== undefined && { id }),
      ...(revision !== undefined && { revision }),
      ...(model !== undefined && { model }),
      ...(overrides && { overrides }),
      processing,
      catalog,
      config,
      inspect: ({ folder, processing: applied }, inspectSignal) =>
        describeModel(folder, { processing: applied, ...(inspectSignal && { signal: inspectSignal }) }),
      inspectSae: (sae) => describeSae(sae.folder, { overrides: sae.overrides }),
      measureSkip: async (request) => measureSkip(await context.backend(), request),
      onProgress: progressOf(context),
      signal,
    })
    const { isNew } = imported
    if (imported.kind === 'model') return { model: imported.model.id, isNew, weightsSha256: imported.model.weightsSha256 }
    const { id: sae, modelId, download } = imported.sae
    return { sae, model: modelId, isNew, weightsSha256: download.weightsSha256 }
  },
})

const doing: Readonly<Record<ImportProgress['step'], string>> = {
  find: 'looking for',
  download: 'downloading',
  copy: 'copying',
  check: 'checking',
  measure: 'measuring',
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
