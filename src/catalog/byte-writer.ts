/**
 * Bytes that are gathered in one place and handed out by the piece.
 */

/** Grows as it is written to; `take` hands out what was written and begins anew. */
export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>
  #at = 0

  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(capacity)
  }

  get length(): number {
    return this.#at
  }

  /** The next `bytes`, for the caller to write, at once: they move when the next are claimed. */
  claim(bytes: number): DataView {
    const from = this.#at
    this.#at += bytes
    if (this.#at > this.#bytes.byteLength) {
      const grown = new Uint8Array(Math.max(this.#bytes.byteLength * 2, this.#at))
      grown.set(this.#bytes.subarray(0, from))
      this.#bytes = grown
    }
    return new DataView(this.#bytes.buffer, from, bytes)
  }

  take(): Uint8Array<ArrayBuffer> {
    const taken = this.#bytes.slice(0, this.#at)
    this.#at = 0
    return taken
  }
}
