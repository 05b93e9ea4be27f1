/** A shard of an index as a safetensors file: the same shard makes the same bytes, however it was merged. */

import { bytesSource } from '../io/byte-source.js'
import { joinChunks } from '../io/named-tensors.js'
import { damaged, invalidFile } from '../io/refusals.js'
import { readSafetensor, readSafetensorsHeader, safetensorsChunks } from '../io/safetensors.js'
import { type Tensor, tensor } from '../tensor.js'
import type { ExactSums } from './exact-sums.js'
import type { TokenKind } from './feature-record.js'
import type { EmbeddingSums, IndexPlan, IndexShard, KindStatistics } from './index-shard.js'
import type { RankedItems } from './ranked-items.js'

const FORMAT = 'refract-index-1'
const FILE = 'index shard'
const lists = ['top', 'sample', 'threshold', 'negative'] as const

type Arrays = Record<string, Float32Array | Float64Array | Int32Array>

export function indexToBytes(shard: IndexShard): Uint8Array {
  const arrays: Arrays = {
    batches: Float64Array.from(shard.batches),
    pictureCounts: shard.pictureCounts,
    minScore: shard.minScore,
    maxScore: shard.maxScore,
    histogram: shard.histogram,
    pictureHistogram: shard.pictureHistogram,
    'coactive.tokens': Float64Array.from(
      shard.coactive.flatMap(({ hash, item, position, latents }) => [hash, item, position, latents.length]),
    ),
    'coactive.latents': Int32Array.from(shard.coactive.flatMap(({ latents }) => [...latents])),
  }
  const putSums = (name: string, { whole, fraction }: ExactSums) => {
    arrays[`${name}.whole`] = whole
    arrays[`${name}.fraction`] = fraction
  }
  for (const [kind, statistics] of Object.entries(shard.kinds)) {
    arrays[`${kind}.counts`] = statistics.counts
    arrays[`${kind}.max`] = statistics.max
    putSums(`${kind}.sums`, statistics.sums)
    putSums(`${kind}.squares`, statistics.squares)
    for (const list of lists) {
      const { k: _, ...columns } = statistics[list]
      for (const [column, data] of Object.entries(columns)) arrays[`${kind}.${list}.${column}`] = data
    }
  }
  if (shard.embeddings) {
    arrays['embeddings.weighted'] = shard.embeddings.weighted
    for (const name of ['total', 'scores', 'scoreSquares'] as const) putSums(`embeddings.${name}`, shard.embeddings[name])
  }
  const metadata = { format: FORMAT, plan: JSON.stringify(shard.plan), nPictures: String(shard.nPictures) }
  return joinChunks(
    safetensorsChunks(
      Object.entries(arrays).map(([name, data]) => [name, asTensor(data)] as const),
      metadata,
    ),
  )
}

function asTensor(data: Arrays[string]): Tensor {
  if (data instanceof Float32Array) return tensor('float32', [data.length], data)
  return data instanceof Float64Array ? tensor('float64', [data.length], data) : tensor('int32', [data.length], data)
}

/** @throws FILE_INVALID */
export async function indexFromBytes(bytes: Uint8Array): Promise<IndexShard> {
  try {
    return await readIndex(bytes)
  } catch (error) {
    throw damaged(FILE, error)
  }
}

async function readIndex(bytes: Uint8Array): Promise<IndexShard> {
  const source = bytesSource(bytes)
  const header = await readSafetensorsHeader(source, FILE)
  if (header.metadata.get('format') !== FORMAT) throw invalidFile(FILE, 'is not one that this version wrote.')
  const plan = JSON.parse(header.metadata.get('plan') ?? '{}') as IndexPlan
  const arrays: Arrays = {}
  for (const name of header.entries.keys()) arrays[name] = (await readSafetensor(source, header, name)).data as Arrays[string]
  const array = <A extends Arrays[string]>(name: string): A => {
    const found = arrays[name]
    if (!found) throw invalidFile(FILE, `has no ${name}.`)
    return found as A
  }
  const float64 = (name: string) => array<Float64Array>(name)
  const sums = (name: string): ExactSums => ({ whole: float64(`${name}.whole`), fraction: float64(`${name}.fraction`) })
  const list = (kind: string, name: (typeof lists)[number]): RankedItems => {
    const column = <A extends Arrays[string]>(of: string) => array<A>(`${kind}.${name}.${of}`)
    const scores = arrays[`${kind}.${name}.scores`]
    return {
      k: plan.examples[name],
      keys: column('keys'),
      items: column('items'),
      positions: column('positions'),
      ...(scores && { scores: scores as Float32Array }),
    }
  }
  const statistics = (kind: string): KindStatistics => ({
    counts: float64(`${kind}.counts`),
    max: array(`${kind}.max`),
    sums: sums(`${kind}.sums`),
    squares: sums(`${kind}.squares`),
    top: list(kind, 'top'),
    sample: list(kind, 'sample'),
    threshold: list(kind, 'threshold'),
    negative: list(kind, 'negative'),
  })
  const embeddings: EmbeddingSums | undefined =
    plan.dEmbed > 0
      ? {
          weighted: float64('embeddings.weighted'),
          total: sums('embeddings.total'),
          scores: sums('embeddings.scores'),
          scoreSquares: sums('embeddings.scoreSquares'),
        }
      : undefined
  return {
    plan,
    batches: Array.from(float64('batches')),
    nPictures: Number(header.metadata.get('nPictures')),
    kinds: Object.fromEntries((Object.keys(plan.tokens) as TokenKind[]).map((kind) => [kind, statistics(kind)])),
    pictureCounts: float64('pictureCounts'),
    minScore: array('minScore'),
    maxScore: array('maxScore'),
    histogram: array('histogram'),
    pictureHistogram: array('pictureHistogram'),
    coactive: readCoactive(float64('coactive.tokens'), array('coactive.latents')),
    ...(embeddings && { embeddings }),
  }
}

function readCoactive(tokens: Float64Array, latents: Int32Array): IndexShard['coactive'] {
  let from = 0
  return Array.from({ length: tokens.length / 4 }, (_, at) => {
    const [hash, item, position, count] = tokens.subarray(4 * at, 4 * at + 4) as unknown as [number, number, number, number]
    from += count
    return { hash, item, position, latents: latents.slice(from - count, from) }
  })
}
