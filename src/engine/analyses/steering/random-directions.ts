/** Directions that mean nothing, for comparison: uniform over the sphere, the same for the same seed. */

import { createRandom } from '../../random.js'
import { lengthOf } from '../../vectors.js'

/** @returns  `n` directions of this length (how many numbers) and norm; a longer list begins with the shorter one */
export function randomDirections(n: number, { seed, length, norm }: { seed: number; length: number; norm: number }): Float32Array[] {
  const random = createRandom(seed)
  return Array.from({ length: n }, (_, index) => {
    const own = random.fork(`direction ${index}`)
    const drawn = Float64Array.from({ length }, () => own.normal())
    const factor = norm / lengthOf(drawn)
    return Float32Array.from(drawn, (value) => value * factor)
  })
}

/** Directions of equal norm by group, which can be compared with the same random ones. Norms that differ by rounding alone are equal. */
export function byNorm(vectors: readonly Float32Array[]): readonly { readonly norm: number; readonly members: readonly number[] }[] {
  const groups: { norm: number; members: number[] }[] = []
  for (const [index, vector] of vectors.entries()) {
    const norm = lengthOf(vector)
    const found = groups.find((group) => Math.abs(group.norm - norm) <= SAME_NORM * norm)
    if (found) found.members.push(index)
    else groups.push({ norm, members: [index] })
  }
  return groups
}

/** Rows of a decoder that were made unit vectors in float32. */
const SAME_NORM = 1e-5
