/** Whether pairs of latents are active in the same images: Pearson's correlation of their pooled activations. */

import type { Analysis } from '../analysis.js'
import { nRowsOf, type Pooling, type SparseRows } from './sparse-rows.js'

export interface CorrelateFeaturesInput {
  /** The same images in both. */
  readonly a: SparseRows
  readonly b: SparseRows
  readonly nLatents: { readonly a: number; readonly b: number }
  readonly pooling: Pooling
  /** By latent of `a` its latent of `b`; -1 where it has none. */
  readonly partners: Int32Array
}

/** By latent of `a`; NaN where it has no partner, or where one of the two does not vary. */
export type CorrelateFeaturesOutput = Float64Array

export const correlateFeatures: Analysis<CorrelateFeaturesInput, CorrelateFeaturesOutput> = {
  cost: ({ nLatents, partners }) => ({ rows: 0, bytes: 8 * (4 * nLatents.a + 4 * nLatents.b + partners.length) }),

  async run(_, { a, b, nLatents, pooling, partners }) {
    const n = nRowsOf(a)
    const ofB = new Float64Array(nLatents.b)
    const products = new Float64Array(nLatents.a)
    for (let row = 0; row < n; row++) {
      for (let entry = b.starts[row]!; entry < b.starts[row + 1]!; entry++) ofB[b.latents[entry]!] = b[pooling][entry]!
      for (let entry = a.starts[row]!; entry < a.starts[row + 1]!; entry++) {
        const latent = a.latents[entry]!
        const partner = partners[latent]!
        if (partner >= 0) products[latent]! += a[pooling][entry]! * ofB[partner]!
      }
      for (let entry = b.starts[row]!; entry < b.starts[row + 1]!; entry++) ofB[b.latents[entry]!] = 0
    }
    const [x, y] = [sums(a, pooling, nLatents.a), sums(b, pooling, nLatents.b)]
    return Float64Array.from(partners, (partner, latent) => {
      if (partner < 0) return Number.NaN
      const [sumX, sumY] = [x.sum[latent]!, y.sum[partner]!]
      const spread = (x.squares[latent]! - sumX ** 2 / n) * (y.squares[partner]! - sumY ** 2 / n)
      return spread > 0 ? (products[latent]! - (sumX * sumY) / n) / Math.sqrt(spread) : Number.NaN
    })
  },
}

function sums(rows: SparseRows, pooling: Pooling, nLatents: number) {
  const [sum, squares] = [new Float64Array(nLatents), new Float64Array(nLatents)]
  for (const [entry, latent] of rows.latents.entries()) {
    const value = rows[pooling][entry]!
    sum[latent]! += value
    squares[latent]! += value * value
  }
  return { sum, squares }
}
