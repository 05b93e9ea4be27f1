/**
 * ViT-Prisma's HookedViT: `config.json` holds its HookedViTConfig, and the state dict has TransformerLens names and shapes.
 * @see vit_prisma configs/HookedViTConfig.py (fields and defaults), models/base_vit.py
 */

import { nPatches } from '../../hook-points.js'
import { ConfigFields, headWidth } from '../config-fields.js'
import type { VisionConfig } from '../model.js'
import { forEachBlock, type WeightRule } from '../name-map.js'
import { processorFile } from '../preprocessor-config.js'
import { asIs, biasOfHeads, transposedWeight, weightIntoHeads, weightOutOfHeads } from '../weight-transforms.js'
import {
  type CheckpointFiles,
  type CheckpointReading,
  type CheckpointWriting,
  type ModelFacts,
  rowsOf,
  sizeField,
  squareOnly,
  type WritableLayout,
} from './layout.js'

const FILE = 'config.json'
const supported = 'HookedViT for images, with pre-norm blocks, is.'

export const vitPrisma: WritableLayout = {
  name: 'vit-prisma',
  detect: ({ json, tensors }) => json.get(FILE)?.n_layers !== undefined && [...tensors.keys()].some((name) => name.endsWith('.attn.W_Q')),
  read,
  write,
}

/** Fields that change what is computed. */
const architecture = [
  ...['n_layers', 'd_model', 'd_head', 'd_mlp', 'n_heads', 'activation_name', 'eps', 'use_attn_scale', 'normalization_type', 'attn_only'],
  ...['layer_norm_pre', 'use_bert_block', 'normalize_output', 'n_channels', 'patch_size', 'image_size', 'classification_type', 'n_classes'],
  ...['return_type', 'use_cls_token', 'is_video_transformer'],
]

/** Fields that switch optional hook points on (here they are always at hand), that only training reads, or that HookedViT never reads. */
const withoutEffect = [
  ...['model_name', 'use_attn_result', 'use_split_qkv_input', 'use_hook_mlp_in', 'use_attn_in', 'd_vocab', 'dtype', 'device', 'n_devices'],
  ...['video_tubelet_depth', 'video_num_frames', 'weight_type', 'cls_std', 'pos_std', 'seed', 'optimizer_name', 'lr', 'weight_decay'],
  ...['loss_fn_name', 'batch_size', 'warmup_steps', 'scheduler_step', 'scheduler_gamma', 'scheduler_type', 'early_stopping'],
  ...[
    'early_stopping_patience',
    'num_epochs',
    'max_grad_norm',
    'max_steps',
    'attn_dropout_rate',
    'mlp_dropout_rate',
    'log_dir',
    'use_wandb',
  ],
  ...['wandb_team_name', 'wandb_project_name', 'log_frequency', 'print_every', 'parent_dir', 'save_dir', 'save_checkpoints'],
  ...['save_cp_frequency', 'use_local_attn', 'original_architecture', 'from_checkpoint', 'checkpoint_index', 'checkpoint_label_type'],
  ...['checkpoint_value', 'tokenizer_name', 'window_size', 'attn_types', 'init_mode', 'attention_dir', 'initializer_range', 'init_weights'],
  ...['scale_attn_by_inverse_layer_idx', 'positional_embedding_type', 'final_rms', 'd_vocab_out', 'parallel_attn_mlp', 'rotary_dim'],
  ...['n_params', 'use_hook_tokens', 'gated_mlp', 'default_prepend_bos', 'tokenizer_prepends_bos', 'n_key_value_heads'],
  ...['post_embedding_ln', 'rotary_base', 'trust_remote_code', 'rotary_adjacent_pairs'],
]

const knownFields = new Set([...architecture, ...withoutEffect])

function read(files: CheckpointFiles): CheckpointReading {
  const fields = new ConfigFields(FILE, files.json.get(FILE)!)
  fields.requireKnown(knownFields)
  fields.require('is_video_transformer', [false])
  fields.require('use_bert_block', [false])
  fields.require('normalization_type', ['LN', 'LNPre'])
  const sized = configWithCls(fields, true)
  const hasCls = hasClsToken(fields, files, sized)
  const config = { ...sized, hasCls }
  fields.check(supported)
  return {
    vision: { config, rules },
    prefixes: [],
    ignored: [
      ...(hasCls ? [] : [{ names: /^cls_token$/, reason: 'HookedViT has it in every state dict and uses it only with a CLS token' }]),
      ...(config.head.kind === 'none' ? [{ names: /^head\.(W|b)_H$/, reason: 'return_type "pre_logits" leaves the head out' }] : []),
    ],
  }
}

/** Until version 2 there was no `use_cls_token`: CLS was there when it was read, or where the position table has a row for it. */
function hasClsToken(fields: ConfigFields, files: CheckpointFiles, config: VisionConfig): boolean {
  if (fields.has('use_cls_token')) return fields.flag('use_cls_token', true)
  return config.pooling === 'cls' || rowsOf(files, 'pos_embed.W_pos') === nPatches(config) + 1
}

