/**
 * Items of data sets that features name, some hundreds for a page: read once and kept, since the items of a data set never change.
 */

import { LRUCache } from 'lru-cache'
import type { PrismaClient } from '../generated/prisma/client.js'
import type { DatasetItemRecord, DatasetRecord } from './datasets.js'

/** Some 20 MB. */
const MAX_ITEMS = 65_536

export class DatasetPictures {
  readonly #prisma: PrismaClient
  readonly #items = new LRUCache<string, DatasetItemRecord>({ max: MAX_ITEMS })

  constructor(prisma: PrismaClient) {
    this.#prisma = prisma
  }

  /** Those of `indices` that there are; in no order. One statement for those that are not known yet. */
  async of({ id, createdAt }: DatasetRecord, indices: readonly number[]): Promise<DatasetItemRecord[]> {
    // a data set that was removed and registered again may have its pictures elsewhere
    const dataset = `${id} ${createdAt.getTime()}`
    const items: DatasetItemRecord[] = []
    const missing: number[] = []
    for (const index of new Set(indices)) {
      const item = this.#items.get(`${dataset} ${index}`)
      if (item) items.push(item)
      else missing.push(index)
    }
    if (missing.length === 0) return items
    // one value of JSON is read faster than rows
    const [row] = await this.#prisma.$queryRaw<[{ found: DatasetItemRecord[] | null }]>`
      select json_agg(json_build_object('index', index, 'name', name, 'imageId', image_id, 'label', label)) as found
      from dataset_items where dataset_id = ${id} and index = any(${missing}::int[])`
    for (const item of row.found ?? []) {
      this.#items.set(`${dataset} ${item.index}`, item)
      items.push(item)
    }
    return items
  }
}
