/**
 * open_clip: `open_clip_config.json` and weights named `visual.*`; the text tower at the top level, or under `text.` (CustomTextCLIP).
 * Both embeddings are normalised, as in the library's own forward pass.
 *
 * A text tower that is a Hugging Face model (XLM-RoBERTa, ...) is not loaded; the vision tower then stands alone.
 * @see open_clip model.py (CLIPVisionCfg, CLIPTextCfg and their defaults), transformer.py
 */

import { ConfigFields, headWidth } from '../config-fields.js'
import type { Activation, TextConfig, TransformerConfig, VisionConfig } from '../model.js'
import { forEachBlock, type WeightRule } from '../name-map.js'
import { asIs, stackedVectors, stackedWeights, transposedWeight, withoutLeadingAxes } from '../weight-transforms.js'
import { linearRules, normRules } from './layer-rules.js'
import { type CheckpointFiles, type CheckpointReading, type Layout, positionIds } from './layout.js'

const FILE = 'open_clip_config.json'
const supported = "open_clip's own VisionTransformer and TextTransformer with default blocks are."

export const openClip: Layout = {
  name: 'open-clip',
  detect: ({ json, tensors }) => json.has(FILE) && [...tensors.keys()].some((name) => name.startsWith('visual.')),
  read,
}

/** Of `model_cfg`, beside the towers; none of these but `quick_gelu` and `embed_dim` changes what a trained model computes. */
const modelFields = [
  'embed_dim',
  'vision_cfg',
  'text_cfg',
  'quick_gelu',
  'custom_text',
  'init_logit_scale',
  'init_logit_bias',
  'nonscalar_logit_scale',
  'cast_dtype',
  'output_dict',
]

const sharedFields = ['layers', 'width', 'mlp_ratio', 'ls_init_value', 'act_kwargs', 'norm_kwargs', 'pool_type', 'output_tokens']
const refusedBlocks = {
  block_type: ['default'],
  qk_norm: [false],
  scaled_cosine_attn: [false],
  scale_heads: [false],
  scale_attn_inner: [false],
  scale_attn: [false],
  scale_fc: [false],
}

const visionFields = new Set([
  ...sharedFields,
  ...Object.keys(refusedBlocks),
  'head_width',
  'patch_size',
  'image_size',
  'patch_dropout', // training only
  'attentional_pool',
  'attn_pooler_queries',
  'attn_pooler_heads',
  'no_ln_pre',
  'pos_embed_type', // how the stored table was first filled
  'final_ln_after_pool',
  'timm_model_name',
  'timm_model_pretrained',
  'timm_pool',
  'timm_proj',
  'timm_proj_bias',
  'timm_drop',
  'timm_drop_path',
])

const textFields = new Set([
  ...sharedFields,
  ...Object.keys(refusedBlocks),
  'context_length',
  'vocab_size',
  'hf_tokenizer_name',
  'tokenizer_mode',
  'tokenizer_kwargs',
  'heads',
  'embed_cls',
  'pad_id', // a mask that only CLS-appending towers use
  'eos_id',
  'no_causal_mask',
  'final_ln_after_pool', // open_clip reads it for the vision tower only
  'proj_bias',
  'proj_type',
])

