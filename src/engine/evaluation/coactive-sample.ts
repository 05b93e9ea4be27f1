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

/** Of one token, ascending, with their activations. */
export interface ActiveLatents {
  readonly latents: number[]
  readonly codes: number[]
}

export function sampledToken(
  active: ActiveLatents,
  { item, position, seed }: { item: number; position: number; seed: number },
): SampledToken {
  return { hash: tokenHash(item, position, seed), item, position, latents: Int32Array.from(strongest(active)) }
}

/** Of equals the first. */
function strongest({ latents, codes }: ActiveLatents): readonly number[] {
  if (latents.length <= MOST_LATENTS) return latents
  const least = Float32Array.from(codes).sort()[codes.length - MOST_LATENTS]!
  let nEqual = MOST_LATENTS - codes.filter((code) => code > least).length
  return latents.filter((_, at) => codes[at]! > least || (codes[at] === least && nEqual-- > 0))
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
