/**
 * Finds out from a model's own files how its pictures are prepared.
 */

import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { EngineError } from '../errors.js'
import { isJsonObject, type JsonObject } from './config-fields.js'
import { openClipPreprocessing } from './layouts/open-clip.js'
import { isTimmConfig, timmPreprocessing } from './layouts/timm.js'
import { transformersPreprocessing } from './layouts/transformers.js'
import { imagenetStandard } from './normalization-constants.js'
import type { Preprocessing } from './preprocessing.js'

/** What is known of the model beside its preprocessing files. */
export interface ModelFacts {
  readonly imageSize: { readonly height: number; readonly width: number }
  readonly nChannels: number
  /** Whose files to believe in a folder that has several libraries' (open_clip's repositories often have transformers' too). */
  readonly library?: Library
}

export type Library = 'transformers' | 'open-clip' | 'timm'

/** In this order unless `library` says otherwise. Each returns undefined where its files are absent. */
const readers: Readonly<Record<Library, (folder: string, facts?: ModelFacts) => Promise<Preprocessing | undefined>>> = {
  transformers: readTransformers,
  'open-clip': readOpenClip,
  timm: readTimm,
}

/**
 * Reads `preprocessor_config.json` or `processor_config.json` (transformers), `open_clip_config.json`, or the `pretrained_cfg` of timm's
 * `config.json`. Without any of them, and given the model's facts: bicubic resize of the shorter side to the model's, centre crop, bytes
 * scaled to -1..1, and `source: 'default'`, so that nobody takes it for the model's own.
 *
 * @throws FILE_INVALID      when a file is not valid, or when nothing was found and no facts were given
 * @throws MODEL_UNSUPPORTED for an image processor of another kind
 */
export async function readPreprocessing(folder: string, facts?: ModelFacts): Promise<Preprocessing> {
  const libraries = Object.keys(readers) as Library[]
  const ordered = facts?.library ? [facts.library, ...libraries.filter((library) => library !== facts.library)] : libraries
  for (const library of ordered) {
    const found = await readers[library](folder, facts)
    if (found) return found
  }
  if (!facts) {
    const problem = 'has no preprocessor_config.json, processor_config.json, open_clip_config.json or timm config.json.'
    throw new EngineError('FILE_INVALID', { file: path.basename(folder), problem })
  }
  return defaultPreprocessing(facts)
}

function defaultPreprocessing({ imageSize, nChannels }: ModelFacts): Preprocessing {
  const { height, width } = imageSize
  return {
    resize: height === width ? { kind: 'shortestEdge', size: height } : { kind: 'cover', height, width },
    resample: 'bicubic',
    crop: { height, width },
    cropRounding: 'halfToEven',
    rescale: 1 / 255,
    mean: imagenetStandard.mean.slice(0, nChannels),
    std: imagenetStandard.std.slice(0, nChannels),
    mode: nChannels === 1 ? 'L' : 'RGB',
    source: 'default',
  }
}

async function readTransformers(folder: string, facts?: ModelFacts): Promise<Preprocessing | undefined> {
  const about = { modelType: await modelType(folder), nChannels: facts?.nChannels ?? 3 }
  const own = await readJson(folder, 'preprocessor_config.json')
  if (own) return transformersPreprocessing('preprocessor_config.json', own, about)
  const processor = await readJson(folder, 'processor_config.json')
  if (!isJsonObject(processor?.image_processor)) return undefined
  return transformersPreprocessing('processor_config.json', processor.image_processor, about)
}

async function modelType(folder: string): Promise<string | undefined> {
  const config = await readJson(folder, 'config.json')
  return typeof config?.model_type === 'string' ? config.model_type : undefined
}

async function readOpenClip(folder: string): Promise<Preprocessing | undefined> {
  const config = await readJson(folder, 'open_clip_config.json')
  return config && openClipPreprocessing('open_clip_config.json', config)
}

async function readTimm(folder: string): Promise<Preprocessing | undefined> {
  const config = await readJson(folder, 'config.json')
  return config && isTimmConfig(config) ? timmPreprocessing('config.json', config) : undefined
}

/** Configuration files are small; one that is not is not read. */
const MAX_JSON_BYTES = 4 * 2 ** 20

async function readJson(folder: string, file: string): Promise<JsonObject | undefined> {
  const found = await stat(path.join(folder, file)).catch(() => undefined)
  if (!found) return undefined
  if (!found.isFile()) throw new EngineError('FILE_INVALID', { file, problem: 'is not a file.' })
  if (found.size > MAX_JSON_BYTES)
    throw new EngineError('FILE_INVALID', { file, problem: `has ${found.size} bytes; expected a small JSON file.` })
  let parsed: unknown
  try {
    parsed = JSON.parse(await readFile(path.join(folder, file), 'utf8'))
  } catch (error) {
    throw new EngineError('FILE_INVALID', { file, problem: `is not JSON (${(error as Error).message}).` })
  }
  if (!isJsonObject(parsed)) throw new EngineError('FILE_INVALID', { file, problem: 'is not a JSON object.' })
  return parsed
}
