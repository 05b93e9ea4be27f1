/**
 * Adds to a shard of an index what its graph says of a batch. Latent by latent and not picture by picture: what is kept of a latent is looked at
 * once a batch.
 */

import type { SaeConfig } from '../saes/sae.js'
import type { Tensor } from '../tensor.js'
import { binOfBits, bitsOf, N_BINS } from './activation-bins.js'
import { addSampled, type SampledRow } from './add-sampled.js'
import { addExactly } from './exact-sums.js'
import { floats, indexCodes, type PieceCodes } from './index-codes.js'
import { type Piece, pieces, weightedOutput } from './index-pieces.js'
import type { EmbeddingSums, IndexShard, KindStatistics } from './index-shard.js'
import { offer } from './ranked-items.js'
import { itemHash } from './sampling.js'
import type { StudiedTokens } from './studied-sae.js'

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
  const codes = indexCodes({ config, tokens, batch: items.length, sampled, made })
  for (const [at, piece] of pieces(config).entries()) {
    const ofPiece = codes.pieces[at]!
    for (const [own, range] of tokens.kinds.entries()) {
      const kind = shard.kinds[range.kind]!
      addTotals(kind, piece, ofPiece[own]!)
      addPictures(kind, piece, ofPiece[own]!, { items, seeds, first: tokens.firstPosition + range.from })
    }
    const scores = scoresOf(ofPiece)
    addScores(shard, piece, scores)
    if (shard.embeddings) addWeighted(shard.embeddings, piece, scores, floats(made[weightedOutput(piece)]!))
  }
  if (shard.embeddings) {
    const { total } = shard.embeddings
    for (const [at, value] of embeddings!.data.entries()) addExactly(total, at % shard.plan.dEmbed, value)
  }
  return {
    ...shard,
    batches: [...shard.batches, batch].sort((a, b) => a - b),
    nPictures: shard.nPictures + items.length,
    coactive: addSampled(shard, { sampled, codes, first: tokens.firstPosition }),
  }
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

/**
 * Examples of the tokens of a kind, and their largest activation. Few pictures enter a list once it is full: what all of them are asked is a
 * comparison with the last of each list.
 */
function addPictures(kind: KindStatistics, { from }: Piece, made: PieceCodes, { items, seeds, first }: Pictures): void {
  const { max, top, sample, threshold, negative } = kind
  const { max: largest, whereMax, min: lowest, whereMin, count } = made
  const width = count.length
  const nImages = items.length
  for (let own = 0; own < width; own++) {
    const latent = from + own
    const seed = seeds[latent]!
    const lastTop = (latent + 1) * top.k - 1
    const lastSample = (latent + 1) * sample.k - 1
    const lastThreshold = (latent + 1) * threshold.k - 1
    const lastNegative = (latent + 1) * negative.k - 1
    for (let image = 0, at = own; image < nImages; image++, at += width) {
      const score = largest[at]!
      if (score > 0) {
        if (score > max[latent]!) max[latent] = score
        if (-score <= top.keys[lastTop]!) offer(top, latent, -score, items[image]!, whereMax ? first + whereMax[at]! : first)
        if (score <= threshold.keys[lastThreshold]!)
          offer(threshold, latent, score, items[image]!, whereMax ? first + whereMax[at]! : first)
        const hash = itemHash(items[image]!, seed)
        if (hash <= sample.keys[lastSample]!) offer(sample, latent, hash, items[image]!, whereMax ? first + whereMax[at]! : first, score)
      }
      if (lowest[at]! <= negative.keys[lastNegative]!)
        offer(negative, latent, lowest[at]!, items[image]!, whereMin ? first + whereMin[at]! : first)
    }
  }
}

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
