/** A = Q R with orthonormal columns of Q: what a tall matrix does to lengths is in the small square R. */

import { type Matrix, matrix } from './matrix.js'

export interface Orthogonalized {
  /** `[rows, columns]`, columns orthonormal; zero where a column of A depends on those before it. */
  readonly q: Matrix
  /** `[columns, columns]`, upper triangular. */
  readonly r: Matrix
}

/** What is left of a column, relative to its length, when it depends on others. */
const DEPENDENT = 1e-13

/**
 * Modified Gram-Schmidt, each column twice: orthonormal to machine precision whatever the condition (Giraud, Langou, Rozloznik 2005).
 * @param a  as many rows as columns, or more
 */
export function orthogonalize({ rows, columns, data }: Matrix): Orthogonalized {
  // columns lie together
  const q = Array.from({ length: columns }, (_, column) => Float64Array.from({ length: rows }, (_, row) => data[row * columns + column]!))
  const r = matrix(columns, columns)
  for (let column = 0; column < columns; column++) {
    const own = q[column]!
    const length = Math.sqrt(dot(own, own))
    for (let pass = 0; pass < 2; pass++) {
      for (let before = 0; before < column; before++) {
        const other = q[before]!
        const share = dot(other, own)
        r.data[before * columns + column]! += share
        for (let row = 0; row < rows; row++) own[row]! -= share * other[row]!
      }
    }
    const left = Math.sqrt(dot(own, own))
    const isDependent = !(left > DEPENDENT * length)
    r.data[column * columns + column] = isDependent ? 0 : left
    for (let row = 0; row < rows; row++) own[row] = isDependent ? 0 : own[row]! / left
  }
  const whole = matrix(rows, columns)
  for (let column = 0; column < columns; column++)
    for (let row = 0; row < rows; row++) whole.data[row * columns + column] = q[column]![row]!
  return { q: whole, r }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let at = 0; at < a.length; at++) sum += a[at]! * b[at]!
  return sum
}
