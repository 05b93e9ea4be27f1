/**
 * The weights of a model's folder, as hubs lay it out: one file or a set of shards with an index, safetensors wherever there is a choice.
 * Nothing outside the folder is read, except through a hub cache's own links to its blobs.
 */

import { readdir, realpath } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, sep } from 'node:path'
import { type FileSource, openFileSource } from './byte-source.js'
import { invalidFile, quoted, quotedList } from './refusals.js'
import { parseStrictJson, type StrictJson } from './strict-json.js'
import type { TorchCheckpointOptions } from './torch-checkpoint.js'
import { openShard, openWeights, stripSharedPrefix, type WeightEntry, type WeightFile } from './weight-file.js'

/** File names that weights are found under, the preferred first. */
export const weightFileNames = [
  'model.safetensors',
  'model.safetensors.index.json',
  'open_clip_model.safetensors',
  'open_clip_pytorch_model.bin',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
] as const

/** Endings of a file that is taken when it is the only one of its kind and no known name is there; in this order. */
const looseEndings = ['.safetensors', '.pt', '.pth', '.bin']
const maxIndexBytes = 2 ** 25
const maxShards = 1_000

/**
 * Opens the weights in a folder.
 *
 * @param candidates  names to look for, the preferred first; a single file of another name is found only without them
 * @throws FILE_INVALID when there are none, several without a known name, or any leads out of the folder; FILE_UNSAFE
 */
export async function openWeightFolder(
  folder: string,
  candidates?: readonly string[],
  options: TorchCheckpointOptions = {},
): Promise<WeightFile> {
  const present = await listFiles(folder)
  const name =
    (candidates ?? weightFileNames).find((candidate) => present.includes(candidate)) ??
    (candidates ? undefined : looseFile(folder, present))
  if (name === undefined) {
    throw invalidFile(basename(folder), `holds no weights: none of ${quotedList(candidates ?? weightFileNames, 10)} is there.`)
  }
  if (name.endsWith('.index.json')) return openShards(folder, name, options)
  return openWeights(await openInside(folder, name), name, options)
}

async function listFiles(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    throw invalidFile(basename(folder), `cannot be listed (${(error as NodeJS.ErrnoException).code ?? String(error)}).`)
  }
}

function looseFile(folder: string, present: readonly string[]): string | undefined {
  for (const ending of looseEndings) {
    const files = present.filter((file) => file.endsWith(ending) && !file.startsWith('.'))
    if (files.length > 1)
      throw invalidFile(
        basename(folder),
        `holds several files that could be the weights: ${quotedList(files)}. Keep one, or name it model.safetensors.`,
      )
    if (files.length === 1) return files[0]
  }
  return undefined
}

/** Opens a file of a folder by name, after resolving every link on the way. */
async function openInside(folder: string, name: string): Promise<FileSource> {
  if (
    name === '' ||
    isAbsolute(name) ||
    /[\\\0]/.test(name) ||
    name.split('/').some((part) => part === '..' || part === '.' || part === '')
  ) {
    throw invalidFile(quoted(name), 'is not the name of a file inside the folder.')
  }
  let path: string
  let root: string
  try {
    root = await realpath(folder)
    path = await realpath(join(folder, name))
  } catch (error) {
    throw invalidFile(name, `cannot be opened (${(error as NodeJS.ErrnoException).code ?? String(error)}).`)
  }
  const blobs = hubBlobs(root)
  if (!isWithin(path, root) && !(blobs !== undefined && isWithin(path, blobs))) {
    throw invalidFile(name, 'is a link to a file outside its folder. Copy the file into the folder, or import the folder that it is in.')
  }
  return openFileSource(path, name)
}

/** A hub cache keeps `<repo>/snapshots/<revision>/<file>` as links into `<repo>/blobs`. */
function hubBlobs(root: string): string | undefined {
  for (let at = root; dirname(at) !== at; at = dirname(at)) {
    if (basename(at) === 'snapshots') return join(dirname(at), 'blobs')
  }
  return undefined
}

function isWithin(path: string, folder: string): boolean {
  return path.startsWith(folder.endsWith(sep) ? folder : folder + sep)
}

// --- shards

/** Opens every file that an index names, as one set of weights. */
async function openShards(folder: string, indexName: string, options: TorchCheckpointOptions): Promise<WeightFile> {
  const fileOf = await readIndex(folder, indexName)
  const files = [...new Set(fileOf.values())].sort()
  if (files.length > maxShards) throw invalidFile(indexName, `names ${files.length} files; at most ${maxShards} are opened.`)
  const shards = new Map<string, WeightFile>()
  const close = async () => {
    for (const shard of shards.values()) await shard.close()
  }
  try {
    for (const file of files) shards.set(file, await openShard(await openInside(folder, file), file, options))
    return stripSharedPrefix({ ...joinShards(indexName, { fileOf, shards }), close })
  } catch (error) {
    await close()
    throw error
  }
}

function joinShards(
  indexName: string,
  { fileOf, shards }: { fileOf: ReadonlyMap<string, string>; shards: ReadonlyMap<string, WeightFile> },
): Omit<WeightFile, 'close'> {
  const first = [...shards.values()][0]!
  const entries = new Map<string, WeightEntry>()
  const shardOf = new Map<string, WeightFile>()
  const missing: string[] = []
  for (const [name, file] of fileOf) {
    const shard = shards.get(file)!
    const entry = shard.entries.get(name)
    if (entry === undefined) missing.push(`${name} (${file})`)
    else {
      entries.set(name, entry)
      shardOf.set(name, shard)
    }
  }
  if (missing.length > 0) throw invalidFile(indexName, `lists tensors that their files do not hold: ${quotedList(missing)}.`)
  // A tensor that the index forgot is a weight all the same; who knows the model decides whether it belongs to it.
  for (const shard of shards.values()) {
    for (const [name, entry] of shard.entries) {
      if (entries.has(name)) continue
      entries.set(name, entry)
      shardOf.set(name, shard)
    }
  }
  return {
    format: first.format,
    files: [...shards.keys()],
    entries,
    metadata: Object.assign(Object.create(null), ...[...shards.values()].map(({ metadata }) => metadata)),
    unwrapped: first.unwrapped,
    strippedPrefix: '',
    read: async (name) => {
      const shard = shardOf.get(name)
      if (shard === undefined) throw invalidFile(indexName, `has no tensor ${quoted(name)}.`)
      return shard.read(name)
    },
  }
}

/** `{ "weight_map": { "<tensor>": "<file>" } }` */
async function readIndex(folder: string, name: string): Promise<ReadonlyMap<string, string>> {
  const source = await openInside(folder, name)
  let index: StrictJson
  try {
    if (source.size > maxIndexBytes) throw invalidFile(name, `has ${source.size} bytes; at most ${maxIndexBytes} are read.`)
    const text = Buffer.from(await source.read(0, source.size)).toString('utf8')
    try {
      index = parseStrictJson(text)
    } catch (error) {
      throw invalidFile(name, `is not valid: ${(error as Error).message}.`)
    }
  } finally {
    await source.close()
  }
  const map = index instanceof Map ? index.get('weight_map') : undefined
  if (!(map instanceof Map) || map.size === 0) throw invalidFile(name, 'has no "weight_map" of tensor names to file names.')
  for (const [tensor, file] of map) {
    if (typeof file !== 'string' || file.endsWith('.index.json'))
      throw invalidFile(name, `does not name a file for tensor ${quoted(tensor)}.`)
  }
  return map
}
