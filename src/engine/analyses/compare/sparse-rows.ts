/** Activations of an SAE's latents, one row for each image, of which only those above 0 are kept. */

export interface SparseRows {
  /** Row `r` has the entries from `starts[r]` to `starts[r + 1]`. */
  readonly starts: Int32Array
  /** Which latent; ascending within a row. */
  readonly latents: Int32Array
  /** Its largest activation over the positions that are read. */
  readonly max: Float32Array
  /** Its mean activation over them. */
  readonly mean: Float32Array
  /** By row: what the decoder's output is multiplied by, on average, to undo the normalisation of the SAE's input; 1 where it has none. */
  readonly scale: Float32Array
}

export const poolings = ['max', 'mean'] as const

/** How activations at several positions become one number of an image. */
export type Pooling = (typeof poolings)[number]

export const nRowsOf = ({ starts }: SparseRows) => starts.length - 1

/** Rows one below the other. */
export function joinSparseRows(parts: readonly SparseRows[]): SparseRows {
  const nEntries = parts.reduce((sum, { latents }) => sum + latents.length, 0)
  const nRows = parts.reduce((sum, part) => sum + nRowsOf(part), 0)
  const [starts, latents] = [new Int32Array(nRows + 1), new Int32Array(nEntries)]
  const [max, mean, scale] = [new Float32Array(nEntries), new Float32Array(nEntries), new Float32Array(nRows)]
  let [entry, row] = [0, 0]
  for (const part of parts) {
    latents.set(part.latents, entry)
    max.set(part.max, entry)
    mean.set(part.mean, entry)
    scale.set(part.scale, row)
    for (let at = 1; at <= nRowsOf(part); at++) starts[row + at] = entry + part.starts[at]!
    entry += part.latents.length
    row += nRowsOf(part)
  }
  return { starts, latents, max, mean, scale }
}

/** Some of the rows, in the order given. */
export function takeSparseRows(rows: SparseRows, indices: readonly number[]): SparseRows {
  return joinSparseRows(
    indices.map((index) => {
      const [from, to] = [rows.starts[index]!, rows.starts[index + 1]!]
      return {
        starts: Int32Array.of(0, to - from),
        latents: rows.latents.subarray(from, to),
        max: rows.max.subarray(from, to),
        mean: rows.mean.subarray(from, to),
        scale: rows.scale.subarray(index, index + 1),
      }
    }),
  )
}

/** The values of one latent where it is active, in the order of the rows. */
export function valuesOf(rows: SparseRows, latent: number, pooling: Pooling): Float64Array {
  const values: number[] = []
  for (const [entry, each] of rows.latents.entries()) if (each === latent) values.push(rows[pooling][entry]!)
  return Float64Array.from(values)
}
