/**
 * In which order an epoch takes the items of a data set, and which of them are a batch together. Depends on the random numbers of the epoch
 * alone, so that a run that is resumed goes on with the batches it would have had.
 */

import type { Random } from '../random.js'

export interface EpochPlan {
  readonly size: number
  readonly batchSize: number
  /** Leave out what does not fill a batch (others each epoch). */
  readonly dropLast: boolean
  /** For each item its group; no two items of a group are in one batch. */
  readonly groups?: readonly (string | number)[]
}

export function batchesPerEpoch({ size, batchSize, dropLast }: EpochPlan): number {
  return dropLast ? Math.floor(size / batchSize) : Math.ceil(size / batchSize)
}

/** Items of the largest group: an epoch needs at least as many batches. */
export function largestGroup(groups: readonly (string | number)[]): { readonly group: string | number; readonly size: number } {
  let largest = { group: groups[0]!, size: 0 }
  const sizes = new Map<string | number, number>()
  for (const group of groups) {
    const size = (sizes.get(group) ?? 0) + 1
    sizes.set(group, size)
    if (size > largest.size) largest = { group, size }
  }
  return largest
}

/** @param random  undefined: as the data set has them. @returns the items of each batch */
export function epochBatches(plan: EpochPlan, random: Random | undefined): Uint32Array[] {
  const { size, batchSize, groups } = plan
  const order = random?.permutation(size) ?? Uint32Array.from({ length: size }, (_, index) => index)
  const nBatches = batchesPerEpoch(plan)
  if (groups === undefined) return Array.from({ length: nBatches }, (_, batch) => order.slice(batch * batchSize, (batch + 1) * batchSize))
  return dealt(grouped(order, groups), nBatches, Math.min(size, nBatches * batchSize))
}

/** Items of a group one after the other, groups in the order of their first item. */
function grouped(order: Uint32Array, groups: readonly (string | number)[]): Uint32Array {
  const members = new Map<string | number, number[]>()
  for (const item of order) {
    const group = members.get(groups[item]!)
    if (group) group.push(item)
    else members.set(groups[item]!, [item])
  }
  return Uint32Array.from([...members.values()].flat())
}

/** As cards are dealt: neighbours go to different batches, so members of a group do, where there are no more of them than batches. */
function dealt(order: Uint32Array, nBatches: number, nDealt: number): Uint32Array[] {
  return Array.from({ length: nBatches }, (_, batch) => {
    const length = Math.ceil((nDealt - batch) / nBatches)
    return Uint32Array.from({ length }, (_, round) => order[round * nBatches + batch]!)
  })
}
