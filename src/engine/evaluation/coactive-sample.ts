/**
 * Which latents are active at the same tokens, from a bounded sample of tokens: those with the smallest hashes, each with its strongest latents.
 */

import type { WeightedIndex } from './feature-record.js'
import { tokenHash } from './sampling.js'

const MOST_TOKENS = 16_384
/** Of a token; what is weaker does not count as active here. */
const MOST_LATENTS = 128
/** Tokens that two features must share at least. */
const LEAST_SHARED = 2

interface SampledToken {
  readonly hash: number
  readonly item: number
  readonly position: number
  /** Ascending. */
  readonly latents: Int32Array
}

/** In order of hash, item, position. */
export type CoactiveSample = readonly SampledToken[]

export const emptySample: CoactiveSample = []

export function mergeSamples(a: CoactiveSample, b: CoactiveSample): CoactiveSample {
  return [...a, ...b].sort((x, y) => x.hash - y.hash || x.item - y.item || x.position - y.position).slice(0, MOST_TOKENS)
}

/** @param codes  `[dSae]`, of one token */
export function sampledToken(
  codes: Float32Array,
  { item, position, seed }: { item: number; position: number; seed: number },
): SampledToken {
  const active: number[] = []
  for (let latent = 0; latent < codes.length; latent++) if (codes[latent]! > 0) active.push(latent)
  if (active.length > MOST_LATENTS) active.sort((a, b) => codes[b]! - codes[a]! || a - b)
  return { hash: tokenHash(item, position, seed), item, position, latents: Int32Array.from(active.slice(0, MOST_LATENTS)).sort() }
}

/** Of every latent those with the largest Jaccard index: tokens at which both are active over tokens at which either is. */
export function coactiveLatents(sample: CoactiveSample, dSae: number, most: number): (latent: number) => WeightedIndex[] {
  const counts = new Int32Array(dSae)
  for (const { latents } of sample) for (const latent of latents) counts[latent]!++
  const tokensOf: number[][] = Array.from({ length: dSae }, () => [])
  for (const [token, { latents }] of sample.entries()) for (const latent of latents) tokensOf[latent]!.push(token)
  const shared = new Int32Array(dSae)
  return (latent) => {
    const met: number[] = []
    for (const token of tokensOf[latent]!) {
      for (const other of sample[token]!.latents) if (shared[other]!++ === 0) met.push(other)
    }
    const found = met
      .filter((other) => other !== latent && shared[other]! >= LEAST_SHARED)
      .map((index) => ({ index, value: shared[index]! / (counts[latent]! + counts[index]! - shared[index]!) }))
    for (const other of met) shared[other] = 0
    return found.sort((a, b) => b.value - a.value || a.index - b.index).slice(0, most)
  }
}
