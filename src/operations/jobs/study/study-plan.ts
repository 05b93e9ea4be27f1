/** How a study is cut into shards: SAEs in groups that fit into memory together, and for each group the batches in ranges. */

export interface StudyShard {
  /** Of the input's SAEs: `[from, to)`. */
  readonly saes: readonly [number, number]
  /** Of the batches of the data set: `[from, to)`. */
  readonly batches: readonly [number, number]
  readonly [key: string]: readonly [number, number]
}

export interface StudySize {
  /** What each SAE takes while it is looked at. */
  readonly bytes: readonly number[]
  /** What those of a group may take together; an SAE that takes more is a group of its own. */
  readonly groupBytes: number
  readonly nBatches: number
  /** At most so many for each group. */
  readonly nRanges: number
}

/** Groups in order, in each the ranges in order: every batch once for every SAE. */
export function studyShards({ bytes, groupBytes, nBatches, nRanges }: StudySize): StudyShard[] {
  const n = Math.min(nRanges, nBatches)
  const edge = (range: number) => Math.floor((range * nBatches) / n)
  return groups(bytes, groupBytes).flatMap((saes) =>
    Array.from({ length: n }, (_, range): StudyShard => ({ saes, batches: [edge(range), edge(range + 1)] })),
  )
}

function groups(bytes: readonly number[], most: number): (readonly [number, number])[] {
  const made: [number, number][] = []
  let total = 0
  for (const [index, own] of bytes.entries()) {
    const last = made.at(-1)
    if (last && total + own <= most) {
      last[1] = index + 1
      total += own
    } else {
      made.push([index, index + 1])
      total = own
    }
  }
  return made
}

/** The other half is for the model, pictures, and what a server beside it has in memory. */
export const groupBytes = ({ memoryMb }: { readonly memoryMb: number }): number => memoryMb * 2 ** 19

export function nPicturesOf({ pictures }: { readonly pictures?: number }, nItems: number): number {
  return Math.min(pictures ?? nItems, nItems)
}
