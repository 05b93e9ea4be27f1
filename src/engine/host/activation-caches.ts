/**
 * Activations of past runs, kept for a while under the memory budget so that a notebook can come back for more of them.
 * Ids are random: knowing one is what gives access to it.
 */

import { randomUUID } from 'node:crypto'
import type { Tensor } from '../tensor.js'
import type { CacheInfo } from './host.js'
import type { MemoryBudget } from './memory-budget.js'

type Activations = Readonly<Record<string, Tensor<'float32'>>>

export interface ActivationCachesOptions {
  readonly budget: MemoryBudget
  /** How long after it was made a cache can still be read. */
  readonly maxAgeMs: number
  /** Milliseconds on any steady clock; tests pass their own. */
  readonly now?: () => number
}

export class ActivationCaches {
  readonly #budget: MemoryBudget
  readonly #maxAgeMs: number
  readonly #now: () => number
  /** In order of making, so the oldest come first. */
  readonly #caches = new Map<string, { readonly activations: Activations; readonly about: CacheInfo; readonly madeAt: number }>()

  constructor({ budget, maxAgeMs, now = () => performance.now() }: ActivationCachesOptions) {
    this.#budget = budget
    this.#maxAgeMs = maxAgeMs
    this.#now = now
  }

  /** The new cache's id. One that does not fit beside what is in use is gone as if it had been evicted at once. */
  keep(activations: Activations, about: CacheInfo): string {
    this.#dropOld()
    const id = randomUUID()
    const owned = Object.fromEntries(Object.entries(activations).map(([name, tensor]) => [name, withOwnBuffer(tensor)]))
    const kept = this.#budget.tryReserve({
      id: budgetId(id),
      kind: 'cache',
      bytes: Object.values(owned).reduce((sum, { data }) => sum + data.buffer.byteLength, 0),
      what: 'An activation cache',
      evict: () => this.#caches.delete(id),
    })
    if (kept) this.#caches.set(id, { activations: owned, about, madeAt: this.#now() })
    return id
  }

  get(id: string): { readonly activations: Activations; readonly about: CacheInfo } | undefined {
    this.#dropOld()
    const cache = this.#caches.get(id)
    if (cache === undefined) return undefined
    this.#budget.touch(budgetId(id))
    return { activations: cache.activations, about: cache.about }
  }

  #dropOld(): void {
    for (const [id, { madeAt }] of this.#caches) {
      if (this.#now() - madeAt <= this.#maxAgeMs) return
      this.#caches.delete(id)
      this.#budget.release(budgetId(id))
    }
  }
}

const budgetId = (id: string) => `cache:${id}`

/** A view on a larger buffer would keep all of it alive, uncounted. */
function withOwnBuffer(tensor: Tensor<'float32'>): Tensor<'float32'> {
  return tensor.data.byteLength === tensor.data.buffer.byteLength ? tensor : { ...tensor, data: tensor.data.slice() }
}
