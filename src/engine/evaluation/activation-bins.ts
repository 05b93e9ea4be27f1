/** Fixed bins of activations, four to the octave: histograms of any data sets add up. The bin is read off a float32's exponent and mantissa. */

import type { ActivationHistogram } from './feature-record.js'

/** From 2^-14 to 2^10. */
const FIRST_OCTAVE = -14
const N_OCTAVES = 24
export const N_BINS = 4 * N_OCTAVES
const EXPONENT_BIAS = 127

/** The same memory. */
export const bitsOf = ({ buffer, byteOffset, length }: Float32Array) => new Int32Array(buffer, byteOffset, length)

/** @param bits  a float32 above 0, as an int32 */
export function binOfBits(bits: number): number {
  const bin = (bits >> 21) - 4 * (EXPONENT_BIAS + FIRST_OCTAVE)
  return bin < 0 ? 0 : bin >= N_BINS ? N_BINS - 1 : bin
}

/** Where the bins of a histogram begin and the last one ends; none of a feature that is never active. */
export function binEdges({ firstBin, counts }: ActivationHistogram): number[] {
  return counts.length === 0 ? [] : Array.from({ length: counts.length + 1 }, (_, at) => binStart(firstBin + at))
}

/** Four bins to the octave: bin `b` begins at 2^e (1 + q/4) with e = floor(b / 4), q = b mod 4. */
function binStart(bin: number): number {
  const octave = Math.floor(bin / 4)
  return 2 ** octave * (1 + (bin - 4 * octave) / 4)
}

/** @param counts  `[dSae, N_BINS]` */
export function histogramOf(counts: Int32Array, feature: number): ActivationHistogram {
  const own = counts.subarray(feature * N_BINS, (feature + 1) * N_BINS)
  const first = own.findIndex((count) => count > 0)
  if (first < 0) return { firstBin: 0, counts: [] }
  const last = own.findLastIndex((count) => count > 0)
  return { firstBin: first + 4 * FIRST_OCTAVE, counts: Array.from(own.subarray(first, last + 1)) }
}
