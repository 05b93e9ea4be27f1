/**
 * Numbers into bytes and back, one after the other. Little-endian unless it says otherwise.
 */

/** Grows as it is written to; `take` hands out what was written and begins anew. */
export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>
  #view: DataView
  #at = 0

  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(capacity)
    this.#view = new DataView(this.#bytes.buffer)
  }

  get length(): number {
    return this.#at
  }

  /** To be called before so many bytes are written. */
  reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.byteLength) return
    const grown = new Uint8Array(Math.max(this.#bytes.byteLength * 2, this.#at + bytes))
    grown.set(this.#bytes.subarray(0, this.#at))
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }

  uint8(value: number): void {
    this.#view.setUint8(this.#at, value)
    this.#at += 1
  }

  uint16(value: number): void {
    this.#view.setUint16(this.#at, value, true)
    this.#at += 2
  }

  int16(value: number): void {
    this.#view.setInt16(this.#at, value, true)
    this.#at += 2
  }

  uint32(value: number): void {
    this.#view.setUint32(this.#at, value, true)
    this.#at += 4
  }

  float32(value: number): void {
    this.#view.setFloat32(this.#at, value, true)
    this.#at += 4
  }

  int16BigEndian(value: number): void {
    this.#view.setInt16(this.#at, value)
    this.#at += 2
  }

  int32BigEndian(value: number): void {
    this.#view.setInt32(this.#at, value)
    this.#at += 4
  }

  /** Over what was written at `at`. */
  patchInt32BigEndian(at: number, value: number): void {
    this.#view.setInt32(at, value)
  }

  take(): Uint8Array<ArrayBuffer> {
    const taken = this.#bytes.slice(0, this.#at)
    this.#at = 0
    return taken
  }
}

export class ByteReader {
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get left(): number {
    return this.#view.byteLength - this.#at
  }

  uint8(): number {
    return this.#view.getUint8(this.#at++)
  }

  uint16(): number {
    this.#at += 2
    return this.#view.getUint16(this.#at - 2, true)
  }

  int16(): number {
    this.#at += 2
    return this.#view.getInt16(this.#at - 2, true)
  }

  uint32(): number {
    this.#at += 4
    return this.#view.getUint32(this.#at - 4, true)
  }

  float32(): number {
    this.#at += 4
    return this.#view.getFloat32(this.#at - 4, true)
  }
}
