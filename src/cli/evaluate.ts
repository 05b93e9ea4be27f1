/** `refract evaluate`: SAEs that lie in folders, measured on pictures; every metric with its interval, as JSON. */

import path from 'node:path'
import { evaluateFolders } from '../engine/evaluation/evaluate-folders.js'
import type { MetricValue } from '../engine/evaluation/metric-definitions.js'
import { writeFileAtomically } from '../engine/io/atomic-write.js'
import { version } from '../operations/capabilities.js'
import { openBackend } from '../operations/open-backend.js'
import { type Command, type CommandContext, UsageError } from './command.js'
import { table } from './table.js'
import { readTrainingConfig } from './training-config.js'
import { trainingDisplay } from './training-progress.js'

const details = [
  'The configuration is YAML: model and saes (folders), data (as for training), classes: { facet, templates } for cross-entropies, batchSize.',
  'What each metric means: docs/metrics.md.',
].join('\n')

export const evaluateCommand: Command = {
  name: 'evaluate',
  positionals: [],
  summary: 'Measure SAEs that lie in folders, on pictures.',
  details,
  options: {
    config: { type: 'string', short: 'c', value: '<file.yaml>', meaning: 'which SAEs, of which model, on what' },
    out: { type: 'string', value: '<file.json>', meaning: 'where the metrics go; without it they are printed' },
  },
  run,
}

async function run({ config: settings, values, out, err, signal }: CommandContext): Promise<void> {
  if (typeof values.config !== 'string') throw new UsageError('evaluate needs --config <file.yaml>.')
  const file = path.resolve(values.config)
  const config = await readTrainingConfig(file, {})
  const backend = await openBackend(settings)
  const display = trainingDisplay(err)
  try {
    const result = await evaluateFolders(config, {
      backend,
      baseFolder: path.dirname(file),
      limits: { maxPixels: settings.maxImagePixels },
      cacheBytes: (settings.memoryMb * 2 ** 20) / 4,
      onData: display.data,
      onProgress: (done, total) => display.data('batches', done, total),
      signal,
    })
    display.end()
    const written = { codeVersion: version, backend: backend.name, dtype: 'float32', ...result }
    const text = `${JSON.stringify(written, null, 2)}\n`
    if (typeof values.out !== 'string') {
      out.write(text)
      return
    }
    await writeFileAtomically(path.resolve(values.out), text)
    const rows = result.saes.map(({ id, metrics }) => [id, ...shown.map((metric) => show(metrics, metric))])
    out.write(table(['sae', ...shown], rows))
  } finally {
    display.end()
  }
}

const shown = ['explained-variance', 'l0', 'alive-share', 'ce-recovered']

function show(metrics: readonly MetricValue[], metric: string): string | number {
  const value = metrics.find((each) => each.metric === metric)?.value
  return value === undefined || value === null ? '-' : Number(value.toPrecision(4))
}
