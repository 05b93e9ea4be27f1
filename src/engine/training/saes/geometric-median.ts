/** The point with the least sum of distances to the rows of a matrix: a mean that outliers do not move. */

/** As in ViT-Prisma. */
const settings = { maxIterations: 200, leastDistance: 1e-6, tolerance: 1e-20 }

/**
 * Weiszfeld's algorithm, from the mean.
 * @param rows  `[n, width]`, row-major
 */
export function geometricMedian(rows: Float32Array, width: number): Float32Array {
  const weights = new Float64Array(rows.length / width).fill(1)
  let median = weightedMean(rows, width, weights)
  let objective = distances(rows, median, weights)
  for (let iteration = 0; iteration < settings.maxIterations; iteration++) {
    for (let row = 0; row < weights.length; row++) weights[row] = 1 / Math.max(weights[row]!, settings.leastDistance)
    median = weightedMean(rows, width, weights)
    const before = objective
    objective = distances(rows, median, weights)
    if (Math.abs(before - objective) <= settings.tolerance * objective) break
  }
  return Float32Array.from(median)
}

export function meanOfRows(rows: Float32Array, width: number): Float32Array {
  return Float32Array.from(weightedMean(rows, width, new Float64Array(rows.length / width).fill(1)))
}

function weightedMean(rows: Float32Array, width: number, weights: Float64Array): Float64Array {
  const sum = new Float64Array(width)
  let total = 0
  for (let row = 0, at = 0; row < weights.length; row++) {
    const weight = weights[row]!
    total += weight
    for (let column = 0; column < width; column++, at++) sum[column]! += weight * rows[at]!
  }
  return sum.map((value) => value / total)
}

/** Puts the distances of the rows to a point into `into`. @returns their mean */
function distances(rows: Float32Array, point: Float64Array, into: Float64Array): number {
  const width = point.length
  let total = 0
  for (let row = 0, at = 0; row < into.length; row++) {
    let squares = 0
    for (let column = 0; column < width; column++, at++) squares += (rows[at]! - point[column]!) ** 2
    into[row] = Math.sqrt(squares)
    total += into[row]!
  }
  return total / into.length
}
