/**
 * Indexes features: one pass over the pictures gives, for every latent of any number of SAEs, how often, how strongly and where it is active. The
 * model runs once for a batch, up to the last hook point that is read; then each SAE's statistics are reduced where its codes are made.
 */

import type { Backend, Program, ResidentWeights } from '../backends/backend.js'
import { EngineError } from '../errors.js'
import { findHookPoints } from '../graph/edit.js'
import { prune } from '../graph/prune.js'
import type { LoadedTower } from '../models/load.js'
import type { VisionConfig } from '../models/model.js'
import { int64, type Tensor } from '../tensor.js'
import { binOfBits, N_BINS } from './activation-bins.js'
import { mergeSamples, sampledToken } from './coactive-sample.js'
import { addExactly } from './exact-sums.js'
import type { TokenKind } from './feature-record.js'
import { indexGraph, kindOutput, pieceWeights, SAMPLED } from './index-graph.js'
import { defaultExamples, type EmbeddingSums, emptyIndex, type IndexPlan, type IndexShard, mergeIndexes } from './index-shard.js'
import { offer } from './ranked-items.js'
import { featureSeeds, itemHash, sampledTokens } from './sampling.js'
import { nTokens, type StudiedSae, type StudiedTokens, studiedTokens } from './studied-sae.js'

export interface IndexerOptions {
  readonly backend: Backend
  readonly tower: LoadedTower
  readonly config: VisionConfig
  readonly saes: readonly StudiedSae[]
  readonly seed: number
  /** The same for all shards of an index: `defaultSampledPerPicture`. */
  readonly sampledPerPicture: number
  readonly examples?: IndexPlan['examples']
  /** Length of the pictures' embeddings. Absent: no monosemanticity. */
  readonly dEmbed?: number
  /** The embeddings are the model's own answers, which the same run gives; batches have none then. Default false. */
  readonly embedsItself?: boolean
}

export interface IndexedBatch {
  /** Of all batches of the data set; tells which are merged already. */
  readonly batch: number
  /** The pictures' places in the data set. */
  readonly items: readonly number[]
  /** `[batch, nChannels, height, width]`, preprocessed. */
  readonly pixels: Tensor
  /** `[batch, dEmbed]`, of an image encoder of one's choice; rows of any length but 0. */
  readonly embeddings?: Tensor<'float32'>
}

/** By SAE. */
export type IndexShards = Readonly<Record<string, IndexShard>>

export interface FeatureIndexer {
  /** Shards without batches, to add to. */
  empty(): IndexShards
  /** Adds to the shards in place, and returns what they are now. @throws INPUT_INVALID, CHECKPOINT_MISMATCH */
  addBatch(shards: IndexShards, batch: IndexedBatch): Promise<IndexShards>
  dispose(): Promise<void>
}

interface Reader {
  readonly sae: StudiedSae
  readonly tokens: StudiedTokens
  readonly plan: IndexPlan
  readonly seeds: Int32Array
  readonly program: Program
  readonly weights: ResidentWeights
  readonly outputs: readonly string[]
}

