/**
 * Which of a repository's or folder's files a model needs: its configurations, its tokenizer, and its weights in exactly one form.
 */

import { EngineError } from '../../engine/errors.js'
import { weightFileNames } from '../../engine/io/weight-folder.js'

/** Taken where they are there. */
const DESCRIPTIONS = [
  'config.json',
  'open_clip_config.json',
  'preprocessor_config.json',
  'processor_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
]

const OPEN_CLIP_WEIGHTS = ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin']

/** Any name, when there is only one. */
const OTHER_WEIGHTS = [/\.safetensors$/, /\.(pt|pth|bin)$/]
/** Not weights, though they are named so. */
const NEVER = /^(optimizer|scheduler|training_args|rng_state|scaler)/

export interface SelectedFiles {
  /** Configuration and tokenizer. */
  readonly descriptions: readonly string[]
  /** A weight file, or the index of a sharded one (see `shardsOf`). */
  readonly weights: string
}

/**
 * open_clip's weights come first where its configuration is there: such repositories often hold transformers' or timm's conversion too,
 * which may have the image tower only. Else the order in which the engine looks for weights: safetensors before pickles.
 *
 * @param names  of the files directly in the folder
 * @throws FILE_INVALID when there are no weights, or several of which none is the one
 */
export function selectFiles(names: readonly string[], where: string): SelectedFiles {
  const has = (name: string) => names.includes(name)
  const preferred = has('open_clip_config.json') ? [...OPEN_CLIP_WEIGHTS, ...weightFileNames] : weightFileNames
  const weights = preferred.find(has) ?? onlyOther(names, where)
  return { descriptions: DESCRIPTIONS.filter(has), weights }
}

function onlyOther(names: readonly string[], where: string): string {
  for (const pattern of OTHER_WEIGHTS) {
    const found = names.filter((name) => pattern.test(name) && !NEVER.test(name))
    if (found.length === 1 && found[0] !== undefined) return found[0]
    if (found.length > 1) {
      const problem = `holds several weight files and none is named as a library would (${found.slice(0, 8).join(', ')}). Put the one into a folder of its own, with its configuration.`
      throw new EngineError('FILE_INVALID', { file: where, problem })
    }
  }
  const some = names.slice(0, 8).join(', ')
  throw new EngineError('FILE_INVALID', {
    file: where,
    problem: `holds no weights (model.safetensors, pytorch_model.bin, open_clip_model.safetensors, ...). It holds ${some || 'no files'}${names.length > 8 ? ', ...' : ''}.`,
  })
}

/** An index names a few hundred tensors; what is longer is something else. */
export const MAX_INDEX_BYTES = 64 * 2 ** 20

export const isIndex = (weights: string) => weights.endsWith('.index.json')

/**
 * The shards that an index names, in order of name.
 *
 * @param text   of the index
 * @param names  of the files beside it
 * @throws FILE_INVALID when it is not an index or names what is not there, FILE_UNSAFE when a name leads out of the folder
 */
export function shardsOf(index: string, text: string, names: readonly string[]): string[] {
  let map: unknown
  try {
    map = (JSON.parse(text) as { weight_map?: unknown } | null)?.weight_map
  } catch (error) {
    throw new EngineError('FILE_INVALID', { file: index, problem: `is not JSON (${(error as Error).message}).` })
  }
  if (typeof map !== 'object' || map === null || Array.isArray(map)) {
    throw new EngineError('FILE_INVALID', { file: index, problem: 'has no weight_map.' })
  }
  const shards = [...new Set(Object.values(map) as unknown[])]
  const missing: string[] = []
  for (const shard of shards) {
    if (typeof shard !== 'string')
      throw new EngineError('FILE_INVALID', { file: index, problem: 'has a weight_map that does not name files.' })
    if (/[\\/\0]/.test(shard) || shard === '..' || shard === '.') {
      throw new EngineError('FILE_UNSAFE', {
        file: index,
        problem: `it names "${shard.slice(0, 100)}", which is not a file beside it`,
        instead: 'Shards must be in the same folder as their index.',
      })
    }
    if (!names.includes(shard)) missing.push(shard)
  }
  if (missing.length > 0) {
    throw new EngineError('FILE_INVALID', {
      file: index,
      problem: `names ${missing.slice(0, 4).join(', ')}, which ${missing.length === 1 ? 'is' : 'are'} not there.`,
    })
  }
  if (shards.length === 0) throw new EngineError('FILE_INVALID', { file: index, problem: 'names no shards.' })
  return (shards as string[]).sort()
}
