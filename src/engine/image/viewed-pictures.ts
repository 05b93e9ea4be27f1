/**
 * Pictures as models see them, kept for a while: whoever clicks through features, heads and layers of one picture has it decoded and
 * resampled once.
 */

import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { viewedByModel } from './model-view.js'
import type { Pixels } from './pixels.js'

export class ViewedPictures {
  readonly #kept: LRUCache<string, Pixels>

  constructor(maxBytes: number) {
    this.#kept = new LRUCache({ maxSize: maxBytes, sizeCalculation: ({ data }) => data.byteLength + 200 })
  }

  /** As `viewedByModel`; nobody may write into what it returns. */
  readonly view: typeof viewedByModel = async (bytes, look, limits) => {
    const key = `${createHash('sha256').update(bytes).digest('base64')} ${JSON.stringify(look)}`
    const kept = this.#kept.get(key)
    if (kept) return kept
    const viewed = await viewedByModel(bytes, look, limits)
    this.#kept.set(key, viewed)
    return viewed
  }
}
