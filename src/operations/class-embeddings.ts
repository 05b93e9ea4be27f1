/**
 * Text embeddings of class labels, kept so that classifying by the same labels again encodes no text.
 */

import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'

const MAX_BYTES = 64 * 2 ** 20

export class ClassEmbeddings {
  readonly #byKey = new LRUCache<string, Float32Array>({ maxSize: MAX_BYTES, sizeCalculation: (embedding) => embedding.byteLength + 200 })

  get(key: string): Float32Array | undefined {
    return this.#byKey.get(key)
  }

  set(key: string, embedding: Float32Array): void {
    this.#byKey.set(key, embedding)
  }
}

/** Identity of a label's embedding: the weights, the templates in order, and the label. */
export function classKey(modelKey: string, templates: readonly string[], label: string): string {
  return createHash('sha256')
    .update(JSON.stringify([modelKey, templates, label]))
    .digest('base64')
}
