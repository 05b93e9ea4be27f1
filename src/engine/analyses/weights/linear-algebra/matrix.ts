/** Small dense matrices in float64, for what is computed of weights alone: heads' factors, and what they make together. */

export interface Matrix {
  readonly rows: number
  readonly columns: number
  /** Row by row. */
  readonly data: Float64Array
}

export function matrix(rows: number, columns: number, data: Float64Array = new Float64Array(rows * columns)): Matrix {
  return { rows, columns, data }
}

export function transpose({ rows, columns, data }: Matrix): Matrix {
  const result = matrix(columns, rows)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) result.data[c * rows + r] = data[r * columns + c]!
  return result
}

/** a b */
export function multiply(a: Matrix, b: Matrix): Matrix {
  const result = matrix(a.rows, b.columns)
  const width = b.columns
  for (let r = 0; r < a.rows; r++) {
    for (let k = 0; k < a.columns; k++) {
      const factor = a.data[r * a.columns + k]!
      if (factor === 0) continue
      const from = k * width
      const to = r * width
      for (let c = 0; c < width; c++) result.data[to + c]! += factor * b.data[from + c]!
    }
  }
  return result
}

/** Frobenius: the root of the sum of squares. */
export function norm({ data }: Matrix): number {
  return Math.sqrt(data.reduce((sum, value) => sum + value * value, 0))
}
