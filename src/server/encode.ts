/**
 * An answer as bytes, in the form the client asked for.
 */

import { arrowChunks } from '../engine/io/arrow.js'
import { arrowTable, type Column, columnTensors } from '../engine/io/arrow-table.js'
import { npzStream } from '../engine/io/npz.js'
import { safetensorsChunks } from '../engine/io/safetensors.js'
import type { ByteStream } from '../engine/io/zip-writer.js'
import type { Tensor } from '../engine/tensor.js'
import { type Encoding, jsonChunks } from './json-answer.js'
import { ARROW, JSON_TYPE, NPZ, SAFETENSORS, type TensorType } from './negotiate.js'

export interface ToEncode {
  readonly output: unknown
  readonly encoding: Encoding
  /** What the binary forms hold, by name. */
  readonly tensors?: () => Readonly<Record<string, Tensor>>
  /** In the place of `tensors`, where the answer is rows: columns, which Arrow has as one table. */
  readonly table?: () => Readonly<Record<string, Column>>
  /** What a safetensors file says beside the tensors. */
  readonly metadata: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

export async function encode(type: TensorType, { output, encoding, tensors, table, metadata, signal }: ToEncode): Promise<ByteStream> {
  const named = () => Object.entries(table ? columnTensors(table()) : tensors!())
  switch (type) {
    case JSON_TYPE:
      return whole(await jsonChunks(output, { encoding, signal }))
    case NPZ:
      return npzStream(named())
    case SAFETENSORS:
      return whole(safetensorsChunks(named(), metadata))
    case ARROW:
      return whole(table ? [arrowTable(table())] : await arrowChunks(named()))
    default:
      return type satisfies never
  }
}

function whole(chunks: readonly Uint8Array[]): ByteStream {
  return { byteLength: chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0), chunks }
}