/** @throws SAE_MISFIT, INPUT_INVALID; what the backend throws */
export async function openFeatureIndexer({ backend, tower, config, saes, ...options }: IndexerOptions): Promise<FeatureIndexer> {
  if (new Set(saes.map(({ id }) => id)).size < saes.length) {
    throw new EngineError('INPUT_INVALID', { path: 'saes', problem: 'two SAEs have the same id.' })
  }
  const studied = saes.map((sae) => ({ sae, tokens: studiedTokens(sae, config) }))
  const opened: { dispose(): Promise<void> }[] = []
  const keep = <T extends { dispose(): Promise<void> }>(made: T): T => {
    opened.push(made)
    return made
  }
  const close = async () => {
    await Promise.all(opened.map((resource) => resource.dispose()))
  }
  try {
    const graph = tower.buildGraph(new Set(saes.map((sae) => sae.config.hookPoint)))
    const valueAt = (hookPoint: string) => findHookPoints(graph, [hookPoint])[0]!.firings.at(-1)!
    const answer = options.embedsItself ? graph.outputs[0] : undefined
    const read = saes.map((sae) => valueAt(sae.config.hookPoint))
    const trunk = prune({ ...graph, outputs: [...new Set([...read, ...(answer === undefined ? [] : [answer])])] })
    const needed = Object.fromEntries(Object.entries(tower.weights).filter(([name]) => Object.hasOwn(trunk.parameters, name)))
    const modelWeights = keep(await backend.upload(needed))
    const model = keep(await backend.compile(trunk, { workspace: 'kept' }))
    const readers: Reader[] = []
    for (const { sae, tokens } of studied) {
      const own = indexGraph(sae.config, tokens)
      readers.push({
        sae,
        tokens,
        plan: planOf(sae, tokens, options),
        seeds: featureSeeds(options.seed, sae.config.dSae),
        program: keep(await backend.compile(own, { workspace: 'kept' })),
        weights: keep(await backend.upload(pieceWeights(sae.config, sae.weights, own))),
        outputs: own.outputs,
      })
    }
    return {
      empty: () => Object.fromEntries(readers.map(({ sae, plan }) => [sae.id, emptyIndex(plan)])),
      addBatch: async (shards, given) => {
        for (const { sae, plan } of readers) checkBatch(shards[sae.id]!, given, plan)
        const values = await model.run({ inputs: { pixels: given.pixels }, weights: modelWeights, fetch: trunk.outputs })
        const batch = answer === undefined ? given : { ...given, embeddings: values[answer] as Tensor<'float32'> }
        for (const { plan } of readers) checkEmbeddings(batch, plan)
        const updated: Record<string, IndexShard> = {}
        for (const reader of readers) {
          const { sae, program, weights, outputs } = reader
          const sampled = sampledRows(reader, batch.items)
          const inputs = {
            x: values[valueAt(sae.config.hookPoint)]!,
            sample: int64(
              [sampled.length],
              sampled.map(({ row }) => row),
            ),
          }
          const made = await program.run({ inputs, weights, fetch: outputs })
          updated[sae.id] = addToIndex(shards[sae.id]!, { reader, batch, sampled, made })
        }
        return updated
      },
      dispose: close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

function planOf(
  sae: StudiedSae,
  tokens: StudiedTokens,
  options: Pick<IndexerOptions, 'seed' | 'sampledPerPicture' | 'examples' | 'dEmbed'>,
): IndexPlan {
  return {
    sae: sae.id,
    dSae: sae.config.dSae,
    seed: options.seed,
    tokens: Object.fromEntries(tokens.kinds.map((range) => [range.kind, nTokens(range)])),
    sampledPerPicture: Math.min(options.sampledPerPicture, nTokens(tokens)),
    examples: options.examples ?? defaultExamples,
    dEmbed: options.dEmbed ?? 0,
  }
}

function checkBatch({ batches, plan }: IndexShard, { batch, items, pixels }: IndexedBatch, own: IndexPlan): void {
  const refuse = (path: string, problem: string) => new EngineError('INPUT_INVALID', { path, problem })
  const mismatch = (problem: string) => new EngineError('CHECKPOINT_MISMATCH', { checkpoint: 'of this shard', problems: [problem] })
  if (JSON.stringify(plan) !== JSON.stringify(own)) throw mismatch('it is of another index')
  if (batches.includes(batch)) throw mismatch(`it has batch ${batch} already`)
  const nImages = pixels.shape[0]!
  if (items.length !== nImages) throw refuse('items', `there are ${items.length} for ${nImages} pictures.`)
  if (new Set(items).size < items.length) throw refuse('items', 'one is named twice.')
  if (!items.every((item) => Number.isInteger(item) && item >= 0 && item < 2 ** 31)) throw refuse('items', 'each is a whole number from 0.')
}

function checkEmbeddings({ items, embeddings }: IndexedBatch, { dEmbed }: IndexPlan): void {
  if (dEmbed > 0 && (embeddings?.shape[0] !== items.length || embeddings.shape[1] !== dEmbed)) {
    throw new EngineError('SHAPE_MISMATCH', { what: 'Embeddings', expected: [items.length, dEmbed], actual: embeddings?.shape ?? [] })
  }
}

interface SampledRow {
  readonly item: number
  /** Along the studied tokens. */
  readonly token: number
  readonly row: number
}

function sampledRows({ plan, tokens }: Reader, items: readonly number[]): SampledRow[] {
  const options = { n: nTokens(tokens), count: plan.sampledPerPicture, seed: plan.seed }
  return items.flatMap((item, image) => sampledTokens(item, options).map((token) => ({ item, token, row: token * items.length + image })))
}

interface BatchCodes {
  readonly reader: Reader
  readonly batch: IndexedBatch
  readonly sampled: readonly SampledRow[]
  /** Outputs of the index's graph. */
  readonly made: Readonly<Record<string, Tensor>>
}

/** Changes the arrays of the shard. */
function addToIndex(shard: IndexShard, codes: BatchCodes): IndexShard {
  const { items, batch } = codes.batch
  for (const range of codes.reader.tokens.kinds) {
    addTotals(shard, range.kind, codes.made)
    addPictures(shard, range, codes)
  }
  const scores = addScores(shard, codes)
  if (shard.embeddings) addEmbeddings(shard.embeddings, scores, codes)
  return {
    ...shard,
    batches: [...shard.batches, batch].sort((a, b) => a - b),
    nPictures: shard.nPictures + items.length,
    coactive: addSampled(shard, codes),
  }
}

function addTotals(shard: IndexShard, kind: TokenKind, made: BatchCodes['made']): void {
  const { counts, sums, squares } = shard.kinds[kind]!
  const [count, sum, square] = (['count', 'sum', 'squares'] as const).map((name) => floats(made, kindOutput(kind, name)))
  for (let latent = 0; latent < counts.length; latent++) {
    if (count![latent] === 0) continue
    counts[latent]! += count![latent]!
    addExactly(sums, latent, sum![latent]!)
    addExactly(squares, latent, square![latent]!)
  }
}

/** A backend may compute in float64. */
function floats(made: BatchCodes['made'], name: string): Float32Array {
  const { data } = made[name]!
  return data instanceof Float32Array ? data : Float32Array.from(data as Float64Array)
}

/** Examples of the tokens of a kind, and their largest activation. */
function addPictures(shard: IndexShard, { kind, from }: StudiedTokens['kinds'][number], { reader, batch, made }: BatchCodes): void {
  const { max, top, sample, threshold, negative } = shard.kinds[kind]!
  const [largest, lowest] = [floats(made, kindOutput(kind, 'max')), floats(made, kindOutput(kind, 'min'))]
  const [whereMax, whereMin] = [made[kindOutput(kind, 'whereMax')]?.data, made[kindOutput(kind, 'whereMin')]?.data]
  const first = reader.tokens.firstPosition + from
  const dSae = max.length
  const last = { top: top.k - 1, sample: sample.k - 1, threshold: threshold.k - 1, negative: negative.k - 1 }
  for (const [image, item] of batch.items.entries()) {
    for (let latent = 0, at = image * dSae; latent < dSae; latent++, at++) {
      const score = largest[at]!
      // Comparing with the last of each list here spares a call for nearly every picture.
      if (score > 0) {
        const position = first + (whereMax ? Number(whereMax[at]) : 0)
        if (score > max[latent]!) max[latent] = score
        if (-score <= top.keys[latent * top.k + last.top]!) offer(top, latent, -score, item, position)
        if (score <= threshold.keys[latent * threshold.k + last.threshold]!) offer(threshold, latent, score, item, position)
        const hash = itemHash(item, reader.seeds[latent]!)
        if (hash <= sample.keys[latent * sample.k + last.sample]!) offer(sample, latent, hash, item, position, score)
      }
      if (lowest[at]! <= negative.keys[latent * negative.k + last.negative]!) {
        offer(negative, latent, lowest[at]!, item, first + (whereMin ? Number(whereMin[at]) : 0))
      }
    }
  }
}

/** Scores of pictures over tokens of all kinds. @returns `[batch, dSae]` */
function addScores(shard: IndexShard, { reader, batch, made }: BatchCodes): Float32Array {
  const [first, ...others] = reader.tokens.kinds.map(({ kind }) => floats(made, kindOutput(kind, 'max')))
  const scores = others.length === 0 ? first! : first!.slice()
  for (const other of others) for (let at = 0; at < scores.length; at++) if (other[at]! > scores[at]!) scores[at] = other[at]!
  const bits = new Int32Array(scores.buffer, scores.byteOffset, scores.length)
  const { pictureCounts, minScore, maxScore, pictureHistogram, plan } = shard
  for (let image = 0, at = 0; image < batch.items.length; image++) {
    for (let latent = 0; latent < plan.dSae; latent++, at++) {
      const score = scores[at]!
      if (score < minScore[latent]!) minScore[latent] = score
      if (!(score > 0)) continue
      if (score > maxScore[latent]!) maxScore[latent] = score
      pictureCounts[latent]!++
      pictureHistogram[latent * N_BINS + binOfBits(bits[at]!)]!++
    }
  }
  return scores
}

/** Added and taken away, it leaves a multiple of 2^-30: sums of those are exact, and do not depend on their order. */
const ROUND = 1.5 * 2 ** 22

function addEmbeddings(
  { weighted, total, scores: sums, scoreSquares }: EmbeddingSums,
  scores: Float32Array,
  { reader, batch }: BatchCodes,
): void {
  const { dEmbed, dSae } = reader.plan
  for (let image = 0; image < batch.items.length; image++) {
    const row = batch.embeddings!.data.subarray(image * dEmbed, (image + 1) * dEmbed)
    const length = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0))
    if (!(length > 0)) throw new EngineError('INPUT_INVALID', { path: `embeddings[${image}]`, problem: 'has no direction.' })
    const unit = Float64Array.from(row, (value) => value / length)
    for (let d = 0; d < dEmbed; d++) addExactly(total, d, unit[d]!)
    for (let latent = 0; latent < dSae; latent++) {
      const score = scores[image * dSae + latent]!
      if (!(score > 0)) continue
      addExactly(sums, latent, score)
      addExactly(scoreSquares, latent, score * score)
      const to = latent * dEmbed
      for (let d = 0; d < dEmbed; d++) weighted[to + d]! += score * unit[d]! + ROUND - ROUND
    }
  }
}

function addSampled(shard: IndexShard, { reader, sampled, made }: BatchCodes): IndexShard['coactive'] {
  const codes = floats(made, SAMPLED)
  const { dSae, seed } = reader.plan
  const bits = new Int32Array(codes.buffer, codes.byteOffset, codes.length)
  const tokens = sampled.map(({ item, token }, at) => {
    for (let latent = 0, from = at * dSae; latent < dSae; latent++) {
      const own = bits[from + latent]!
      if (own > 0) shard.histogram[latent * N_BINS + binOfBits(own)]!++
    }
    const position = reader.tokens.firstPosition + token
    return sampledToken(codes.subarray(at * dSae, (at + 1) * dSae), { item, position, seed })
  })
  return mergeSamples(shard.coactive, tokens)
}

/** @throws CHECKPOINT_MISMATCH */
export function mergeIndexShards(a: IndexShards, b: IndexShards): IndexShards {
  const ids = Object.keys(a)
  if (ids.join() !== Object.keys(b).join()) {
    throw new EngineError('CHECKPOINT_MISMATCH', {
      checkpoint: 'of another shard',
      problems: ['they are not of the same SAEs, in the same order'],
    })
  }
  return Object.fromEntries(ids.map((id) => [id, mergeIndexes(a[id]!, b[id]!)]))
}
