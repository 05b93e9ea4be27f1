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

export interface SampledToken {
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

/** Of one token: those above 0, ascending, with their activations as the bits of float32, which are in the same order. */
export interface ActiveLatents {
  readonly latents: Int32Array
  readonly bits: Int32Array
}

interface DrawnToken {
  readonly item: number
  readonly position: number
  readonly seed: number
}

/** Whether a token may be one of those that are kept; most of a large data set are not. */
export function canEnter(sample: CoactiveSample, { item, position, seed }: DrawnToken): boolean {
  return sample.length < MOST_TOKENS || tokenHash(item, position, seed) <= sample.at(-1)!.hash
}

export function sampledToken(active: ActiveLatents, { item, position, seed }: DrawnToken): SampledToken {
  return { hash: tokenHash(item, position, seed), item, position, latents: strongest(active) }
}

/** Of equals the first. */
function strongest({ latents, bits }: ActiveLatents): Int32Array {
  if (latents.length <= MOST_LATENTS) return latents.slice()
  const least = bits.slice().sort()[bits.length - MOST_LATENTS]!
  let nEqual = MOST_LATENTS
  for (const own of bits) if (own > least) nEqual--
  return latents.filter((_, at) => bits[at]! > least || (bits[at] === least && nEqual-- > 0))
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
