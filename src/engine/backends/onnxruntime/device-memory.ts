/**
 * What weights take in the memory of a device, under a budget in bytes: the least recently used of what no run uses leaves first. It is a ledger and
 * a policy; what lies there says itself how it leaves. Where weights are fed from host memory nothing lies there.
 */

import type { DeviceMemoryUse } from '../backend.js'
import { isOutOfMemory } from '../device-failures.js'
import { backendFailure } from './failures.js'

/** Something in the memory of the device: one weight, or a session that holds weights. */
export interface Occupant {
  readonly bytes: number
  /** Frees its place; it comes back when a run needs it. Called when no run uses it. */
  leave(): Promise<void>
}

export class DeviceMemory {
  readonly #device: string
  readonly #budgetBytes: number
  /** How many runs use each; the one used last is last. */
  readonly #occupants = new Map<Occupant, number>()
  #usedBytes = 0
  #heldBytes = 0
  #nPagedOut = 0

  constructor(device: string, budgetBytes: number) {
    this.#device = device
    this.#budgetBytes = budgetBytes
  }

  get use(): DeviceMemoryUse {
    return { budgetBytes: this.#budgetBytes, usedBytes: this.#usedBytes, nPagedOut: this.#nPagedOut }
  }

  /**
   * Enters it, or marks it as used last; it stays until what is returned is called. Undefined: it does not fit beside what runs use.
   * Whoever enters something calls `makeRoom` before it takes its place.
   */
  hold(occupant: Occupant): (() => void) | undefined {
    const isNew = !this.#occupants.has(occupant)
    return isNew && this.#heldBytes + occupant.bytes > this.#budgetBytes ? undefined : this.enter(occupant)
  }

  /** The same for what is there whether it fits or not. */
  enter(occupant: Occupant): () => void {
    const nUsers = this.#occupants.get(occupant)
    if (nUsers === undefined) this.#usedBytes += occupant.bytes
    if (!nUsers) this.#heldBytes += occupant.bytes
    this.#occupants.delete(occupant)
    this.#occupants.set(occupant, (nUsers ?? 0) + 1)
    return () => this.#letGo(occupant)
  }

  /** Takes it out of the ledger: its owner has freed its place. */
  remove(occupant: Occupant): void {
    const nUsers = this.#occupants.get(occupant)
    if (nUsers === undefined) return
    this.#occupants.delete(occupant)
    this.#usedBytes -= occupant.bytes
    if (nUsers > 0) this.#heldBytes -= occupant.bytes
  }

  /** Back within the budget, as far as what no run uses makes it. */
  async makeRoom(): Promise<void> {
    await this.#evict(() => this.#usedBytes > this.#budgetBytes)
  }

  /** Runs it. Where memory is short, once more without all that no run uses. @throws what `backendFailure` makes of its errors */
  async attempt<T>(doing: string, work: () => Promise<T>): Promise<T> {
    const attempted = async () => {
      try {
        return await work()
      } catch (error) {
        throw backendFailure(error, { device: this.#device, doing })
      }
    }
    try {
      return await attempted()
    } catch (error) {
      if (!isOutOfMemory(error) || (await this.#evict(() => true)) === 0) throw error
      return await attempted()
    }
  }

  /** As long as it is wanted. @returns how many left */
  async #evict(isWanted: () => boolean): Promise<number> {
    let nLeft = 0
    for (const [occupant, nUsers] of this.#occupants) {
      if (!isWanted()) break
      if (nUsers > 0) continue
      this.remove(occupant)
      await occupant.leave()
      nLeft++
      this.#nPagedOut++
    }
    return nLeft
  }

  #letGo(occupant: Occupant): void {
    const nUsers = this.#occupants.get(occupant)
    if (nUsers === undefined) return
    this.#occupants.set(occupant, nUsers - 1)
    if (nUsers === 1) this.#heldBytes -= occupant.bytes
  }
}
