/**
 * CLIP ViT-B/32 with random weights: what every question is asked of. As a configuration for the bare engine, and as a folder in the
 * hub's layout (350 MB) for the host and the server.
 */

import fs from 'node:fs'
import path from 'node:path'
import type { Graph } from '../../src/engine/graph/graph.js'
import { safetensorsChunks } from '../../src/engine/io/safetensors.js'
import type { VisionConfig } from '../../src/engine/models/model.js'
import { elementCount, type Tensor } from '../../src/engine/tensor.js'

const width = 768
const nLayers = 12
const mlp = 3072
const projection = 512

export const vitB32: VisionConfig = {
  nLayers,
  dModel: width,
  nHeads: 12,
  dHead: 64,
  dMlp: mlp,
  activation: 'gelu',
  normalization: 'layerNorm',
  normEps: 1e-5,
  biases: { qkv: true, attnOut: true, mlp: true },
  scaleAttention: true,
  layerScale: false,
  normalizeOutput: false,
  imageSize: { height: 224, width: 224 },
  patchSize: { height: 32, width: 32 },
  nChannels: 3,
  patchBias: false,
  hasCls: true,
  nRegisters: 0,
  lnPre: true,
  finalNorm: 'tokens',
  pooling: 'cls',
  head: { kind: 'projection', dOut: projection, bias: false },
}

/** Normally distributed numbers times `scale`, the same for the same seed. */
export function randomTensor(shape: readonly number[], { scale, seed }: { scale: number; seed: number }): Tensor<'float32'> {
  const data = new Float32Array(elementCount(shape))
  let state = seed >>> 0 || 1
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state + 1) / 2 ** 32
  }
  for (let i = 0; i < data.length; i++) data[i] = scale * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
  return { dtype: 'float32', shape, data }
}

/** What a graph is run with, by name. */
export function shapesOf({ parameters }: Graph): Record<string, readonly number[]> {
  return Object.fromEntries(Object.entries(parameters).map(([name, { shape }]) => [name, shape as number[]]))
}

export function randomWeights(shapes: Readonly<Record<string, readonly number[]>>, scale = 0.02): Record<string, Tensor<'float32'>> {
  return Object.fromEntries(Object.entries(shapes).map(([name, shape], at) => [name, randomTensor(shape, { scale, seed: at + 1 })]))
}

export function pictures(batch: number): Tensor<'float32'> {
  return randomTensor([batch, 3, 224, 224], { scale: 1, seed: batch })
}

/** Writes the folder once and returns its path; `config.json`, `model.safetensors`, `preprocessor_config.json`. */
export function modelFolder(parent: string): string {
  const folder = path.join(parent, 'clip-vit-b-32-random')
  if (fs.existsSync(path.join(folder, 'config.json'))) return folder
  fs.mkdirSync(folder, { recursive: true })
  const file = fs.openSync(path.join(folder, 'model.safetensors'), 'w')
  for (const chunk of safetensorsChunks(Object.entries(hubWeights()))) fs.writeSync(file, chunk)
  fs.closeSync(file)
  const vision = {
    hidden_size: width,
    intermediate_size: mlp,
    num_hidden_layers: nLayers,
    num_attention_heads: 12,
    image_size: 224,
    patch_size: 32,
    num_channels: 3,
    hidden_act: 'gelu',
    layer_norm_eps: 1e-5,
    projection_dim: projection,
  }
  writeJson(folder, 'preprocessor_config.json', {
    image_processor_type: 'CLIPImageProcessor',
    do_resize: true,
    size: { shortest_edge: 224 },
    resample: 3,
    do_center_crop: true,
    crop_size: { height: 224, width: 224 },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: [0.48145466, 0.4578275, 0.40821073],
    image_std: [0.26862954, 0.26130258, 0.27577711],
    do_convert_rgb: true,
  })
  writeJson(folder, 'config.json', { architectures: ['CLIPVisionModelWithProjection'], model_type: 'clip_vision_model', ...vision })
  return folder
}

function writeJson(folder: string, name: string, value: unknown): void {
  fs.writeFileSync(path.join(folder, name), JSON.stringify(value, null, 2))
}

function hubWeights(): Record<string, Tensor> {
  const weights: Record<string, Tensor> = {}
  let seed = 1
  const add = (name: string, shape: readonly number[], scale = 0.02) => {
    weights[name] = randomTensor(shape, { scale, seed: seed++ })
  }
  const norm = (name: string) => {
    weights[`${name}.weight`] = { dtype: 'float32', shape: [width], data: new Float32Array(width).fill(1) }
    add(`${name}.bias`, [width])
  }
  const linear = (name: string, dOut: number, dIn: number) => {
    add(`${name}.weight`, [dOut, dIn])
    add(`${name}.bias`, [dOut])
  }
  add('vision_model.embeddings.class_embedding', [width])
  add('vision_model.embeddings.patch_embedding.weight', [width, 3, 32, 32])
  add('vision_model.embeddings.position_embedding.weight', [50, width])
  norm('vision_model.pre_layrnorm')
  for (let layer = 0; layer < nLayers; layer++) {
    const block = `vision_model.encoder.layers.${layer}`
    for (const name of ['q_proj', 'k_proj', 'v_proj', 'out_proj']) linear(`${block}.self_attn.${name}`, width, width)
    linear(`${block}.mlp.fc1`, mlp, width)
    linear(`${block}.mlp.fc2`, width, mlp)
    norm(`${block}.layer_norm1`)
    norm(`${block}.layer_norm2`)
  }
  norm('vision_model.post_layernorm')
  add('visual_projection.weight', [projection, width])
  return weights
}
