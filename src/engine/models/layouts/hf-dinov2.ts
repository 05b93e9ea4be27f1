/**
 * transformers' Dinov2Model and Dinov2WithRegistersModel, and their image classifiers. The models' output is the CLS token after the last
 * norm; a classifier reads CLS and the mean of the patches side by side.
 *
 * The library interpolates the position table whenever an image has another grid than the table, and DINOv2's published preprocessing
 * makes such images (224 pixels for a table of 518). The graph is built for the preprocessing's size, the table resized once at load.
 * @see transformers models/dinov2/, models/dinov2_with_registers/
 */

import { patchGrid } from '../../hook-points.js'
import { ConfigFields, headWidth, type Size } from '../config-fields.js'
import type { VisionConfig } from '../model.js'
import { forEachBlock, type WeightRule } from '../name-map.js'
import { asIs, positionTable } from '../weight-transforms.js'
import { nHfClasses } from './hf-classes.js'
import { linearRules, normRules } from './layer-rules.js'
import { type CheckpointFiles, type CheckpointReading, classLabelsOf, type Layout } from './layout.js'

const FILE = 'config.json'
const supported = 'Dinov2Model, Dinov2WithRegistersModel and their ForImageClassification variants with a plain MLP are.'
const types = ['dinov2', 'dinov2_with_registers']

export const hfDinov2: Layout = {
  name: 'hf-dinov2',
  detect: ({ json }) => types.includes(json.get(FILE)?.model_type as string),
  read,
}

function read({ json, tensors }: CheckpointFiles): CheckpointReading {
  const fields = new ConfigFields(FILE, json.get(FILE)!)
  const hasRegisters = fields.text('model_type') === 'dinov2_with_registers'
  const dModel = fields.count('hidden_size', 768)
  const nHeads = fields.count('num_attention_heads', 12)
  const nClasses = tensors.has('classifier.weight') ? nHfClasses(fields) : 0
  const labels = nClasses > 0 ? classLabelsOf(fields, nClasses) : undefined
  fields.require('use_swiglu_ffn', [false])
  const config: VisionConfig = {
    nLayers: fields.layers('num_hidden_layers', 12),
    dModel,
    nHeads,
    dHead: fields.has('head_dim') ? fields.count('head_dim') : headWidth(fields, 'num_attention_heads', { dModel, nHeads }),
    dMlp: Math.max(1, Math.trunc(dModel * fields.positive('mlp_ratio', 4))),
    activation: fields.activation('hidden_act', 'gelu'),
    normalization: 'layerNorm',
    normEps: fields.positive('layer_norm_eps', 1e-6),
    biases: { qkv: fields.flag('qkv_bias', true), attnOut: true, mlp: true },
    scaleAttention: true,
    layerScale: true,
    normalizeOutput: false,
    imageSize: fields.size('image_size', 224),
    patchSize: fields.size('patch_size', hasRegisters ? 16 : 14),
    nChannels: fields.count('num_channels', 3),
    patchBias: true,
    hasCls: true,
    nRegisters: hasRegisters ? fields.count('num_register_tokens', 4, { min: 0, max: 1024 }) : 0,
    lnPre: false,
    finalNorm: 'tokens',
    pooling: nClasses > 0 ? 'clsAndMean' : 'cls',
    head: nClasses > 0 ? { kind: 'classes', dOut: nClasses, bias: true } : { kind: 'none', dOut: dModel, bias: false },
  }
  const stored = patchGrid(config)
  if (stored.rows !== stored.columns) fields.unsupported('a position table that is not square')
  fields.check(supported)
  return {
    vision: { config, rules: (resized) => rules(resized, { stored, antialias: hasRegisters }) },
    prefixes: ['dinov2.', 'dinov2_with_registers.'],
    ignored: [{ names: /^embeddings\.mask_token$/, reason: 'used in pre-training only' }],
    resizesPositions: (original: VisionConfig, imageSize: Size) => ({ ...original, imageSize }),
    ...(labels && { classLabels: labels }),
  }
}

function rules(
  config: VisionConfig,
  { stored, antialias }: { stored: { rows: number; columns: number }; antialias: boolean },
): WeightRule[] {
  // Hub files say `encoder.layer.N.attention.attention.query`; transformers 5 calls the module `attention.q_proj`.
  const layer = 'encoder.layer.{N}'
  const attn = 'blocks.{N}.attn'
  const bias = (name: string) => (config.biases.qkv ? `${attn}.${name}` : undefined)
  const positions = positionTable({
    nStoredPrefix: 1,
    stored,
    grid: patchGrid(config),
    resize: antialias ? 'bicubicAntialias' : 'bicubic',
  })
  return [
    { source: 'embeddings.patch_embeddings.projection.weight', to: ['embed.proj.weight'], how: asIs },
    { source: 'embeddings.patch_embeddings.projection.bias', to: ['embed.proj.bias'], how: asIs },
    { source: 'embeddings.cls_token', to: ['cls_token'], how: asIs },
    ...(config.nRegisters > 0 ? [{ source: 'embeddings.register_tokens', to: ['register_tokens'], how: asIs }] : []),
    { source: 'embeddings.position_embeddings', to: ['pos_embed.W_pos'], how: positions },
    ...forEachBlock(config.nLayers, [
      ...normRules(`${layer}.norm1`, 'blocks.{N}.ln1'),
      ...linearRules([`${layer}.attention.attention.query`, `${layer}.attention.q_proj`], `${attn}.W_Q`, bias('b_Q')),
      ...linearRules([`${layer}.attention.attention.key`, `${layer}.attention.k_proj`], `${attn}.W_K`, bias('b_K')),
      ...linearRules([`${layer}.attention.attention.value`, `${layer}.attention.v_proj`], `${attn}.W_V`, bias('b_V')),
      ...linearRules([`${layer}.attention.output.dense`, `${layer}.attention.o_proj`], `${attn}.W_O`, `${attn}.b_O`),
      { source: `${layer}.layer_scale1.lambda1`, to: ['blocks.{N}.ls1'], how: asIs },
      ...normRules(`${layer}.norm2`, 'blocks.{N}.ln2'),
      ...linearRules([`${layer}.mlp.fc1`], 'blocks.{N}.mlp.W_in', 'blocks.{N}.mlp.b_in'),
      ...linearRules([`${layer}.mlp.fc2`], 'blocks.{N}.mlp.W_out', 'blocks.{N}.mlp.b_out'),
      { source: `${layer}.layer_scale2.lambda1`, to: ['blocks.{N}.ls2'], how: asIs },
    ]),
    ...normRules('layernorm', 'ln_final'),
    ...(config.head.kind === 'classes' ? linearRules(['classifier'], 'head.W_H', 'head.b_H') : []),
  ]
}
