/**
 * Virtual weights between the features of two SAEs: what a downstream feature's pre-activation gains when an upstream feature is active by 1, through
 * the residual stream alone. The row that the upstream feature writes, times the encoder's column of the downstream one; where a LayerNorm
 * is in between, its gain and its taking of the mean count, and its scale is left out (as if it were 1), so that edges of one reader can be
 * compared, and those of different ones by their cosines.
 * Elhage et al. (2021), virtual weights; Dunefsky, Chlenski and Nanda (2024), between transcoders.
 */

import { GraphBuilder } from '../../graph/builder.js'
import { normOver, square, sumOver, wholes } from '../../graph/expressions.js'
import { saePrefix } from '../../saes/attach-saes.js'
import type { Analysis } from '../analysis.js'
import { asRead, asWritten, readThrough, requireReader, requireWriter } from '../residual-path.js'
import type { Workbench } from '../workbench.js'
import { blockBytes, decoderRows, everyIndex, inBlocks, requireFinite, rowsOfBlock } from './decoder-rows.js'

export interface VirtualWeightsInput {
  /** Upstream latents; absent: all of them. */
  readonly latents?: readonly number[]
  /** Edges that are kept: of each latent, or where none are named of all together. Those with the largest weights, of either sign. */
  readonly topK: number
  /** Latents of the two SAEs, so that `cost` knows. */
  readonly widths: readonly [upstream: number, downstream: number]
}

export interface VirtualWeight {
  /** Upstream latent. */
  readonly from: number
  /** Downstream latent. */
  readonly to: number
  readonly weight: number
  /** Of the row as it arrives with the encoder's column. */
  readonly cosine: number
}

/** The bench has two SAEs: upstream, downstream. Edges by latent in the order asked for, or all by size; largest first. */
export const virtualWeights: Analysis<VirtualWeightsInput, readonly VirtualWeight[]> = {
  cost: ({ latents, topK, widths: [up, down] }) => ({
    rows: 0,
    bytes:
      blockBytes(down, { copies: 4 }) +
      8 * down +
      100 * (latents ? latents.length * topK : 8 * topK + rowsOfBlock(down) * Math.min(topK, up)),
  }),

  async run(bench, { latents, topK }) {
    const [upstream, downstream] = bench.saes as [Workbench['saes'][number], Workbench['saes'][number]]
    requireWriter(upstream, bench)
    const reading = requireReader(upstream, downstream, bench)
    const { dSae, dIn } = downstream.config
    const k = Math.min(topK, dSae)
    const program = await bench.ready(`virtualWeights ${k}`, () => {
      const b = new GraphBuilder('virtual weights')
      const rows = asWritten(b, decoderRows(b, { config: upstream.config, index: 0 }), { config: upstream.config, prefix: saePrefix(0) })
      const arriving = asRead(b, readThrough(b, rows, { ...reading, model: bench.model }), {
        config: downstream.config,
        prefix: saePrefix(1),
      })
      const weights = b.op('Gemm', [arriving, b.parameter(`${saePrefix(1)}W_enc`, [dIn, dSae])])
      const [, indices] = b.opMany('TopK', [b.op('Abs', [weights]), wholes(b, [k])], { nOutputs: 2, attributes: { axis: -1 } })
      return b.build([
        b.named('weights', b.op('GatherElements', [weights, indices!], { axis: 1 })),
        b.named('indices', b.op('Cast', [indices!], { to: 'int32' })),
        b.named('lengths', normOver(b, arriving, -1, 0)),
      ])
    })
    const columns = await encoderNorms(bench)
    const asked = latents ?? everyIndex(upstream.config.dSae)
    const edges: VirtualWeight[] = []
    await inBlocks(asked, rowsOfBlock(dSae), async ({ latents: rows, indices }) => {
      const made = await program.run({ latents: rows })
      requireFinite(made.lengths!.data, { key: upstream.key, what: 'decoder' })
      for (const [at, from] of indices.entries()) {
        for (let rank = 0; rank < k; rank++) {
          const to = made.indices!.data[at * k + rank]!
          const weight = made.weights!.data[at * k + rank]!
          const length = made.lengths!.data[at]! * columns[to]!
          edges.push({ from, to, weight, cosine: length > 0 ? weight / length : 0 })
        }
      }
      if (latents === undefined && edges.length > 4 * topK) keepLargest(edges, topK)
    })
    if (latents === undefined) keepLargest(edges, topK)
    return edges
  },
}

function keepLargest(edges: VirtualWeight[], most: number): void {
  edges.sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight) || a.from - b.from || a.to - b.to)
  edges.splice(most)
}

/** Of the second SAE's encoder, by latent. */
async function encoderNorms(bench: Workbench): Promise<Float32Array> {
  const { config, key } = bench.saes[1]!
  const { dSae, dIn } = config
  const program = await bench.ready('encoderNorms 1', () => {
    const b = new GraphBuilder('encoder norms')
    const columns = b.parameter(`${saePrefix(1)}W_enc`, [dIn, dSae])
    return b.build([b.named('norms', b.op('Sqrt', [sumOver(b, square(b, columns), 0, 0)]))])
  })
  const norms = (await program.run({})).norms!.data
  requireFinite(norms, { key, what: 'encoder' })
  return norms
}
