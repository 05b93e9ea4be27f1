/**
 * The server's memory, where the weights of all devices are (accelerators hold copies). One device shares it with prepared pictures and
 * activation caches. Several have a fixed part each: then what one of them evicts is gone before what it made room for comes, and none
 * waits for what another one uses.
 */

import { MemoryBudget, type ResidentKind } from './memory-budget.js'

export interface DividedMemory {
  /** Over prepared pictures and activation caches. */
  readonly shared: MemoryBudget
  /** Over weights, programs and runs of each device; of a single one, the shared one. */
  readonly devices: readonly MemoryBudget[]
}

/** What can be made again in milliseconds may not push out what takes seconds. */
const shares: Partial<Record<ResidentKind, number>> = { picture: 0.25, cache: 0.5 }

/** For pictures and caches, where there are several devices. */
const SHARED_PART = 1 / 4

export function divideMemory(budgetBytes: number, nDevices: number): DividedMemory {
  if (nDevices === 1) {
    const shared = new MemoryBudget({ budgetBytes, shares })
    return { shared, devices: [shared] }
  }
  const shared = new MemoryBudget({ budgetBytes: Math.floor(budgetBytes * SHARED_PART) })
  const part = Math.floor((budgetBytes - shared.budgetBytes) / nDevices)
  return { shared, devices: Array.from({ length: nDevices }, () => new MemoryBudget({ budgetBytes: part })) }
}