function read({ json, tensors }: CheckpointFiles): CheckpointReading {
  const fields = new ConfigFields(FILE, json.get(FILE)!).section('model_cfg')
  fields.requireKnown(new Set(modelFields))
  const activation = fields.flag('quick_gelu', false) ? 'quick_gelu' : 'gelu'
  const dOut = fields.count('embed_dim')
  const vision = visionConfig(fields.section('vision_cfg'), { activation, dOut })
  const textFieldsOf = fields.section('text_cfg')
  const hasForeignText = textFieldsOf.has('hf_model_name')
  const textPrefix = tensors.has('text.token_embedding.weight') ? 'text.' : ''
  const text = hasForeignText ? undefined : textConfig(textFieldsOf, { activation, dOut })
  fields.check(supported)
  return {
    vision: { config: vision, rules: visionRules },
    ...(text && { text: { config: text, rules: (config: TextConfig) => textRules(config, textPrefix) } }),
    prefixes: [],
    ignored: [
      positionIds,
      { names: /(^|\.)attn_mask$/, reason: 'the causal mask, which the graph makes itself' },
      ...(hasForeignText ? [{ names: /^text\./, reason: 'a text tower of another library, which is not loaded' }] : []),
    ],
    ...(text &&
      usesForeignTokenizer(textFieldsOf) && {
        tokenizerProblem: 'its open_clip configuration asks for a tokenizer that is not CLIP\u2019s.',
      }),
    logitScale: 'logit_scale',
    ...(tensors.has('logit_bias') && { logitBias: 'logit_bias' }),
  }
}

/** Another vocabulary, or other rules of cleaning. */
function usesForeignTokenizer(fields: ConfigFields): boolean {
  return ['hf_tokenizer_name', 'tokenizer_mode', 'tokenizer_kwargs'].some((key) => fields.has(key))
}

function shared(
  fields: ConfigFields,
  { activation, nHeads, dModel }: { activation: Activation; nHeads: number; dModel: number },
): TransformerConfig {
  for (const [key, allowed] of Object.entries(refusedBlocks)) fields.require(key, allowed)
  const norm = fields.section('norm_kwargs')
  norm.requireKnown(new Set(['eps']))
  return {
    nLayers: fields.layers('layers', 12),
    dModel,
    nHeads,
    dHead: headWidth(fields, 'width', { dModel, nHeads }),
    dMlp: Math.max(1, Math.trunc(dModel * fields.positive('mlp_ratio', 4))),
    activation: activationOf(fields, activation),
    normalization: 'layerNorm',
    normEps: norm.positive('eps', 1e-5),
    biases: { qkv: true, attnOut: true, mlp: true },
    scaleAttention: true,
    layerScale: fields.has('ls_init_value'),
    normalizeOutput: true,
  }
}

/** `act_kwargs` are arguments of torch's GELU. */
function activationOf(fields: ConfigFields, activation: Activation): Activation {
  const act = fields.section('act_kwargs')
  if (activation === 'quick_gelu') {
    act.requireKnown(new Set())
    return activation
  }
  act.requireKnown(new Set(['approximate']))
  return act.choice('approximate', ['none', 'tanh'], 'none') === 'tanh' ? 'gelu_new' : 'gelu'
}

function visionConfig(fields: ConfigFields, { activation, dOut }: { activation: Activation; dOut: number }): VisionConfig {
  fields.requireKnown(visionFields)
  if (fields.has('timm_model_name')) fields.unsupported(`a timm image tower (${String(fields.raw('timm_model_name'))})`)
  if (Array.isArray(fields.raw('layers'))) fields.unsupported('a ResNet image tower')
  fields.require('attentional_pool', [false])
  fields.require('pos_embed_type', ['learnable', 'sin_cos_2d'])
  const dModel = fields.count('width', 768)
  const nHeads = Math.max(1, Math.floor(dModel / fields.count('head_width', 64)))
  const pool = fields.choice('pool_type', ['tok', 'avg', 'none'], 'tok')
  return {
    ...shared(fields, { activation, nHeads, dModel }),
    imageSize: fields.size('image_size', 224),
    patchSize: fields.size('patch_size', 16),
    nChannels: 3,
    patchBias: false,
    hasCls: true,
    nRegisters: 0,
    lnPre: !fields.flag('no_ln_pre', false),
    finalNorm: fields.flag('final_ln_after_pool', false) ? 'pooled' : 'tokens',
    pooling: ({ tok: 'cls', avg: 'mean', none: 'none' } as const)[pool],
    head: { kind: 'projection', dOut, bias: false },
  }
}

