/**
 * Which features tell two sets of images apart: every feature's activations in the one against those in the other, by ranks and by means, with
 * the rate of false discoveries among all that are tested.
 */

import type { Analysis } from '../analysis.js'
import { nRowsOf, type Pooling, type SparseRows } from './sparse-rows.js'
import { falseDiscoveryRates } from './statistics/false-discovery.js'
import { rankTests } from './statistics/rank-test.js'
import { type Separation, separation } from './statistics/two-samples.js'

export interface SeparateFeaturesInput {
  readonly a: SparseRows
  readonly b: SparseRows
  readonly nLatents: number
  readonly pooling: Pooling
  /**
   * Features active in a smaller share of all images are not tested. Of all, whichever set they are in: a selection that knew of the sets would
   * make the p-values wrong.
   */
  readonly minFrequency: number
  /** How many of those that separate best are told of. */
  readonly limit: number
}

export interface SeparatingFeature extends Separation {
  readonly latent: number
  /** Benjamini and Hochberg's q-value. */
  readonly falseDiscoveryRate: number
  /** Mean over images and positions, whatever the pooling, in what the decoder is multiplied by: activations times the SAE's output scale. */
  readonly decoded: { readonly a: number; readonly b: number }
}

export interface SeparateFeaturesOutput {
  /** Features that are active in some image, and those of them that were tested. */
  readonly nActive: number
  readonly nTested: number
  /** Tested features with a false discovery rate of at most 5%. */
  readonly nDiscoveries: number
  /** The area farthest from 1/2 first, then the larger effect. */
  readonly features: readonly SeparatingFeature[]
}

const DISCOVERY = 0.05
/** Tested without a pause. */
const LATENTS_AT_ONCE = 1024

export const separateFeatures: Analysis<SeparateFeaturesInput, SeparateFeaturesOutput> = {
  // by latent as well as by image
  cost: ({ a, b, nLatents }) => ({ rows: 0, bytes: 40 * (a.latents.length + b.latents.length) + 24 * nLatents }),

  async run(bench, { a, b, nLatents, pooling, minFrequency, limit }) {
    const [ofA, ofB] = [byLatent(a, { nLatents, pooling }), byLatent(b, { nLatents, pooling })]
    const [nA, nB] = [nRowsOf(a), nRowsOf(b)]
    const rankTest = rankTests()
    const tested: { readonly latent: number; readonly found: Separation }[] = []
    let nActive = 0
    for (let latent = 0; latent < nLatents; latent++) {
      if (latent % LATENTS_AT_ONCE === 0) await bench.stillWanted()
      const values = { a: ofA.values(latent), b: ofB.values(latent) }
      const active = values.a.length + values.b.length
      if (active > 0) nActive++
      if (active === 0 || active < minFrequency * (nA + nB)) continue
      tested.push({ latent, found: separation({ nA, nB, a: values.a.sort(), b: values.b.sort() }, rankTest) })
    }
    const rates = falseDiscoveryRates(Float64Array.from(tested, ({ found }) => found.pValue))
    const features = tested
      .map(({ latent, found }, at) => ({ ...found, latent, falseDiscoveryRate: rates[at]! }))
      .sort((x, y) => distance(y) - distance(x) || effect(y) - effect(x) || x.latent - y.latent)
      .slice(0, limit)
      .map((feature) => ({ ...feature, decoded: { a: ofA.decoded(feature.latent), b: ofB.decoded(feature.latent) } }))
    return { nActive, nTested: tested.length, nDiscoveries: rates.filter((rate) => rate <= DISCOVERY).length, features }
  },
}

const distance = ({ auroc }: Separation) => Math.abs(auroc - 0.5)
const effect = ({ cohensD }: Separation) => Math.abs(cohensD ?? 0)

/** The entries of rows, latent by latent. */
function byLatent(rows: SparseRows, { nLatents, pooling }: { readonly nLatents: number; readonly pooling: Pooling }) {
  const { starts, latents, scale } = rows
  const from = new Int32Array(nLatents + 1)
  for (const latent of latents) from[latent + 1]!++
  for (let latent = 0; latent < nLatents; latent++) from[latent + 1]! += from[latent]!
  const next = from.slice(0, nLatents)
  const pooled = new Float64Array(latents.length)
  const decoded = new Float64Array(nLatents)
  for (let row = 0; row + 1 < starts.length; row++) {
    for (let entry = starts[row]!; entry < starts[row + 1]!; entry++) {
      const latent = latents[entry]!
      pooled[next[latent]!++] = rows[pooling][entry]!
      decoded[latent]! += (rows.mean[entry]! * scale[row]!) / nRowsOf(rows)
    }
  }
  return {
    values: (latent: number) => pooled.subarray(from[latent]!, from[latent + 1]!),
    decoded: (latent: number) => decoded[latent]!,
  }
}
