/** Adds to a shard of an index the tokens that are looked at code by code: their histogram, and which latents are active together. */

import { binOfBits, N_BINS } from './activation-bins.js'
import { type CoactiveSample, canEnter, mergeSamples, type SampledToken, sampledToken } from './coactive-sample.js'
import type { IndexCodes } from './index-codes.js'
import type { IndexShard } from './index-shard.js'

/** A token whose codes are looked at one by one. */
export interface SampledRow {
  readonly item: number
  /** Along the studied tokens. */
  readonly token: number
  /** Among those of its kind. */
  readonly row: number
}

/**
 * Changes the histogram of the shard.
 *
 * @param sampled  by kind
 * @param first    position of the first studied token
 * @returns        the shard's co-activation, with these tokens
 */
export function addSampled(
  { histogram, coactive, plan: { seed } }: IndexShard,
  { sampled, codes, first }: { sampled: readonly (readonly SampledRow[])[]; codes: IndexCodes; first: number },
): CoactiveSample {
  const entering: SampledToken[] = []
  for (const [kind, rows] of sampled.entries()) {
    for (const [at, { item, token }] of rows.entries()) {
      const active = codes.active(kind, at)
      const { latents, bits } = active
      for (let n = 0; n < latents.length; n++) histogram[latents[n]! * N_BINS + binOfBits(bits[n]!)]!++
      const drawn = { item, position: first + token, seed }
      if (canEnter(coactive, drawn)) entering.push(sampledToken(active, drawn))
    }
  }
  return mergeSamples(coactive, entering)
}
