/**
 * What indexes kept of where features are among pictures, read once and kept in memory: mean embeddings of the pictures of all features.
 */

import type { LRUCache } from 'lru-cache'
import type { FeatureSetRecord } from '../../catalog/feature-sets.js'
import { embeddingsFromBytes } from '../../engine/evaluation/mean-embeddings.js'
import type { Context } from '../operation.js'

interface Asked {
  readonly set: FeatureSetRecord
  /** Length of the embeddings that they are compared with. */
  readonly dEmbed: number
}

export class FeatureEmbeddings {
  readonly #kept: LRUCache<string, Float32Array>
  /** Those being read: who asks meanwhile waits for the same. */
  readonly #reading = new Map<string, Promise<Float32Array | undefined>>()

  /** @param kept  bounded, and shared with pictures; what does not fit is read each time */
  constructor(kept: LRUCache<string, Float32Array>) {
    this.#kept = kept
  }

  /** `[width, dEmbed]`, rows of unit length or zeros; undefined where the index kept none, or they are not here. @throws FILE_INVALID */
  async of(context: Context, { set, dEmbed }: Asked): Promise<Float32Array | undefined> {
    const { embeddings, width } = set
    if (!embeddings) return undefined
    // by content: what another set has under the same hash is the same
    const key = `features ${embeddings.sha256}`
    const found = this.#kept.get(key) ?? (await this.#read(context, { key, sha256: embeddings.sha256 }))
    // of a model that answered otherwise then
    return found?.length === width * dEmbed ? found : undefined
  }

  #read(context: Context, { key, sha256 }: { readonly key: string; readonly sha256: string }): Promise<Float32Array | undefined> {
    const underWay = this.#reading.get(key)
    if (underWay) return underWay
    const read = async () => {
      try {
        const bytes = await context.catalog.blobs.get(sha256)
        if (!bytes) return undefined
        const { data } = await embeddingsFromBytes(bytes)
        this.#kept.set(key, data)
        return data
      } finally {
        this.#reading.delete(key)
      }
    }
    const reading = read()
    this.#reading.set(key, reading)
    return reading
  }
}
