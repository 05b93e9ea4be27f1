/**
 * Adds to a shard of an index what its graph says of a batch. Latent by latent and not picture by picture: what is kept of a latent is looked at
 * once a batch.
 */

import type { SaeConfig } from '../saes/sae.js'
import type { Tensor } from '../tensor.js'
import { binOfBits, N_BINS } from './activation-bins.js'
import { type ActiveLatents, mergeSamples, sampledToken } from './coactive-sample.js'
import { addExactly } from './exact-sums.js'
import { codesOf, codesOutput, type Piece, type PieceCodes, pieces, weightedOutput } from './index-graph.js'
import type { EmbeddingSums, IndexShard, KindStatistics } from './index-shard.js'
import { offer } from './ranked-items.js'
import { itemHash } from './sampling.js'
import type { StudiedTokens } from './studied-sae.js'

/** A token whose codes are looked at one by one. */
export interface SampledRow {
  readonly item: number
  /** Along the studied tokens. */
  readonly token: number
}

export interface BatchOfIndex {
  readonly batch: number
  readonly items: readonly number[]
  readonly config: SaeConfig
  readonly tokens: StudiedTokens
  /** Of the features. */
  readonly seeds: Int32Array
  /** By kind, in the order of `tokens.kinds`. */
  readonly sampled: readonly (readonly SampledRow[])[]
  /** `[batch, dEmbed]`, at unit length. */
  readonly embeddings?: Tensor<'float32'>
  /** Outputs of the index's graph. */
  readonly made: Readonly<Record<string, Tensor>>
}

/** Changes the arrays of the shard. */
export function addToIndex(shard: IndexShard, added: BatchOfIndex): IndexShard {
  const { items, batch, tokens, config, seeds, sampled, made, embeddings } = added
  const active = sampled.map((rows) => rows.map((): ActiveLatents => ({ latents: [], codes: [] })))
  for (const piece of pieces(config)) {
    const width = piece.to - piece.from
    const codes = tokens.kinds.map((range) => codesOf(floats(made[codesOutput(piece, range.kind)]!), { batch: items.length, width, range }))
    for (const [at, range] of tokens.kinds.entries()) {
      const kind = shard.kinds[range.kind]!
      addTotals(kind, piece, codes[at]!)
      addPictures(kind, piece, codes[at]!, { items, seeds, first: tokens.firstPosition + range.from })
      for (const [row, token] of active[at]!.entries()) {
        addSampled(shard, piece, codes[at]!.sampled.subarray(row * width, (row + 1) * width), token)
      }
    }
    const scores = scoresOf(codes)
    addScores(shard, piece, scores)
    if (shard.embeddings) addWeighted(shard.embeddings, piece, scores, floats(made[weightedOutput(piece)]!))
  }
  if (shard.embeddings) {
    const { total } = shard.embeddings
    for (const [at, value] of embeddings!.data.entries()) addExactly(total, at % shard.plan.dEmbed, value)
  }
  const samples = sampled.flatMap((rows, at) =>
    rows.map(({ item, token }, row) =>
      sampledToken(active[at]![row]!, { item, position: tokens.firstPosition + token, seed: shard.plan.seed }),
    ),
  )
  return {
    ...shard,
    batches: [...shard.batches, batch].sort((a, b) => a - b),
    nPictures: shard.nPictures + items.length,
    coactive: mergeSamples(shard.coactive, samples),
  }
}

/** A backend may compute in float64. */
function floats({ data }: Tensor): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data as Float64Array)
}

function addTotals({ counts, sums, squares }: KindStatistics, { from }: Piece, made: PieceCodes): void {
  for (let own = 0; own < made.count.length; own++) {
    if (made.count[own] === 0) continue
    counts[from + own]! += made.count[own]!
    addExactly(sums, from + own, made.sum[own]!)
    addExactly(squares, from + own, made.squares[own]!)
  }
}

interface Pictures {
  readonly items: readonly number[]
  readonly seeds: Int32Array
  /** Position of the first token of the kind. */
  readonly first: number
}

