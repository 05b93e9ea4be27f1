/**
 * Our own layout, for what no library's configuration can say: `sae.json` is the engine's configuration, and `sae.safetensors` has the
 * parameters by their names. Nothing is folded and nothing is left open.
 */

import type { PlainData } from '../../io/pickle-values.js'
import { safetensorsChunks } from '../../io/safetensors.js'
import { type SaeConfig, saeParameters, type TranscoderConfig } from '../sae.js'
import type { SaeFiles, SaeLayout, SaeOverrides, SaeReading, SaeToWrite, SaeTraining, SavedConfig, WrittenFile } from './layout.js'
import { SavedFields } from './saved-fields.js'

const CONFIG = 'sae.json'
const WEIGHTS = 'sae.safetensors'
const VERSION = 1
const supported = `Version ${VERSION} of the layout is.`

export const refract: SaeLayout = {
  name: 'refract',
  weightsFile: (present) => (present.includes(CONFIG) && present.includes(WEIGHTS) ? WEIGHTS : undefined),
  configFiles: [CONFIG],
  read,
  sparsityFile: (present) => (present.includes('sparsity.safetensors') ? { file: 'sparsity.safetensors', tensor: 'sparsity' } : undefined),
  write,
}

const topFields = ['format', 'version', 'config', 'training']
const configFields = [
  'architecture',
  'activation',
  'k',
  'widths',
  'dIn',
  'dOut',
  'dSae',
  'normalization',
  'subtractsDecoderBias',
  'hookPoint',
]
const placeFields = ['headIndex', 'flattensHeads', 'transcoder']
const transcoderFields = ['hookPointOut', 'skip', 'denormalizes']

function read({ json }: SaeFiles, overrides: SaeOverrides): SaeReading {
  const saved = json.get(CONFIG)!
  const fields = new SavedFields(CONFIG, saved)
  if (saved.format !== 'refract-sae' || saved.version !== VERSION) {
    fields.unsupported(`format ${JSON.stringify(saved.format ?? null)}, version ${JSON.stringify(saved.version ?? null)}`)
  }
  requireKnown(fields, saved, topFields)
  const section = fields.section('config')
  requireKnown(fields, section, [...configFields, ...placeFields])
  const config = readConfig(fields, section, overrides)
  fields.check(supported)
  return {
    form: 'safetensors',
    config,
    rules: Object.entries(saeParameters(config)).map(([name, shape]) => ({ source: name, shape, to: name })),
    ignored: [],
    resolvedBy: fields.resolutions,
    training: fields.section('training') as SaeTraining,
    saved,
  }
}

function requireKnown(fields: SavedFields, section: SavedConfig, known: readonly string[]): void {
  for (const key of Object.keys(section)) if (!known.includes(key)) fields.invalid(key, 'is not a field of this layout')
}

/** Types are checked here; what fits together is checked of every SAE. */
function readConfig(fields: SavedFields, section: SavedConfig, overrides: SaeOverrides): SaeConfig {
  const { hookPointOut, skip, ...own } = overrides
  const expect = (key: string, expected: string, value: PlainData | undefined, fits: boolean) => {
    if (!fits) fields.invalid(`config.${key}`, `is ${JSON.stringify(value) ?? 'missing'}; expected ${expected}`)
  }
  for (const key of ['architecture', 'activation', 'normalization', 'hookPoint']) {
    expect(key, 'a text', section[key], typeof section[key] === 'string')
  }
  for (const key of ['dIn', 'dOut', 'dSae']) expect(key, 'a number', section[key], typeof section[key] === 'number')
  expect('subtractsDecoderBias', 'true or false', section.subtractsDecoderBias, typeof section.subtractsDecoderBias === 'boolean')
  const { k, widths, headIndex, flattensHeads, transcoder } = section
  if (k !== undefined) expect('k', 'a number', k, typeof k === 'number')
  if (headIndex !== undefined) expect('headIndex', 'a whole number', headIndex, Number.isInteger(headIndex))
  if (flattensHeads !== undefined) expect('flattensHeads', 'true or false', flattensHeads, typeof flattensHeads === 'boolean')
  const isList = Array.isArray(widths) && widths.every((width) => typeof width === 'number')
  if (widths !== undefined) expect('widths', 'a list of numbers', widths, isList)
  if (transcoder === undefined) return { ...section, ...own } as unknown as SaeConfig
  const isObject = typeof transcoder === 'object' && transcoder !== null && !Array.isArray(transcoder)
  const inner = (isObject ? transcoder : {}) as SavedConfig
  requireKnown(fields, inner, transcoderFields)
  expect('transcoder.hookPointOut', 'a text', inner.hookPointOut, typeof inner.hookPointOut === 'string')
  const skips = ['none', 'linear', 'linear-and-identity'] satisfies TranscoderConfig['skip'][]
  expect(
    'transcoder.skip',
    `one of ${skips.join(', ')}`,
    inner.skip,
    skips.some((each) => each === inner.skip),
  )
  expect('transcoder.denormalizes', 'true or false', inner.denormalizes, typeof inner.denormalizes === 'boolean')
  const given = { ...inner, ...(hookPointOut !== undefined && { hookPointOut }), ...(skip !== undefined && { skip }) }
  return { ...section, ...own, transcoder: given } as unknown as SaeConfig
}

function write({ config, weights, training = {}, logFeatureSparsity }: SaeToWrite): WrittenFile[] {
  const json = { format: 'refract-sae', version: VERSION, config, training }
  const files: WrittenFile[] = [
    { name: CONFIG, content: `${JSON.stringify(json, undefined, 2)}\n` },
    { name: WEIGHTS, content: safetensorsChunks(Object.entries(weights)) },
  ]
  if (logFeatureSparsity) files.push({ name: 'sparsity.safetensors', content: safetensorsChunks([['sparsity', logFeatureSparsity]]) })
  return files
}
