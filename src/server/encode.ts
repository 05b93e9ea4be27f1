/**
 * An answer as bytes, in the form the client asked for.
 */

import { arrowChunks } from '../engine/io/arrow.js'
import { npzChunks } from '../engine/io/npz.js'
import { safetensorsChunks } from '../engine/io/safetensors.js'
import type { Tensor } from '../engine/tensor.js'
import { type Encoding, jsonChunks } from './json-answer.js'
import { ARROW, JSON_TYPE, NPZ, SAFETENSORS, type TensorType } from './negotiate.js'

export interface Encoded {
  readonly type: TensorType
  readonly chunks: readonly Uint8Array[]
}

export interface ToEncode {
  readonly output: unknown
  readonly encoding: Encoding
  /** What the binary forms hold, by name. */
  readonly tensors: () => Readonly<Record<string, Tensor>>
  /** What a safetensors file says beside the tensors. */
  readonly metadata: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

export async function encode(type: TensorType, { output, encoding, tensors, metadata, signal }: ToEncode): Promise<Encoded> {
  switch (type) {
    case JSON_TYPE:
      return { type, chunks: await jsonChunks(output, { encoding, signal }) }
    case NPZ:
      return { type, chunks: npzChunks(Object.entries(tensors())) }
    case SAFETENSORS:
      return { type, chunks: safetensorsChunks(Object.entries(tensors()), metadata) }
    case ARROW:
      return { type, chunks: await arrowChunks(Object.entries(tensors())) }
    default:
      return type satisfies never
  }
}