function configWithCls(fields: ConfigFields, hasCls: boolean): VisionConfig {
  const dModel = fields.count('d_model')
  const nHeads = fields.count('n_heads', 4)
  const isAttnOnly = fields.flag('attn_only', false)
  const pooling = fields.text('classification_type', 'cls')
  const isHeadless = fields.text('return_type', 'pre_logits') === 'pre_logits'
  const type = fields.raw('normalization_type')
  return {
    nLayers: fields.layers('n_layers'),
    dModel,
    nHeads,
    dHead: fields.has('d_head') ? fields.count('d_head') : headWidth(fields, 'n_heads', { dModel, nHeads }),
    ...(!isAttnOnly && { dMlp: fields.count('d_mlp') }),
    activation: fields.activation('activation_name', 'gelu'),
    // null is a choice of its own here ("no norms"); only an absent field means the default, "LN".
    normalization: type === null ? 'none' : type === 'LNPre' ? 'layerNormPre' : 'layerNorm',
    normEps: fields.positive('eps', 1e-6),
    biases: { qkv: true, attnOut: true, mlp: true },
    scaleAttention: fields.flag('use_attn_scale', true),
    layerScale: false,
    normalizeOutput: fields.flag('normalize_output', false),
    imageSize: fields.size('image_size', 224),
    patchSize: fields.size('patch_size', 32),
    nChannels: fields.count('n_channels', 3),
    patchBias: true,
    hasCls,
    nRegisters: 0,
    lnPre: fields.flag('layer_norm_pre', false),
    finalNorm: 'tokens',
    // `gaap` averages every token, CLS included; any name but the two passes all tokens on.
    pooling: pooling === 'cls' ? 'cls' : pooling === 'gaap' ? 'meanAll' : 'none',
    head: isHeadless ? { kind: 'none', dOut: dModel, bias: false } : { kind: 'classes', dOut: fields.count('n_classes', 10), bias: true },
  }
}

/** The library's names for what it pools; its name for "no norms" is null. */
const poolingNames: Readonly<Partial<Record<VisionConfig['pooling'], string>>> = {
  cls: 'cls',
  mean: 'gaap',
  meanAll: 'gaap',
  none: 'last_hidden',
}
const normalizationNames = { layerNorm: 'LN', layerNormPre: 'LNPre', none: null } as const

function write({ vision, preprocessing }: ModelFacts): CheckpointWriting {
  const isHeadless = vision.head.kind === 'none'
  const nClasses = isHeadless ? 1 : vision.head.dOut
  const config = {
    n_layers: vision.nLayers,
    d_model: vision.dModel,
    d_head: vision.dHead,
    n_heads: vision.nHeads,
    d_mlp: vision.dMlp,
    attn_only: vision.dMlp === undefined,
    activation_name: vision.activation,
    eps: vision.normEps,
    normalization_type: normalizationNames[vision.normalization],
    layer_norm_pre: vision.lnPre,
    use_attn_scale: vision.scaleAttention,
    normalize_output: vision.normalizeOutput,
    use_cls_token: vision.hasCls,
    n_channels: vision.nChannels,
    image_size: sizeField(vision.imageSize),
    patch_size: sizeField(vision.patchSize),
    classification_type: poolingNames[vision.pooling],
    return_type: isHeadless ? 'pre_logits' : 'class_logits',
    n_classes: nClasses,
  }
  // HookedViT makes these whether it uses them or not.
  const unused = {
    ...(!vision.hasCls && { cls_token: [1, 1, vision.dModel] }),
    ...(isHeadless && { 'head.W_H': [vision.dModel, nClasses], 'head.b_H': [nClasses] }),
  }
  const { json, refusals } = processorFile(preprocessing)
  return { json: { [FILE]: config, ...json }, vision: rules(vision), unused, refusals: [...squareOnly(vision), ...refusals] }
}

function rules(config: VisionConfig): WeightRule[] {
  const same = (name: string): WeightRule => ({ source: name, to: [name], how: asIs })
  const hasWeights = config.normalization === 'layerNorm'
  const norm = (name: string) => (hasWeights ? [same(`${name}.w`), same(`${name}.b`)] : [])
  const attn = 'blocks.{N}.attn'
  const mlp = 'blocks.{N}.mlp'
  const moved = (name: string, how: WeightRule['how']): WeightRule => ({ source: name, to: [name], how })
  const into = weightIntoHeads(config.nHeads)
  return [
    same('embed.proj.weight'),
    same('embed.proj.bias'),
    ...(config.hasCls ? [same('cls_token')] : []),
    same('pos_embed.W_pos'),
    ...(config.lnPre ? norm('ln_pre') : []),
    ...forEachBlock(config.nLayers, [
      ...norm('blocks.{N}.ln1'),
      ...['Q', 'K', 'V'].flatMap((letter) => [
        moved(`${attn}.W_${letter}`, into),
        moved(`${attn}.b_${letter}`, biasOfHeads(config.nHeads)),
      ]),
      moved(`${attn}.W_O`, weightOutOfHeads(config.nHeads)),
      same(`${attn}.b_O`),
      ...(config.dMlp === undefined
        ? []
        : [
            ...norm('blocks.{N}.ln2'),
            moved(`${mlp}.W_in`, transposedWeight),
            same(`${mlp}.b_in`),
            ...(config.activation === 'solu_ln' ? norm(`${mlp}.ln`) : []),
            moved(`${mlp}.W_out`, transposedWeight),
            same(`${mlp}.b_out`),
          ]),
    ]),
    ...norm('ln_final'),
    ...(config.head.kind === 'classes' ? [moved('head.W_H', transposedWeight), same('head.b_H')] : []),
  ]
}
