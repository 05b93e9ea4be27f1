/**
 * Where features are among the pictures of a model: for each the mean of the pictures' embeddings (unit vectors), weighted with its scores, at
 * unit length. A score is the largest activation over the tokens, over pictures of the whole index. The sums are those of monosemanticity,
 * exact and in no order, so that the same pictures make the same bytes however they were cut into shards.
 */

import { bytesSource } from '../io/byte-source.js'
import { joinChunks } from '../io/named-tensors.js'
import { damaged, invalidFile } from '../io/refusals.js'
import { readSafetensor, readSafetensorsHeader, safetensorsChunks } from '../io/safetensors.js'
import { float32, type Tensor } from '../tensor.js'
import type { IndexShard } from './index-shard.js'

const FORMAT = 'refract-feature-embeddings-1'
const FILE = 'mean embeddings of features'
const TENSOR = 'embeddings'

/** `[dSae, dEmbed]`, rows of unit length; zeros of a feature that was never active. Undefined where pictures were not embedded. */
export function meanEmbeddings({ embeddings, plan }: IndexShard): Tensor<'float32'> | undefined {
  if (!embeddings) return undefined
  const { dSae, dEmbed } = plan
  const means = new Float32Array(dSae * dEmbed)
  for (let latent = 0; latent < dSae; latent++) {
    const sum = embeddings.weighted.subarray(latent * dEmbed, (latent + 1) * dEmbed)
    let square = 0
    for (let d = 0; d < dEmbed; d++) square += sum[d]! * sum[d]!
    if (square === 0) continue
    const length = Math.sqrt(square)
    for (let d = 0; d < dEmbed; d++) means[latent * dEmbed + d] = sum[d]! / length
  }
  return float32([dSae, dEmbed], means)
}

/** A safetensors file with one tensor, `embeddings`. */
export function embeddingsToBytes(embeddings: Tensor<'float32'>): Uint8Array {
  return joinChunks(safetensorsChunks([[TENSOR, embeddings]], { format: FORMAT }))
}

/** @throws FILE_INVALID */
export async function embeddingsFromBytes(bytes: Uint8Array): Promise<Tensor<'float32'>> {
  try {
    const source = bytesSource(bytes)
    const header = await readSafetensorsHeader(source, FILE)
    if (header.metadata.get('format') !== FORMAT) throw invalidFile(FILE, 'is not one that this version wrote.')
    const found = await readSafetensor(source, header, TENSOR)
    if (found.dtype !== 'float32' || found.shape.length !== 2) throw invalidFile(FILE, 'has no matrix of float32.')
    return found as Tensor<'float32'>
  } catch (error) {
    throw damaged(FILE, error)
  }
}
