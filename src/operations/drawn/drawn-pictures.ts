/**
 * Files that were drawn, kept so that the same picture asked for again is not drawn again.
 */

import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'

const MAX_BYTES = 32 * 2 ** 20

export class DrawnPictures {
  readonly #files = new LRUCache<string, Uint8Array>({ maxSize: MAX_BYTES, sizeCalculation: (file) => file.byteLength + 200 })

  /** @param about  everything that the picture depends on */
  async get(about: readonly unknown[], draw: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const key = digestOf(about)
    const kept = this.#files.get(key)
    if (kept) return kept
    const file = await draw()
    this.#files.set(key, file)
    return file
  }
}

/** Of what a picture depends on: the same for the same picture, in any process. */
export function digestOf(about: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(about)).digest('hex').slice(0, 32)
}