function textConfig(fields: ConfigFields, { activation, dOut }: { activation: Activation; dOut: number }): TextConfig {
  fields.requireKnown(textFields)
  fields.require('embed_cls', [false])
  const pool = fields.choice('pool_type', ['argmax', 'eos', 'first', 'last'], 'argmax')
  const dModel = fields.count('width', 512)
  const isProjected = fields.choice('proj_type', ['linear', 'none'], 'linear') === 'linear'
  const eosTokenId = fields.count('eos_id', 2, { min: 0 })
  return {
    ...shared(fields, { activation, nHeads: fields.count('heads', 8), dModel }),
    contextLength: fields.contextLength('context_length', 77),
    vocabSize: fields.count('vocab_size', 49408),
    causal: !fields.flag('no_causal_mask', false),
    pooling: pool === 'eos' ? { kind: pool, eosTokenId } : { kind: pool },
    head: isProjected ? { kind: 'projection', dOut, bias: fields.flag('proj_bias', false) } : { kind: 'none', dOut: dModel, bias: false },
  }
}

function visionRules(config: VisionConfig): WeightRule[] {
  return [
    { source: 'visual.conv1.weight', to: ['embed.proj.weight'], how: asIs },
    { source: 'visual.class_embedding', to: ['cls_token'], how: withoutLeadingAxes },
    { source: 'visual.positional_embedding', to: ['pos_embed.W_pos'], how: asIs },
    ...(config.lnPre ? normRules('visual.ln_pre', 'ln_pre') : []),
    ...blockRules(config, 'visual.'),
    ...normRules('visual.ln_post', 'ln_final'),
    { source: 'visual.proj', to: ['head.W_H'], how: transposedWeight },
  ]
}

function textRules(config: TextConfig, prefix: string): WeightRule[] {
  const projection = `${prefix}text_projection`
  return [
    { source: `${prefix}token_embedding.weight`, to: ['embed.W_E'], how: asIs },
    { source: `${prefix}positional_embedding`, to: ['pos_embed.W_pos'], how: asIs },
    ...blockRules(config, prefix),
    ...normRules(`${prefix}ln_final`, 'ln_final'),
    ...(config.head.kind === 'none'
      ? []
      : config.head.bias
        ? linearRules(projection, 'head.W_H', 'head.b_H')
        : [{ source: projection, to: ['head.W_H'], how: transposedWeight }]),
  ]
}

function blockRules({ nLayers, layerScale }: TransformerConfig, prefix: string): WeightRule[] {
  const source = `${prefix}transformer.resblocks.{N}`
  const block = 'blocks.{N}'
  const attn = `${block}.attn`
  const scaleRule = (name: string, parameter: string): WeightRule[] =>
    layerScale ? [{ source: `${source}.${name}.gamma`, to: [`${block}.${parameter}`], how: asIs }] : []
  return forEachBlock(nLayers, [
    ...normRules(`${source}.ln_1`, `${block}.ln1`),
    { source: `${source}.attn.in_proj_weight`, to: [`${attn}.W_Q`, `${attn}.W_K`, `${attn}.W_V`], how: stackedWeights },
    { source: `${source}.attn.in_proj_bias`, to: [`${attn}.b_Q`, `${attn}.b_K`, `${attn}.b_V`], how: stackedVectors },
    ...linearRules(`${source}.attn.out_proj`, `${attn}.W_O`, `${attn}.b_O`),
    ...scaleRule('ls_1', 'ls1'),
    ...normRules(`${source}.ln_2`, `${block}.ln2`),
    ...linearRules(`${source}.mlp.c_fc`, `${block}.mlp.W_in`, `${block}.mlp.b_in`),
    ...linearRules(`${source}.mlp.c_proj`, `${block}.mlp.W_out`, `${block}.mlp.b_out`),
    ...scaleRule('ls_2', 'ls2'),
  ])
}
