/** Lengths of vectors. */

/** `|v|`, in float64. */
export function lengthOf(vector: Float32Array | Float64Array): number {
  let squares = 0
  for (let at = 0; at < vector.length; at++) squares += vector[at]! * vector[at]!
  return Math.sqrt(squares)
}

/** `u = v / |v|`, computed in float64 and rounded once. */
export function unitVector(vector: Float32Array): Float32Array {
  const length = lengthOf(vector)
  return vector.map((value) => value / length)
}
