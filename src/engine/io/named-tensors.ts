/** Tensors with names, as every writer takes them: `Object.entries(activations)`, or a map. */

import type { Tensor } from '../tensor.js'

export type NamedTensors = Iterable<readonly [name: string, tensor: Tensor]>

/** All chunks of a written file in one array. */
export function joinChunks(chunks: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(chunks)
}
