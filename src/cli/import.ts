/** `refract import`. */

import { importModel } from '../catalog/import/import-model.js'
import { describeModel } from '../engine/models/load.js'
import type { WeightProcessing } from '../engine/models/model.js'
import type { Command } from './command.js'
import { openDatabase } from './database.js'
import { progressDisplay } from './progress.js'

const processingOptions = {
  'fold-ln': { processing: 'fold-layer-norm', meaning: 'fold the scale and shift of each LayerNorm into the linear layer after it' },
  'centre-writing-weights': { processing: 'centre-writing-weights', meaning: 'centre every weight that writes to the residual stream' },
  'fold-value-biases': { processing: 'fold-value-biases', meaning: "fold the attention's value biases into its output bias" },
} as const satisfies Record<string, { processing: WeightProcessing; meaning: string }>

export const importCommand: Command = {
  name: 'import',
  positionals: ['<folder | hub repo>[@revision]'],
  summary: 'Import a model from a folder or from the hub.',
  details: [
    'From a folder, what the model needs is copied into DATA_DIR. From the hub, it is downloaded into the cache that Python shares',
    '(HF_HOME), checked, and resumed when it breaks off. Weight processing is off unless asked for, and recorded.',
  ].join('\n'),
  options: {
    id: { type: 'string', value: '<slug>', meaning: "the model's id; default: made from its name" },
    revision: { type: 'string', value: '<revision>', meaning: 'a branch, a tag or a commit of the repository; default: main' },
    ...Object.fromEntries(Object.entries(processingOptions).map(([name, { meaning }]) => [name, { type: 'boolean', meaning } as const])),
    json: { type: 'boolean', meaning: 'print the model as JSON' },
  },
  async run({ config, values, positionals, out, err, signal }) {
    const progress = progressDisplay(err)
    const database = await openDatabase(config, (message) => err.write(`${message}\n`))
    try {
      const { model, isNew } = await importModel({
        source: positionals[0] ?? '',
        ...(typeof values.id === 'string' && { id: values.id }),
        ...(typeof values.revision === 'string' && { revision: values.revision }),
        processing: Object.entries(processingOptions).flatMap(([name, { processing }]) => (values[name] ? [processing] : [])),
        catalog: database.catalog,
        config,
        inspect: ({ folder, processing }, inspectSignal) =>
          describeModel(folder, { processing, ...(inspectSignal && { signal: inspectSignal }) }),
        onProgress: progress.show,
        signal,
      })
      progress.end()
      const { vision, text, layout } = model.description
      const { nLayers, dModel } = vision.config
      if (values.json) {
        const { description: _, ...facts } = model
        out.write(`${JSON.stringify({ ...facts, layout, isNew }, null, 2)}\n`)
      } else {
        const towers = text ? 'vision and text' : 'vision'
        out.write(`${isNew ? 'Imported' : 'Already imported:'} ${model.id} (${layout}, ${towers}, ${nLayers} layers of ${dModel})\n`)
      }
    } finally {
      progress.end()
      await database.close()
    }
  },
}
