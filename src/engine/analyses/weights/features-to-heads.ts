/**
 * How strongly the queries, keys and values of heads read what features write to the residual stream, by weights alone: the length of W r for a
 * row r of the decoder made of length 1, through LayerNorm 1 without its scale.
 */

import { GraphBuilder } from '../../graph/builder.js'
import { normOver, square, sumOver, wholes } from '../../graph/expressions.js'
import { float32, int64, type Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import { readThrough, requireWriter } from '../residual-path.js'
import { decoderRows } from './decoder-rows.js'
import { headFactors } from './head-factors.js'
import { norm } from './linear-algebra/matrix.js'

export interface FeaturesToHeadsInput {
  readonly latents: readonly number[]
  /** Whose heads read; after the features are written. */
  readonly layers: readonly number[]
  /** Of the model, so that `cost` knows. */
  readonly dModel: number
}

export interface HeadReadings {
  /** `[latents, layers, heads]` */
  readonly lengths: Tensor<'float32'>
  /** `[layers, heads]`: the root mean square over rows turned at random, the Frobenius norm over sqrt(dModel). */
  readonly expected: Tensor<'float32'>
}

export type FeaturesToHeadsOutput = Readonly<Record<'q' | 'k' | 'v', HeadReadings>>

const letters = ['q', 'k', 'v'] as const

/** The bench has one SAE. */
export const featuresToHeads: Analysis<FeaturesToHeadsInput, FeaturesToHeadsOutput> = {
  cost: ({ latents, dModel }) => ({ rows: 0, bytes: 40 * dModel * latents.length + 100 * dModel ** 2 }),

  async run(bench, { latents, layers }) {
    const [sae] = bench.saes as [(typeof bench.saes)[number]]
    requireWriter(sae, bench)
    const { nHeads, dHead, dModel } = bench.model.config
    const found = new Map(
      letters.map((letter) => [letter, { lengths: new Float32Array(latents.length * layers.length * nHeads), expected: [] as number[] }]),
    )
    for (const [layerAt, layer] of layers.entries()) {
      const program = await bench.ready(`featuresToHeads ${layer}`, () => {
        const b = new GraphBuilder('features to heads')
        const rows = decoderRows(b, { config: sae.config, index: 0 })
        const unit = b.op('Div', [rows, b.op('Max', [normOver(b, rows, -1), b.constant(float32([], [1e-30]))])])
        const arriving = readThrough(b, unit, { norm: `blocks.${layer}.ln1`, model: bench.model })
        return b.build(
          letters.map((letter) => {
            const weight = b.parameter(`blocks.${layer}.attn.W_${letter.toUpperCase()}`, [nHeads * dHead, dModel])
            const byHead = b.op('Reshape', [b.op('Gemm', [arriving, weight], { transB: 1 }), wholes(b, [-1, nHeads, dHead])])
            return b.named(letter, b.op('Sqrt', [sumOver(b, square(b, byHead), 2, 0)]))
          }),
        )
      })
      const made = await program.run({ latents: int64([latents.length], latents) })
      const factors = await headFactors(bench, layer)
      for (const letter of letters) {
        const { lengths, expected } = found.get(letter)!
        for (let row = 0; row < latents.length; row++) {
          lengths.set(made[letter]!.data.subarray(row * nHeads, (row + 1) * nHeads), (row * layers.length + layerAt) * nHeads)
        }
        expected.push(...factors.map((head) => norm(head[letter]) / Math.sqrt(dModel)))
      }
    }
    const readings = (letter: (typeof letters)[number]): HeadReadings => ({
      lengths: float32([latents.length, layers.length, nHeads], found.get(letter)!.lengths),
      expected: float32([layers.length, nHeads], found.get(letter)!.expected),
    })
    return { q: readings('q'), k: readings('k'), v: readings('v') }
  },
}
