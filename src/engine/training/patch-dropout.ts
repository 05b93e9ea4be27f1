/**
 * Patch dropout: a vision tower that sees some of a picture's patches, the same ones for all pictures of a batch, others in each step. A step
 * costs less, and the tower learns not to rely on any patch. Its parameters are those of the whole tower.
 * Liu et al. (2022), "PatchDropout"; for CLIP, Li et al. (2023), "Scaling Language-Image Pre-training via Masking".
 */

import { GraphBuilder } from '../graph/builder.js'
import { reshape, transpose } from '../graph/expressions.js'
import type { Graph } from '../graph/graph.js'
import { nPatches, nPositions, nPrefixTokens } from '../hook-points.js'
import type { VisionConfig } from '../models/model.js'
import { visionGraph } from '../models/vit.js'
import type { Random } from '../random.js'
import { int64, type Tensor } from '../tensor.js'
import { fedBy } from './extend-graph.js'

/** `[nKept]`, int64: numbers of the patches that are seen, row by row from 0. */
export const keptPatchesInput = 'keptPatches'

/** At least one. @param dropout  the share that is left out, in [0, 1) */
export function nKeptPatches(config: VisionConfig, dropout: number): number {
  return Math.max(1, Math.round(nPatches(config) * (1 - dropout)))
}

/** In order: which patches a step sees. */
export function drawKeptPatches(config: VisionConfig, dropout: number, random: Random): Tensor<'int64'> {
  const kept = random.permutation(nPatches(config)).subarray(0, nKeptPatches(config, dropout))
  return int64(
    [kept.length],
    Array.from(kept).sort((a, b) => a - b),
  )
}

/** Inputs `pixels` `[batch, nChannels, height, width]` and `keptPatches`. The rest is as in `visionGraph`, with fewer positions. */
export function visionGraphOnPatches(config: VisionConfig, dropout: number): Graph {
  const { patchSize } = config
  const nKept = nKeptPatches(config, dropout)
  const strip = visionGraph({ ...config, imageSize: { height: patchSize.height, width: nKept * patchSize.width } })
  const b = new GraphBuilder('kept patches')
  const kept = b.input(keptPatchesInput, 'int64', [nKept])
  const pixels = b.input('pixels', 'float32', ['batch', config.nChannels, config.imageSize.height, config.imageSize.width])
  const front = [
    b.named('kept/pixels', inOneRow(b, pixels, { kept, nKept }, config)),
    b.named('kept/positions', positionsOf(b, kept, config)),
  ]
  return fedBy(strip, b.build(front), { pixels: 'kept/pixels', [positionTable]: 'kept/positions' })
}

const positionTable = 'pos_embed.W_pos'

/** The kept patches beside one another: a picture that is one patch high. */
function inOneRow(b: GraphBuilder, pixels: string, { kept, nKept }: { kept: string; nKept: number }, config: VisionConfig): string {
  const { imageSize, nChannels } = config
  const { height, width } = config.patchSize
  const [nRows, nColumns] = [imageSize.height / height, imageSize.width / width]
  const cut = reshape(b, pixels, [-1, nChannels, nRows, height, nColumns, width])
  const byLine = transpose(b, cut, [0, 1, 3, 2, 4, 5]) // [batch, channel, line of a patch, row, column, pixel of a line]
  const patches = reshape(b, byLine, [-1, nChannels, height, nRows * nColumns, width])
  return reshape(b, b.op('Gather', [patches, kept], { axis: 3 }), [-1, nChannels, height, nKept * width])
}

/** Rows of the whole table: those of CLS and registers, then those of the kept patches. */
function positionsOf(b: GraphBuilder, kept: string, config: VisionConfig): string {
  const table = b.parameter(positionTable, [nPositions(config), config.dModel])
  const nPrefix = nPrefixTokens(config)
  if (nPrefix === 0) return b.op('Gather', [table, kept], { axis: 0 })
  const prefix = b.constant(
    int64(
      [nPrefix],
      Array.from({ length: nPrefix }, (_, index) => index),
    ),
  )
  const ofPatches = b.op('Add', [kept, b.constant(int64([], [nPrefix]))])
  return b.op('Gather', [table, b.op('Concat', [prefix, ofPatches], { axis: 0 })], { axis: 0 })
}
