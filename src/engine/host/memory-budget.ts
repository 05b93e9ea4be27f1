/**
 * One budget in bytes over everything the engine keeps: models, compiled programs, activation caches, prepared pictures and the
 * working memory of the run in flight. It is a ledger and a policy, not an allocator: whoever keeps something reserves its bytes first and
 * gives an `evict` that lets go of it. Room is made by evicting the least recently used of what nothing has pinned.
 *
 * Two laws hold after every call (see the property test): what is pinned is never evicted, and `usedBytes <= budgetBytes` unless all that
 * is left is pinned.
 */

import { EngineError, invariant } from '../errors.js'

/** `run` is working memory: pinned while a run lasts, then gone. */
export const residentKinds = ['model', 'sae', 'program', 'run', 'cache', 'picture'] as const
export type ResidentKind = (typeof residentKinds)[number]

export interface Resident {
  /** Unique over all kinds, `model:clip@1a2b`. */
  readonly id: string
  readonly kind: ResidentKind
  readonly bytes: number
}

export interface Reservation extends Resident {
  /** Named in MEMORY_EXCEEDED: `Model "clip"`. */
  readonly what: string
  /** Lets go of the memory. Called once, when room is needed; not by `release`. */
  readonly evict: () => void
}

export interface MemoryBudgetOptions {
  readonly budgetBytes: number
  /**
   * The most of the budget, from 0 to 1, that a kind may fill. A kind over its share evicts its own first, so that a stream of pictures
   * does not push out the models that look at them. Default: all of it.
   */
  readonly shares?: Partial<Record<ResidentKind, number>>
}

export class MemoryBudget {
  readonly budgetBytes: number
  readonly #shares: Partial<Record<ResidentKind, number>>
  /** A Map iterates in order of insertion: re-inserting on use makes it least recently used first. */
  readonly #residents = new Map<string, Reservation>()
  /** By id, which need not be resident (yet): a waiting request pins the model it is going to load. */
  readonly #pins = new Map<string, number>()
  readonly #whenIdle = new Map<string, (() => void)[]>()
  #usedBytes = 0

  constructor({ budgetBytes, shares = {} }: MemoryBudgetOptions) {
    this.budgetBytes = budgetBytes
    this.#shares = shares
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  has(id: string): boolean {
    return this.#residents.has(id)
  }

  isPinned(id: string): boolean {
    return this.#pins.has(id)
  }

  /** Least recently used first. */
  residents(kind?: ResidentKind): readonly Resident[] {
    return [...this.#residents.values()].filter((resident) => kind === undefined || resident.kind === kind)
  }

  /**
   * What could be had by evicting everything that is idle; negative when what is pinned has outgrown the budget.
   * @param beside  as if these were not there
   */
  availableBytes(beside: readonly string[] = []): number {
    const stays = ({ id }: Resident) => this.#pins.has(id) && !beside.includes(id)
    return this.budgetBytes - this.residents().reduce((sum, resident) => (stays(resident) ? sum + resident.bytes : sum), 0)
  }

  bytesOf(kind: ResidentKind): number {
    return this.residents(kind).reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /**
   * Enters a new resident, evicting what is idle to make room. Nothing is evicted when that could not make enough of it.
   *
   * @throws MEMORY_EXCEEDED when it does not fit beside what is pinned
   */
  reserve(wanted: Reservation): void {
    if (this.tryReserve(wanted)) return
    throw new EngineError('MEMORY_EXCEEDED', { what: wanted.what, neededBytes: wanted.bytes, budgetBytes: this.#limitOf(wanted.kind) })
  }

  /** The same for what one can do without: false when it does not fit. */
  tryReserve(wanted: Reservation): boolean {
    invariant(!this.has(wanted.id), `${wanted.id} is already in the memory budget`)
    const victims = this.#victims(wanted, this.#limitOf(wanted.kind))
    if (victims === undefined) return false
    for (const victim of victims) this.#evict(victim)
    this.#residents.set(wanted.id, wanted)
    this.#usedBytes += wanted.bytes
    return true
  }

  /** Marks as most recently used. False when it is not resident. */
  touch(id: string): boolean {
    const resident = this.#residents.get(id)
    if (resident === undefined) return false
    this.#residents.delete(id)
    this.#residents.set(id, resident)
    return true
  }

  /** Corrects a size that was an estimate, and counts as a use. Growth evicts what is idle, as far as that helps; it is entered either way. */
  resize(id: string, bytes: number): void {
    const resident = this.#residents.get(id)
    if (resident === undefined) return
    this.#residents.delete(id)
    this.#residents.set(id, { ...resident, bytes })
    this.#usedBytes += bytes - resident.bytes
    this.#shrink()
  }

  /** Takes a resident out of the ledger without calling its `evict`: its owner has let go of it, or died with it. */
  release(id: string): boolean {
    const resident = this.#residents.get(id)
    if (resident === undefined) return false
    this.#residents.delete(id)
    this.#usedBytes -= resident.bytes
    return true
  }

  /** Keeps `id` from being evicted until the returned function is called (calling it again does nothing). Pins count. */
  pin(id: string): () => void {
    this.#pins.set(id, (this.#pins.get(id) ?? 0) + 1)
    let held = true
    return () => {
      if (!held) return
      held = false
      this.#unpin(id)
    }
  }

  /** Resolves once nothing has `id` pinned. */
  idle(id: string): Promise<void> {
    if (!this.#pins.has(id)) return Promise.resolve()
    return new Promise((resolve) => this.#whenIdle.set(id, [...(this.#whenIdle.get(id) ?? []), resolve]))
  }

  #unpin(id: string): void {
    const count = this.#pins.get(id)! - 1
    if (count > 0) {
      this.#pins.set(id, count)
      return
    }
    this.#pins.delete(id)
    const waiting = this.#whenIdle.get(id) ?? []
    this.#whenIdle.delete(id)
    for (const resolve of waiting) resolve()
    this.#shrink()
  }

  #limitOf(kind: ResidentKind): number {
    return Math.floor(this.budgetBytes * (this.#shares[kind] ?? 1))
  }

  /** What has to go for `wanted` to fit, or undefined when even all that is idle would not be enough. */
  #victims(wanted: Resident, limit: number): Reservation[] | undefined {
    let overBudget = this.#usedBytes + wanted.bytes - this.budgetBytes
    let overShare = this.bytesOf(wanted.kind) + wanted.bytes - limit
    const victims: Reservation[] = []
    const idle = [...this.#residents.values()].filter(({ id }) => !this.#pins.has(id))
    const ownFirst = [...idle.filter(({ kind }) => kind === wanted.kind), ...idle.filter(({ kind }) => kind !== wanted.kind)]
    for (const candidate of overShare > 0 ? ownFirst : idle) {
      const isOwn = candidate.kind === wanted.kind
      if (overBudget <= 0 && (overShare <= 0 || !isOwn)) continue
      victims.push(candidate)
      overBudget -= candidate.bytes
      if (isOwn) overShare -= candidate.bytes
    }
    return overBudget <= 0 && overShare <= 0 ? victims : undefined
  }

  /** Back under the budget, after something grew or was unpinned. */
  #shrink(): void {
    for (const resident of [...this.#residents.values()]) {
      if (this.#usedBytes <= this.budgetBytes) return
      if (!this.#pins.has(resident.id)) this.#evict(resident)
    }
  }

  #evict(resident: Reservation): void {
    if (this.release(resident.id)) resident.evict()
  }
}