/** Examples of the tokens of a kind, and their largest activation. */
function addPictures(kind: KindStatistics, { from }: Piece, made: PieceCodes, { items, seeds, first }: Pictures): void {
  const { max, top, sample, threshold, negative } = kind
  const { max: largest, whereMax, min: lowest, whereMin, count } = made
  const width = count.length
  for (let own = 0; own < width; own++) {
    const latent = from + own
    // Comparing with the last of each list here spares a call for nearly every picture.
    const lastTop = (latent + 1) * top.k - 1
    const lastSample = (latent + 1) * sample.k - 1
    const lastThreshold = (latent + 1) * threshold.k - 1
    const lastNegative = (latent + 1) * negative.k - 1
    for (let image = 0, at = own; image < items.length; image++, at += width) {
      const item = items[image]!
      const score = largest[at]!
      if (score > 0) {
        const position = whereMax ? first + whereMax[at]! : first
        if (score > max[latent]!) max[latent] = score
        if (-score <= top.keys[lastTop]!) offer(top, latent, -score, item, position)
        if (score <= threshold.keys[lastThreshold]!) offer(threshold, latent, score, item, position)
        const hash = itemHash(item, seeds[latent]!)
        if (hash <= sample.keys[lastSample]!) offer(sample, latent, hash, item, position, score)
      }
      if (lowest[at]! <= negative.keys[lastNegative]!) offer(negative, latent, lowest[at]!, item, whereMin ? first + whereMin[at]! : first)
    }
  }
}

/** A sampled token's codes of a piece, and the active latents of the token so far. */
function addSampled({ histogram }: IndexShard, { from }: Piece, codes: Float32Array, active: ActiveLatents): void {
  const bits = bitsOf(codes)
  for (let own = 0; own < codes.length; own++) {
    if (!(codes[own]! > 0)) continue
    active.latents.push(from + own)
    active.codes.push(codes[own]!)
    histogram[(from + own) * N_BINS + binOfBits(bits[own]!)]!++
  }
}

const bitsOf = ({ buffer, byteOffset, length }: Float32Array) => new Int32Array(buffer, byteOffset, length)

/** Of pictures over tokens of all kinds, `[batch, latents]`. */
function scoresOf(codes: readonly PieceCodes[]): Float32Array {
  const [first, ...others] = codes.map(({ max }) => max) as [Float32Array, ...Float32Array[]]
  if (others.length === 0) return first
  const scores = first.slice()
  for (const other of others) for (let at = 0; at < scores.length; at++) if (other[at]! > scores[at]!) scores[at] = other[at]!
  return scores
}

function addScores(shard: IndexShard, { from, to }: Piece, scores: Float32Array): void {
  const { pictureCounts, minScore, maxScore, pictureHistogram } = shard
  const width = to - from
  const bits = bitsOf(scores)
  for (let latent = from; latent < to; latent++) {
    for (let at = latent - from; at < scores.length; at += width) {
      const score = scores[at]!
      if (score < minScore[latent]!) minScore[latent] = score
      if (!(score > 0)) continue
      if (score > maxScore[latent]!) maxScore[latent] = score
      pictureCounts[latent]!++
      pictureHistogram[latent * N_BINS + binOfBits(bits[at]!)]!++
    }
  }
}

/** Added and taken away, it leaves a multiple of 2^-30: sums of those are exact, and do not depend on their order. */
const ROUND = 1.5 * 2 ** 22

/** @param weighted  `[latents, dEmbed]`, of the pictures of this batch */
function addWeighted(sums: EmbeddingSums, { from, to }: Piece, scores: Float32Array, weighted: Float32Array): void {
  const width = to - from
  const dEmbed = weighted.length / width
  for (let latent = from; latent < to; latent++) {
    let isActive = false
    for (let at = latent - from; at < scores.length; at += width) {
      const score = scores[at]!
      if (!(score > 0)) continue
      isActive = true
      addExactly(sums.scores, latent, score)
      addExactly(sums.scoreSquares, latent, score * score)
    }
    if (!isActive) continue
    const own = weighted.subarray((latent - from) * dEmbed, (latent - from + 1) * dEmbed)
    for (let d = 0, into = latent * dEmbed; d < dEmbed; d++, into++) sums.weighted[into]! += own[d]! + ROUND - ROUND
  }
}
