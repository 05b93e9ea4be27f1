/** A training's configuration file: YAML (every JSON text is YAML), with what the command line overrides. */

import { readFile } from 'node:fs/promises'
import { parseDocument } from 'yaml'
import { type Option, UsageError, type Values } from './command.js'

const MAX_BYTES = 2 ** 20

/** Flags that stand for a field of the configuration. */
const overrides = {
  seed: { field: ['seed'], value: '<n>', meaning: 'seed of everything that is random' },
  steps: { field: ['steps'], excludes: 'epochs', value: '<n>', meaning: 'updates, in the place of the configured length' },
  epochs: { field: ['epochs'], excludes: 'steps', value: '<n>', meaning: 'times through the data, in the place of the configured length' },
  'batch-size': { field: ['batchSize'], value: '<n>', meaning: 'items in an update' },
  'learning-rate': { field: ['optimizer', 'learningRate'], value: '<rate>', meaning: 'the full learning rate' },
} as const satisfies Record<string, { field: readonly string[]; excludes?: string; value: string; meaning: string }>

export const overrideOptions: Readonly<Record<string, Option>> = Object.fromEntries(
  Object.entries(overrides).map(([name, { value, meaning }]) => [name, { type: 'string', value, meaning } as const]),
)

/** @throws UsageError when the file cannot be read or is not YAML, or a flag is not a number */
export async function readTrainingConfig(file: string, values: Values): Promise<Record<string, unknown>> {
  const config = await parse(file)
  for (const [name, override] of Object.entries(overrides)) {
    const given = values[name]
    if (typeof given !== 'string') continue
    const number = Number(given)
    if (given.trim() === '' || !Number.isFinite(number)) throw new UsageError(`--${name} "${given}" is not a number.`)
    if ('excludes' in override) delete config[override.excludes]
    setField(config, override.field, number)
  }
  return config
}

async function parse(file: string): Promise<Record<string, unknown>> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`${file} cannot be read: ${error.code === 'ENOENT' ? 'there is no such file' : error.code}.`)
  })
  if (text.length > MAX_BYTES) throw new UsageError(`${file} is larger than a configuration can be (${MAX_BYTES} bytes).`)
  const document = parseDocument(text)
  const [problem] = document.errors
  if (problem !== undefined) throw new UsageError(`${file} is not valid YAML: ${problem.message.trim()}`)
  const config: unknown = document.toJS()
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw new UsageError(`${file} does not hold a configuration: fields and their values, such as "steps: 1000".`)
  }
  return config as Record<string, unknown>
}

function setField(config: Record<string, unknown>, [name, ...rest]: readonly string[], value: number): void {
  if (rest.length === 0) config[name!] = value
  else {
    const inner = config[name!]
    // what is no object is left for the recipe to refuse
    const section = typeof inner === 'object' && inner !== null ? inner : {}
    config[name!] = section
    setField(section as Record<string, unknown>, rest, value)
  }
}
