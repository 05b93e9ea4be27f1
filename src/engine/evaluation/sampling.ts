/** Random samples that everybody draws alike: by a hash of what is drawn, so that they do not depend on the order in which it is seen. */

import { createRandom } from '../random.js'

/** In which order `count` of `size` pictures are looked at; all of them unless said. Data sets are often sorted, and batches should not be. */
export function pictureOrder(seed: number, size: number, count = size): Uint32Array {
  return createRandom(seed).fork('pictures').permutation(size).subarray(0, count)
}

/** One for each feature. */
export function featureSeeds(seed: number, dSae: number): Int32Array {
  const random = createRandom(seed).fork('features')
  return Int32Array.from({ length: dSae }, () => random.bits() | 0)
}

/** 24 bits, which a float32 holds. */
export function itemHash(item: number, featureSeed: number): number {
  return mix(Math.imul(item, 0x9e3779b1) ^ featureSeed) >>> 8
}

/** 32 bits. */
export function tokenHash(item: number, position: number, seed: number): number {
  return mix(Math.imul(item, 0x9e3779b1) ^ mix(Math.imul(position + 1, 0x85ebca77) ^ seed)) >>> 0
}

/** The finaliser of MurmurHash3. */
function mix(word: number): number {
  let mixed = word ^ (word >>> 16)
  mixed = Math.imul(mixed, 0x85ebca6b)
  mixed ^= mixed >>> 13
  mixed = Math.imul(mixed, 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}

/** Of `n` tokens the `count` that are sampled of an item, ascending. */
export function sampledTokens(item: number, { n, count, seed }: { n: number; count: number; seed: number }): number[] {
  const tokens = Array.from({ length: n }, (_, token) => token)
  if (count >= n) return tokens
  const hashes = tokens.map((token) => tokenHash(item, token, seed))
  return tokens
    .sort((a, b) => hashes[a]! - hashes[b]! || a - b)
    .slice(0, count)
    .sort((a, b) => a - b)
}
