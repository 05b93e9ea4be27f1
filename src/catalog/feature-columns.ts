/**
 * Statistics of all features of a set, and their orders, kept in memory while they are asked for. A set never changes, so what is kept is
 * never stale.
 */

import { LRUCache } from 'lru-cache'
import type { PrismaClient } from '../generated/prisma/client.js'
import { orderBy } from './feature-order.js'
import type { FeatureSetRecord } from './feature-sets.js'

/** A column of 49,152 features has 196 kB, and so has an order. */
const CACHE_BYTES = 64 * 2 ** 20
const sizes = { maxSize: CACHE_BYTES, sizeCalculation: ({ byteLength }: { readonly byteLength: number }) => byteLength + 1 } as const

export class FeatureColumns {
  readonly #prisma: PrismaClient
  readonly #columns = new LRUCache<string, Float32Array>(sizes)
  readonly #orders = new LRUCache<string, Uint32Array>(sizes)

  constructor(prisma: PrismaClient) {
    this.#prisma = prisma
  }

  /** By name; one statement for those that are not known yet. Undefined when the set is not there any more. */
  async of({ id }: FeatureSetRecord, names: readonly string[]): Promise<ReadonlyMap<string, Float32Array> | undefined> {
    const found = new Map<string, Float32Array>()
    for (const name of names) {
      const known = this.#columns.get(`${id} ${name}`)
      if (known) found.set(name, known)
    }
    const missing = names.filter((name) => !found.has(name))
    if (missing.length === 0) return found
    const rows = await this.#prisma.featureStatistic.findMany({ where: { setId: id, name: { in: missing } } })
    for (const { name, values } of rows) {
      // a copy of its own, whose beginning is aligned
      const column = new Float32Array(values.slice().buffer)
      this.#columns.set(`${id} ${name}`, column)
      found.set(name, column)
    }
    return rows.length === missing.length ? found : undefined
  }

  order({ id }: FeatureSetRecord, { name, values, order }: { name: string; values: Float32Array; order: 'asc' | 'desc' }): Uint32Array {
    const key = `${id} ${name} ${order}`
    const known = this.#orders.get(key)
    if (known) return known
    const made = orderBy(values, order)
    this.#orders.set(key, made)
    return made
  }
}
