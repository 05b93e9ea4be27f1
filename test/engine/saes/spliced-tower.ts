/** A tiny vision tower to splice SAEs into, and random SAEs. */

import type { VisionConfig } from '../../../src/engine/models/model.js'
import { visionGraph } from '../../../src/engine/models/vit.js'
import { createRandom } from '../../../src/engine/random.js'
import { type SaeConfig, saeParameters } from '../../../src/engine/saes/sae.js'
import { elementCount, float32, type Tensor } from '../../../src/engine/tensor.js'

export const visionConfig: VisionConfig = {
  nLayers: 1,
  dModel: 8,
  nHeads: 2,
  dHead: 4,
  dMlp: 12,
  activation: 'gelu',
  normalization: 'layerNorm',
  normEps: 1e-5,
  biases: { qkv: true, attnOut: true, mlp: true },
  scaleAttention: true,
  layerScale: false,
  normalizeOutput: false,
  imageSize: { height: 8, width: 8 },
  patchSize: { height: 4, width: 4 },
  nChannels: 1,
  patchBias: true,
  hasCls: true,
  nRegisters: 0,
  lnPre: false,
  finalNorm: 'tokens',
  pooling: 'cls',
  head: { kind: 'none', dOut: 8, bias: false },
}

function randomTensor(name: string, shape: readonly number[]): Tensor<'float32'> {
  const random = createRandom(7).fork(name)
  return float32(
    shape,
    Array.from({ length: elementCount(shape) }, () => 0.5 * random.normal()),
  )
}

export function visionTower() {
  const graph = visionGraph(visionConfig)
  const weights = Object.fromEntries(
    Object.entries(graph.parameters).map(([name, { shape }]) => [name, randomTensor(name, shape as readonly number[])]),
  )
  return { graph, weights, pixels: randomTensor('pixels', [2, 1, 8, 8]) }
}

export function randomWeights(config: SaeConfig): Record<string, Tensor<'float32'>> {
  const weights = Object.fromEntries(Object.entries(saeParameters(config)).map(([name, shape]) => [name, randomTensor(name, shape)]))
  return { ...weights, ...(weights.input_scale && { input_scale: float32([], [0.37]) }) }
}
