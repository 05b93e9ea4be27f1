/** `refract import`. */

import { type AnyImported, importAny } from '../catalog/import/import-any.js'
import { measureSkip } from '../engine/host/measure-skip.js'
import { describeModel } from '../engine/models/load.js'
import type { WeightProcessing } from '../engine/models/model.js'
import { describeSae } from '../engine/saes/load-sae.js'
import { openBackend } from '../operations/open-backend.js'
import type { Command } from './command.js'
import { openDatabase } from './database.js'
import { progressDisplay } from './progress.js'
import { overrideOptions, overridesOf } from './sae-overrides.js'

const processingOptions = {
  'fold-ln': { processing: 'fold-layer-norm', meaning: 'fold the scale and shift of each LayerNorm into the linear layer after it' },
  'centre-writing-weights': { processing: 'centre-writing-weights', meaning: 'centre every weight that writes to the residual stream' },
  'fold-value-biases': { processing: 'fold-value-biases', meaning: "fold the attention's value biases into its output bias" },
} as const satisfies Record<string, { processing: WeightProcessing; meaning: string }>

export const importCommand: Command = {
  name: 'import',
  positionals: ['<folder | hub repo>[@revision] | <published SAE>'],
  summary: 'Import a model or an SAE from a folder or from the hub.',
  details: [
    'Which it is, the files say. From a folder, what is needed is copied into DATA_DIR. From the hub, it is downloaded into the cache that',
    'Python shares (HF_HOME), checked, and resumed when it breaks off. The id of a published SAE stands for its repository.',
    'Weight processing is off unless asked for, and recorded. So is what is said of an SAE against its files.',
  ].join('\n'),
  options: {
    id: { type: 'string', value: '<slug>', meaning: 'the id in the catalog; default: made from its name, or from what the SAE is' },
    revision: { type: 'string', value: '<revision>', meaning: 'a branch, a tag or a commit of the repository; default: main' },
    ...Object.fromEntries(Object.entries(processingOptions).map(([name, { meaning }]) => [name, { type: 'boolean', meaning } as const])),
    model: { type: 'string', value: '<model>', meaning: 'of an SAE: the model it was trained on; default: as its files say' },
    ...overrideOptions,
    json: { type: 'boolean', meaning: 'print what was imported as JSON' },
  },
  async run({ config, values, positionals, out, err, signal }) {
    const overrides = overridesOf(values)
    const progress = progressDisplay(err)
    const database = await openDatabase(config, (message) => err.write(`${message}\n`))
    try {
      const imported = await importAny({
        source: positionals[0] ?? '',
        ...(typeof values.id === 'string' && { id: values.id }),
        ...(typeof values.revision === 'string' && { revision: values.revision }),
        ...(typeof values.model === 'string' && { model: values.model }),
        processing: Object.entries(processingOptions).flatMap(([name, { processing }]) => (values[name] ? [processing] : [])),
        overrides,
        catalog: database.catalog,
        config,
        inspect: ({ folder, processing }, inspectSignal) =>
          describeModel(folder, { processing, ...(inspectSignal && { signal: inspectSignal }) }),
        inspectSae: (sae) => describeSae(sae.folder, { overrides: sae.overrides }),
        measureSkip: async (request) => measureSkip(await openBackend(config), request),
        onProgress: progress.show,
        signal,
      })
      progress.end()
      out.write(values.json ? `${JSON.stringify(factsOf(imported), null, 2)}\n` : sentenceOf(imported))
    } finally {
      progress.end()
      await database.close()
    }
  },
}

function factsOf(imported: AnyImported): object {
  const { isNew } = imported
  if (imported.kind === 'model') {
    const { description, ...facts } = imported.model
    return { ...facts, layout: description.layout, isNew }
  }
  const { download, ...facts } = imported.sae
  const { description, ...files } = download
  const { layout, form, config, resolvedBy } = description
  return { ...facts, ...files, layout, form, config, resolvedBy, isNew }
}

function sentenceOf(imported: AnyImported): string {
  const begin = imported.isNew ? 'Imported' : 'Already imported:'
  if (imported.kind === 'model') {
    const { id, description } = imported.model
    const { vision, text, layout } = description
    const { nLayers, dModel } = vision.config
    return `${begin} ${id} (${layout}, ${text ? 'vision and text' : 'vision'}, ${nLayers} layers of ${dModel})\n`
  }
  const { id, architecture, hookPointIn, hookPointOut, download } = imported.sae
  const { layout, config, resolvedBy } = download.description
  const where = hookPointOut === hookPointIn ? hookPointIn : `${hookPointIn} to ${hookPointOut}`
  const rules = resolvedBy.map(({ field, rule }) => `  ${field}: ${rule}\n`)
  const decided = rules.length > 0 ? `Decided by rule, as the files leave it open:\n${rules.join('')}` : ''
  return `${begin} ${id} (${layout}, ${architecture}, ${config.dIn} to ${config.dSae} at ${where})\n${decided}`
}
