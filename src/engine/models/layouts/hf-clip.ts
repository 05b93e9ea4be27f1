/**
 * transformers' CLIPModel, CLIPVisionModelWithProjection and CLIPVisionModel.
 * @see transformers models/clip/configuration_clip.py (defaults), modeling_clip.py
 */

import { ConfigFields, headWidth, type JsonObject } from '../config-fields.js'
import type { TextConfig, TransformerConfig, VisionConfig } from '../model.js'
import { forEachBlock, type WeightRule } from '../name-map.js'
import { processorFile } from '../preprocessor-config.js'
import { asIs, withoutLeadingAxes } from '../weight-transforms.js'
import { linearRules, normRules } from './layer-rules.js'
import {
  type CheckpointFiles,
  type CheckpointReading,
  type CheckpointWriting,
  type ModelFacts,
  positionIds,
  sizeField,
  squareOnly,
  type WritableLayout,
} from './layout.js'

const FILE = 'config.json'
const supported = 'CLIPModel, CLIPVisionModelWithProjection and CLIPVisionModel are.'

export const hfClip: WritableLayout = {
  name: 'hf-clip',
  detect: ({ json, tensors }) => {
    const type = json.get(FILE)?.model_type
    return (type === 'clip' || type === 'clip_vision_model') && !tensors.has('visual.conv1.weight')
  },
  read: (files) => (files.json.get(FILE)!.model_type === 'clip' ? bothTowers(files) : visionOnly(files)),
  write,
}

function bothTowers({ json }: CheckpointFiles): CheckpointReading {
  const fields = new ConfigFields(FILE, withLegacySections(json.get(FILE)!))
  const dOut = fields.count('projection_dim', 512)
  const head = { kind: 'projection', dOut, bias: false } as const
  // CLIPModel normalises both embeddings in its own forward pass.
  const vision = { ...visionConfig(fields.section('vision_config')), head, normalizeOutput: true }
  const text = { ...textConfig(fields.section('text_config')), head, normalizeOutput: true }
  fields.check(supported)
  return {
    vision: { config: vision, rules: (config) => visionRules(config, 'vision_model.') },
    text: { config: text, rules: textRules },
    prefixes: [],
    ignored: [positionIds],
    logitScale: 'logit_scale',
  }
}

function visionOnly({ json, tensors }: CheckpointFiles): CheckpointReading {
  const fields = new ConfigFields(FILE, json.get(FILE)!)
  const hasProjection = tensors.has('visual_projection.weight')
  const base = visionConfig(fields)
  const head = hasProjection
    ? ({ kind: 'projection', dOut: fields.count('projection_dim', 512), bias: false } as const)
    : ({ kind: 'none', dOut: base.dModel, bias: false } as const)
  fields.check(supported)
  return {
    vision: { config: { ...base, head }, rules: (config) => visionRules(config, '') },
    prefixes: ['vision_model.'],
    ignored: [positionIds],
  }
}

/** Older files repeat a tower's configuration as `*_config_dict`; where it is there, transformers believes it and not the other. */
function withLegacySections(values: JsonObject): JsonObject {
  return {
    ...values,
    vision_config: values.vision_config_dict ?? values.vision_config,
    text_config: values.text_config_dict ?? values.text_config,
  }
}

function shared(fields: ConfigFields, defaults: { dModel: number; nHeads: number; dMlp: number }): TransformerConfig {
  const dModel = fields.count('hidden_size', defaults.dModel)
  const nHeads = fields.count('num_attention_heads', defaults.nHeads)
  return {
    nLayers: fields.layers('num_hidden_layers', 12),
    dModel,
    nHeads,
    dHead: headWidth(fields, 'num_attention_heads', { dModel, nHeads }),
    dMlp: fields.count('intermediate_size', defaults.dMlp),
    activation: fields.activation('hidden_act', 'quick_gelu'),
    normalization: 'layerNorm',
    normEps: fields.positive('layer_norm_eps', 1e-5),
    biases: { qkv: true, attnOut: true, mlp: true },
    scaleAttention: true,
    layerScale: false,
    normalizeOutput: false,
  }
}

function visionConfig(fields: ConfigFields): VisionConfig {
  const base = shared(fields, { dModel: 768, nHeads: 12, dMlp: 3072 })
  return {
    ...base,
    imageSize: fields.size('image_size', 224),
    patchSize: fields.size('patch_size', 32),
    nChannels: fields.count('num_channels', 3),
    patchBias: false,
    hasCls: true,
    nRegisters: 0,
    lnPre: true,
    finalNorm: 'tokens',
    pooling: 'cls',
    head: { kind: 'none', dOut: base.dModel, bias: false },
  }
}

