/**
 * Singular values by one-sided Jacobi rotations: pairs of columns are turned until all are orthogonal; their lengths are the singular values,
 * the small ones as exact as the large.
 * Demmel and Veselic (1992), "Jacobi's method is more accurate than QR".
 */

import type { Matrix } from './matrix.js'

/** Of the cosine between two columns. */
const ORTHOGONAL = 1e-15
const MOST_SWEEPS = 60

/** Largest first; as many as the matrix has columns. */
export function singularValues({ rows, columns, data }: Matrix): Float64Array {
  const u = Array.from({ length: columns }, (_, column) => Float64Array.from({ length: rows }, (_, row) => data[row * columns + column]!))
  for (let sweep = 0; sweep < MOST_SWEEPS; sweep++) {
    let isDone = true
    for (let p = 0; p < columns - 1; p++) {
      for (let q = p + 1; q < columns; q++) if (rotate(u[p]!, u[q]!)) isDone = false
    }
    if (isDone) break
  }
  return Float64Array.from(u, (column) => Math.sqrt(column.reduce((sum, value) => sum + value * value, 0))).sort((a, b) => b - a)
}

/** Makes two columns orthogonal; false where they are. */
function rotate(a: Float64Array, b: Float64Array): boolean {
  let [alpha, beta, gamma] = [0, 0, 0]
  for (let row = 0; row < a.length; row++) {
    alpha += a[row]! * a[row]!
    beta += b[row]! * b[row]!
    gamma += a[row]! * b[row]!
  }
  if (Math.abs(gamma) <= ORTHOGONAL * Math.sqrt(alpha * beta) || gamma === 0) return false
  const zeta = (beta - alpha) / (2 * gamma)
  const tangent = (zeta >= 0 ? 1 : -1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta))
  const cosine = 1 / Math.sqrt(1 + tangent * tangent)
  const sine = cosine * tangent
  for (let row = 0; row < a.length; row++) {
    const value = a[row]!
    a[row] = cosine * value - sine * b[row]!
    b[row] = sine * value + cosine * b[row]!
  }
  return true
}

/** How a spectrum is spread. */
export interface Spread {
  /** Root of the sum of squares: the Frobenius norm. */
  readonly frobenius: number
  /** The largest: the spectral norm. */
  readonly spectral: number
  /** The exponential of the entropy of the singular values as shares of their sum. Roy and Vetterli (2007). */
  readonly effectiveRank: number
  /** The sum of squares over the largest square. */
  readonly stableRank: number
}

/** @param values  largest first */
export function spreadOf(values: Float64Array): Spread {
  const squares = values.reduce((sum, value) => sum + value * value, 0)
  const sum = values.reduce((total, value) => total + value, 0)
  const spectral = values[0] ?? 0
  if (spectral === 0) return { frobenius: 0, spectral: 0, effectiveRank: 0, stableRank: 0 }
  const entropy = values.reduce((total, value) => (value > 0 ? total - (value / sum) * Math.log(value / sum) : total), 0)
  return { frobenius: Math.sqrt(squares), spectral, effectiveRank: Math.exp(entropy), stableRank: squares / spectral ** 2 }
}
