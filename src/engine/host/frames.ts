/**
 * Messages as bytes on a stream. A frame is the length of its header, the header (the message as V8 serializes it, without the data of typed arrays),
 * and that data, array after array. It is written from where it lies and read to where it stays, so that it is never part of a larger buffer, and
 * serializing blocks nobody. It may lie in shared memory; what arrives does not.
 */

import { Deserializer, Serializer } from 'node:v8'
import { invariant } from '../errors.js'

const LENGTH_BYTES = 4
/** The most that is handed to the system at once. */
const PIECE_BYTES = 2 ** 30

const arrayTypes = [
  ...[Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array],
  ...[Float32Array, Float64Array, BigInt64Array, BigUint64Array],
] as const

/** The frame in pieces, to be written one after the other. Arrays of the message are not to be written to until then. @throws what cannot be cloned */
export function frameOf(message: unknown): Uint8Array[] {
  const serializer = new HeaderSerializer()
  serializer.writeHeader()
  serializer.writeValue(message)
  const header = serializer.releaseBuffer()
  const length = new Uint8Array(LENGTH_BYTES)
  new DataView(length.buffer).setUint32(0, header.byteLength)
  return [length, header, ...serializer.data.flatMap(inPieces)]
}

export interface FrameListener {
  deliver(message: unknown): void
  /** A header that cannot be read, or arrays that find no memory: what follows cannot be read either, and nothing more is delivered. */
  unreadable(error: Error): void
}

/** Puts frames together again from what a stream brings. */
export class FrameReader {
  readonly #listener: FrameListener
  /** What comes next goes here, into one after the other. */
  #awaited: readonly Uint8Array[] = []
  #nFull = 0
  #filledBytes = 0
  #whenFull: () => void = () => undefined

  constructor(listener: FrameListener) {
    this.#listener = listener
    this.#awaitLength()
  }

  read(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) {
      const target = this.#awaited[this.#nFull]
      if (target === undefined) return
      const part = chunk.subarray(at, at + target.length - this.#filledBytes)
      target.set(part, this.#filledBytes)
      at += part.length
      this.#filledBytes += part.length
      if (this.#filledBytes < target.length) return
      this.#nFull++
      this.#filledBytes = 0
      if (this.#nFull === this.#awaited.length) this.#whenFull()
    }
  }

  #awaitLength(): void {
    const length = new Uint8Array(LENGTH_BYTES)
    this.#await([length], () => this.#awaitHeader(new DataView(length.buffer).getUint32(0)))
  }

  #awaitHeader(byteLength: number): void {
    const header = new Uint8Array(byteLength)
    this.#await([header], () => this.#readHeader(header))
  }

  #readHeader(header: Uint8Array): void {
    const deserializer = new HeaderDeserializer(header)
    let message: unknown
    try {
      deserializer.readHeader()
      message = deserializer.readValue()
    } catch (error) {
      this.#listener.unreadable(error as Error)
      return
    }
    this.#await(deserializer.data, () => {
      this.#awaitLength()
      this.#listener.deliver(message)
    })
  }

  #await(targets: readonly Uint8Array[], whenFull: () => void): void {
    this.#awaited = targets.filter(({ length }) => length > 0)
    this.#nFull = 0
    this.#whenFull = whenFull
    if (this.#awaited.length === 0) whenFull()
  }
}

class HeaderSerializer extends Serializer {
  /** Of the arrays, in the order of the header. */
  readonly data: Uint8Array[] = []

  constructor() {
    super()
    ;(this as unknown as { _setTreatArrayBufferViewsAsHostObjects(flag: boolean): void })._setTreatArrayBufferViewsAsHostObjects(true)
  }

  /** Called by V8 for each typed array. */
  _writeHostObject(array: object): void {
    const type = arrayTypes.findIndex((type) => array instanceof type)
    invariant(ArrayBuffer.isView(array) && type >= 0, 'messages hold plain data and typed arrays')
    this.writeUint32(type)
    this.writeDouble(array.byteLength)
    this.data.push(bytesOf(array))
  }
}

class HeaderDeserializer extends Deserializer {
  /** Of the arrays, to be filled. */
  readonly data: Uint8Array[] = []

  _readHostObject(): NodeJS.TypedArray {
    const type = arrayTypes[this.readUint32()]!
    const array = new type(new ArrayBuffer(this.readDouble()))
    this.data.push(bytesOf(array))
    return array
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength)

function inPieces(bytes: Uint8Array): Uint8Array[] {
  const nPieces = Math.ceil(bytes.length / PIECE_BYTES)
  return Array.from({ length: nPieces }, (_, piece) => bytes.subarray(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES))
}