function textConfig(fields: ConfigFields): TextConfig {
  const base = shared(fields, { dModel: 512, nHeads: 8, dMlp: 2048 })
  const eosTokenId = fields.count('eos_token_id', 49407, { min: 0 })
  return {
    ...base,
    contextLength: fields.contextLength('max_position_embeddings', 77),
    vocabSize: fields.count('vocab_size', 49408),
    causal: true,
    // Files from before transformers 4.31 say 2, which is not CLIP's end of text; the library then takes the largest id.
    pooling: eosTokenId === 2 ? { kind: 'argmax' } : { kind: 'eos', eosTokenId },
    head: { kind: 'none', dOut: base.dModel, bias: false },
  }
}

function write({ vision, text, preprocessing }: ModelFacts): CheckpointWriting {
  const visionFields = {
    model_type: 'clip_vision_model',
    ...sharedFields(vision),
    image_size: sizeField(vision.imageSize),
    patch_size: sizeField(vision.patchSize),
    num_channels: vision.nChannels,
    projection_dim: vision.head.dOut,
  }
  const rules = visionRules(vision, 'vision_model.')
  const processor = processorFile(preprocessing, { prefer: 'CLIP' })
  const refusals = [...squareOnly(vision), ...processor.refusals]
  if (text === undefined) {
    const architecture = vision.head.kind === 'projection' ? 'CLIPVisionModelWithProjection' : 'CLIPVisionModel'
    const config = { architectures: [architecture], torch_dtype: 'float32', ...visionFields }
    return { json: { [FILE]: config, ...processor.json }, vision: rules, refusals }
  }
  const config = {
    architectures: ['CLIPModel'],
    model_type: 'clip',
    torch_dtype: 'float32',
    projection_dim: vision.head.dOut,
    logit_scale_init_value: 2.6592,
    vision_config: visionFields,
    text_config: { model_type: 'clip_text_model', ...sharedFields(text), ...textFields(text) },
  }
  return { json: { [FILE]: config, ...processor.json }, vision: rules, text: textRules(text), refusals }
}

function sharedFields(config: TransformerConfig): JsonObject {
  return {
    hidden_size: config.dModel,
    intermediate_size: config.dMlp,
    num_hidden_layers: config.nLayers,
    num_attention_heads: config.nHeads,
    hidden_act: config.activation,
    layer_norm_eps: config.normEps,
  }
}

function textFields({ contextLength, vocabSize, pooling, head }: TextConfig): JsonObject {
  const eosTokenId = pooling.kind === 'eos' ? pooling.eosTokenId : 2
  return {
    max_position_embeddings: contextLength,
    vocab_size: vocabSize,
    // The library's defaults are ids of OpenAI's vocabulary; nothing is computed with the start and the padding.
    bos_token_id: null,
    pad_token_id: null,
    eos_token_id: eosTokenId,
    projection_dim: head.dOut,
  }
}

function visionRules(config: VisionConfig, prefix: string): WeightRule[] {
  return [
    { source: `${prefix}embeddings.patch_embedding.weight`, to: ['embed.proj.weight'], how: asIs },
    { source: `${prefix}embeddings.class_embedding`, to: ['cls_token'], how: withoutLeadingAxes },
    { source: `${prefix}embeddings.position_embedding.weight`, to: ['pos_embed.W_pos'], how: asIs },
    ...normRules(`${prefix}pre_layrnorm`, 'ln_pre'),
    ...blockRules(config, prefix),
    ...normRules(`${prefix}post_layernorm`, 'ln_final'),
    ...(config.head.kind === 'projection' ? linearRules('visual_projection', 'head.W_H') : []),
  ]
}

function textRules(config: TextConfig): WeightRule[] {
  const prefix = 'text_model.'
  return [
    { source: `${prefix}embeddings.token_embedding.weight`, to: ['embed.W_E'], how: asIs },
    { source: `${prefix}embeddings.position_embedding.weight`, to: ['pos_embed.W_pos'], how: asIs },
    ...blockRules(config, prefix),
    ...normRules(`${prefix}final_layer_norm`, 'ln_final'),
    ...linearRules('text_projection', 'head.W_H'),
  ]
}

function blockRules({ nLayers }: TransformerConfig, prefix: string): WeightRule[] {
  const layer = `${prefix}encoder.layers.{N}`
  const block = 'blocks.{N}'
  return forEachBlock(nLayers, [
    ...normRules(`${layer}.layer_norm1`, `${block}.ln1`),
    ...linearRules(`${layer}.self_attn.q_proj`, `${block}.attn.W_Q`, `${block}.attn.b_Q`),
    ...linearRules(`${layer}.self_attn.k_proj`, `${block}.attn.W_K`, `${block}.attn.b_K`),
    ...linearRules(`${layer}.self_attn.v_proj`, `${block}.attn.W_V`, `${block}.attn.b_V`),
    ...linearRules(`${layer}.self_attn.out_proj`, `${block}.attn.W_O`, `${block}.attn.b_O`),
    ...normRules(`${layer}.layer_norm2`, `${block}.ln2`),
    ...linearRules(`${layer}.mlp.fc1`, `${block}.mlp.W_in`, `${block}.mlp.b_in`),
    ...linearRules(`${layer}.mlp.fc2`, `${block}.mlp.W_out`, `${block}.mlp.b_out`),
  ])
}
