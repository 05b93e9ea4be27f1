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
import { float32, int64, type Tensor } from '../tensor.js'
import { unitVector } from '../vectors.js'
import type { SampledRow } from './add-sampled.js'
import { addToIndex } from './add-to-index.js'
import { indexGraph } from './index-graph.js'
import { EMBEDDINGS, handsOutActive, pieceWeights, sampleInput } from './index-pieces.js'
import { defaultExamples, emptyIndex, type IndexPlan, type IndexShard, mergeIndexes } from './index-shard.js'
import { featureSeeds, sampledTokens } from './sampling.js'
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
      const own = indexGraph(sae.config, tokens, options.dEmbed)
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
        const embeddings = answer === undefined ? given.embeddings : (values[answer] as Tensor<'float32'>)
        const units = (options.dEmbed ?? 0) > 0 ? unitEmbeddings(embeddings, [given.items.length, options.dEmbed!]) : undefined
        const updated: Record<string, IndexShard> = {}
        for (const { sae, tokens, plan, seeds, program, weights, outputs } of readers) {
          const sampled = sampledRows({ plan, tokens }, given.items)
          const inputs: Record<string, Tensor> = { x: values[valueAt(sae.config.hookPoint)]! }
          if (!handsOutActive(sae.config)) {
            for (const [at, { kind }] of tokens.kinds.entries()) inputs[sampleInput(kind)] = rowsToRead(sampled[at]!)
          }
          if (units) inputs[EMBEDDINGS] = units
          const made = await program.run({ inputs, weights, fetch: outputs })
          updated[sae.id] = addToIndex(shards[sae.id]!, {
            ...{ batch: given.batch, items: given.items, config: sae.config, tokens, seeds, sampled, made },
            ...(units && { embeddings: units }),
          })
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

/** @throws SHAPE_MISMATCH; INPUT_INVALID for a row without a direction */
function unitEmbeddings(given: Tensor<'float32'> | undefined, expected: readonly [batch: number, dEmbed: number]): Tensor<'float32'> {
  if (given?.shape.join() !== expected.join()) {
    throw new EngineError('SHAPE_MISMATCH', { what: 'Embeddings', expected, actual: given?.shape ?? [] })
  }
  const units = new Float32Array(given.data.length)
  for (let from = 0; from < units.length; from += expected[1]) {
    const unit = unitVector(given.data.subarray(from, from + expected[1]))
    if (!unit.every(Number.isFinite))
      throw new EngineError('INPUT_INVALID', { path: `embeddings[${from / expected[1]}]`, problem: 'has no direction.' })
    units.set(unit, from)
  }
  return float32(expected, units)
}

/** By kind. */
function sampledRows({ plan, tokens }: Pick<Reader, 'plan' | 'tokens'>, items: readonly number[]): SampledRow[][] {
  const options = { n: nTokens(tokens), count: plan.sampledPerPicture, seed: plan.seed }
  const sampled = items.map((item) => ({ item, chosen: sampledTokens(item, options) }))
  return tokens.kinds.map((range) =>
    sampled.flatMap(({ item, chosen }, image) =>
      chosen
        .filter((token) => token >= range.from && token < range.to)
        .map((token) => ({ item, token, row: image * nTokens(range) + token - range.from })),
    ),
  )
}

/** Where no token of a kind is sampled the first is handed out, and nobody looks at it: an axis is never of length 0. */
function rowsToRead(sampled: readonly SampledRow[]): Tensor<'int64'> {
  const rows = sampled.length === 0 ? [0] : sampled.map(({ row }) => row)
  return int64([rows.length], rows)
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
