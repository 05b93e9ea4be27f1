/**
 * Statistics of all features of a set, and their orders. A set never changes, so what is kept in memory is never stale.
 */

import { LRUCache } from 'lru-cache'
import type { PrismaClient } from '../generated/prisma/client.js'
import { type Direction, type FeatureOrder, orderOf, placeOf, type RankedFeature } from './feature-order.js'
import type { FeatureSetRecord } from './feature-sets.js'

/** A column of 49,152 features has 196 kB, and so has an order. */
const CACHE_BYTES = 64 * 2 ** 20

export interface Ranks {
  /** A statistic. */
  readonly sort: string
  readonly order: Direction
  /** The first rank, and the one after the last. */
  readonly from: number
  readonly to: number
}

export class FeatureColumns {
  readonly #prisma: PrismaClient
  readonly #columns = new LRUCache<string, Float32Array>({
    maxSize: CACHE_BYTES,
    sizeCalculation: ({ byteLength }) => byteLength + 1,
  })
  readonly #orders = new LRUCache<string, FeatureOrder>({
    maxSize: CACHE_BYTES,
    sizeCalculation: ({ ascending }) => ascending.byteLength + 1,
  })

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
    const rows = await this.#prisma.featureStatistic.findMany({
      where: { setId: id, name: { in: missing } },
      select: { name: true, values: true },
    })
    for (const { name, values } of rows) {
      // a copy of its own, whose beginning is aligned
      const column = new Float32Array(values.slice().buffer)
      this.#columns.set(`${id} ${name}`, column)
      found.set(name, column)
    }
    return rows.length === missing.length ? found : undefined
  }

  order({ id }: FeatureSetRecord, { name, values }: { readonly name: string; readonly values: Float32Array }): FeatureOrder {
    const key = `${id} ${name}`
    const known = this.#orders.get(key)
    if (known) return known
    const made = orderOf(values)
    this.#orders.set(key, made)
    return made
  }

  /**
   * The features of some ranks, by a part of the stored order. Undefined when there is none: the set was loaded by an older version, or is
   * not there any more.
   */
  async ranked({ id, width }: FeatureSetRecord, { sort, order, from, to: end }: Ranks): Promise<RankedFeature[] | undefined> {
    const to = Math.min(end, width)
    // a part is all places of the ranks; those of a descending order end where the undefined begin
    const [row] = await this.#prisma.$queryRaw<{ defined: number; first: number; part: Uint8Array }[]>`
      select defined, first, substring(ascending from 4 * first + 1 for 4 * length) as part
      from feature_statistics, lateral (
        select
          case when ${order} = 'asc' or ${from}::int >= defined then ${from}::int else greatest(defined - ${to}::int, 0) end as first,
          case when ${order} = 'desc' and ${from}::int < defined and ${to}::int > defined then ${to}::int else ${to - from}::int end as length
      ) as places
      where set_id = ${id} and name = ${sort} and ascending is not null`
    if (!row) return undefined
    const { defined, first, part } = row
    const indices = new Uint32Array(part.slice().buffer)
    return Array.from({ length: to - from }, (_, at) => ({ rank: from + at, index: indices[placeOf(from + at, order, defined) - first]! }))
  }
}
