/**
 * Writes protocol buffers: tagged fields into one growing buffer. Just the wire types that ONNX uses.
 * @see https://protobuf.dev/programming-guides/encoding/
 */

const wire = { varint: 0, lengthDelimited: 2, fixed32: 5 } as const

export class ProtobufWriter {
  #buffer: Buffer
  #length = 0

  constructor(expectedBytes = 2 ** 16) {
    this.#buffer = Buffer.alloc(expectedBytes)
  }

  /** An int32, int64 or enum; negative numbers take ten bytes. */
  int(field: number, value: number): void {
    this.#tag(field, wire.varint)
    if (value >= 0) this.#varint(value)
    else this.#negative(BigInt(value))
  }

  float(field: number, value: number): void {
    this.#tag(field, wire.fixed32)
    this.#reserve(4)
    this.#length = this.#buffer.writeFloatLE(value, this.#length)
  }

  string(field: number, value: string): void {
    const nBytes = Buffer.byteLength(value)
    this.#tag(field, wire.lengthDelimited)
    this.#varint(nBytes)
    this.#reserve(nBytes)
    this.#length += this.#buffer.write(value, this.#length)
  }

  /** What stands before a field of `nBytes` bytes, which follow: from `raw`, or from elsewhere after these bytes. */
  delimiter(field: number, nBytes: number): void {
    this.#tag(field, wire.lengthDelimited)
    this.#varint(nBytes)
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** A nested message: the fields that `write` writes. */
  message(field: number, write: () => void): void {
    this.#tag(field, wire.lengthDelimited)
    this.#delimit(write)
  }

  /** What was written; a view that the next write may change. */
  bytes(): Uint8Array {
    return new Uint8Array(this.#buffer.buffer, this.#buffer.byteOffset, this.#length)
  }

  /** Leaves one byte for the length of what `write` writes, and moves that along when the length takes more. */
  #delimit(write: () => void): void {
    this.#reserve(1)
    const start = ++this.#length
    write()
    const end = this.#length
    const extra = varintBytes(end - start) - 1
    this.#reserve(extra)
    if (extra > 0) this.#buffer.copyWithin(start + extra, start, end)
    this.#length = start - 1
    this.#varint(end - start)
    this.#length = end + extra
  }

  #tag(field: number, type: number): void {
    this.#varint(field * 8 + type)
  }

  #varint(value: number): void {
    this.#reserve(10)
    let rest = value
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.#buffer[this.#length++] = rest
  }

  #negative(value: bigint): void {
    this.#reserve(10)
    let rest = BigInt.asUintN(64, value)
    while (rest >= 0x80n) {
      this.#buffer[this.#length++] = Number(rest & 0x7fn) | 0x80
      rest >>= 7n
    }
    this.#buffer[this.#length++] = Number(rest)
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return
    const grown = Buffer.alloc(Math.max(2 * this.#buffer.length, this.#length + bytes))
    grown.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = grown
  }
}

function varintBytes(value: number): number {
  let bytes = 1
  for (let rest = Math.floor(value / 0x80); rest > 0; rest = Math.floor(rest / 0x80)) bytes++
  return bytes
}
