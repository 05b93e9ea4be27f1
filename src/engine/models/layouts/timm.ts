/**
 * timm's VisionTransformer. Its `config.json` names an architecture and, since timm 0.9, the arguments that differ from it; what an
 * architecture means is in `timm-architectures.ts`.
 * @see timm models/vision_transformer.py (class defaults), models/_hub.py (the file)
 */

import { EngineError } from '../../errors.js'
import { patchGrid } from '../../hook-points.js'
import { ConfigFields, headWidth, isJsonObject, type JsonObject, type Size } from '../config-fields.js'
import type { VisionConfig } from '../model.js'
import { forEachBlock, type WeightRule } from '../name-map.js'
import { asIs, positionTable, stackedVectors, stackedWeights } from '../weight-transforms.js'
import { linearRules, normRules } from './layer-rules.js'
import type { CheckpointFiles, CheckpointReading, Layout } from './layout.js'
import { timmArchitectures } from './timm-architectures.js'

const FILE = 'config.json'
const supported = "timm's VisionTransformer with plain blocks, LayerNorms and token, average or no pooling is."

export const timm: Layout = {
  name: 'timm',
  detect: ({ json }) => typeof json.get(FILE)?.architecture === 'string',
  read,
}

/** Arguments that matter in training only, or that only say how weights were made. */
const trainingArguments = [
  'drop_rate',
  'pos_drop_rate',
  'patch_drop_rate',
  'proj_drop_rate',
  'attn_drop_rate',
  'drop_path_rate',
  'weight_init',
  'fix_init',
]

/** Arguments with the only values that the engine computes. */
const fixedArguments: Readonly<Record<string, readonly unknown[]>> = {
  qk_norm: [false],
  scale_attn_norm: [false],
  scale_mlp_norm: [false],
  pos_embed: ['learn'],
  embed_norm_layer: [],
  norm_layer: ['layernorm', 'LayerNorm', 'LayerNorm(1e-05)', 'LayerNorm(1e-06)'],
  block_fn: ['Block'],
  mlp_layer: ['Mlp', 'mlp'],
  attn_layer: ['Attention', 'attn', ''],
  use_naflex: [false],
}

const knownArguments = new Set([
  ...trainingArguments,
  ...Object.keys(fixedArguments),
  ...['img_size', 'patch_size', 'in_chans', 'num_classes', 'global_pool', 'embed_dim', 'depth', 'num_heads', 'mlp_ratio', 'qkv_bias'],
  ...['proj_bias', 'init_values', 'class_token', 'no_embed_class', 'reg_tokens', 'pre_norm', 'final_norm', 'fc_norm'],
  ...['pool_include_prefix', 'dynamic_img_size', 'dynamic_img_pad', 'strict_img_size', 'act_layer'],
])

interface TimmModel {
  readonly config: VisionConfig
  /** Whether CLS and registers have rows in the position table. */
  readonly hasPrefixPositions: boolean
}

function read({ json }: CheckpointFiles): CheckpointReading {
  const file = json.get(FILE)!
  const architecture = file.architecture as string
  const pretrained = isJsonObject(file.pretrained_cfg) ? file.pretrained_cfg : file // until timm 0.8 the file was this section
  const fields = new ConfigFields(FILE, argumentsOf(file, pretrained, architecture))
  if (!Object.hasOwn(timmArchitectures, architecture)) fields.unsupported(`the timm architecture "${architecture}"`)
  const model = timmModel(fields)
  fields.check(supported)
  const labels = file.label_names ?? pretrained.label_names
  const { kind, dOut } = model.config.head
  const isLabelled =
    kind === 'classes' && Array.isArray(labels) && labels.length === dOut && labels.every((label) => typeof label === 'string')
  return {
    vision: { config: model.config, rules: (config) => rules(model, config) },
    prefixes: [],
    ignored: [],
    ...(fields.flag('dynamic_img_size', false) && { resizesPositions: forSize }),
    ...(isLabelled && { classLabels: labels as string[] }),
  }
}

/** The model's arguments as timm puts them together: the architecture's, then what the weights were made for, then the file's own. */
function argumentsOf(file: JsonObject, pretrained: JsonObject, architecture: string): JsonObject {
  const inputSize = Array.isArray(pretrained.input_size) && pretrained.input_size.length === 3 ? pretrained.input_size : undefined
  const present = Object.entries({
    in_chans: inputSize?.[0],
    img_size: inputSize?.slice(1),
    num_classes: file.num_classes ?? pretrained.num_classes,
    global_pool: pretrained.global_pool,
  }).filter(([, value]) => value !== undefined && value !== null)
  const own = Object.hasOwn(timmArchitectures, architecture) ? timmArchitectures[architecture] : {}
  return { ...own, ...Object.fromEntries(present), ...(isJsonObject(file.model_args) ? file.model_args : {}) }
}

function timmModel(fields: ConfigFields): TimmModel {
  fields.requireKnown(knownArguments)
  for (const [key, allowed] of Object.entries(fixedArguments)) fields.require(key, allowed)
  fields.require('global_pool', ['token', 'avg', ''])
  const dModel = fields.count('embed_dim', 768)
  const nHeads = fields.count('num_heads', 12)
  const nClasses = fields.count('num_classes', 1000, { min: 0 })
  const pool = fields.has('global_pool') ? (fields.raw('global_pool') as string) : 'token'
  const bias = fields.flag('proj_bias', true)
  const hasCls = fields.flag('class_token', true)
  const lnPre = fields.flag('pre_norm', false)
  const config: VisionConfig = {
    nLayers: fields.layers('depth', 12),
    dModel,
    nHeads,
    dHead: headWidth(fields, 'num_heads', { dModel, nHeads }),
    dMlp: Math.max(1, Math.trunc(dModel * fields.positive('mlp_ratio', 4))),
    activation: fields.activation('act_layer', 'gelu'),
    normalization: 'layerNorm',
    normEps: fields.raw('norm_layer') === 'LayerNorm(1e-05)' ? 1e-5 : 1e-6,
    biases: { qkv: fields.flag('qkv_bias', true), attnOut: bias, mlp: bias },
    scaleAttention: true,
    layerScale: fields.has('init_values'),
    normalizeOutput: false,
    imageSize: fields.size('img_size', 224),
    patchSize: fields.size('patch_size', 16),
    nChannels: fields.count('in_chans', 3),
    patchBias: !lnPre,
    hasCls,
    nRegisters: fields.count('reg_tokens', 0, { min: 0, max: 1024 }),
    lnPre,
    finalNorm: finalNorm(fields, pool),
    pooling: pool === 'avg' ? (fields.flag('pool_include_prefix', false) ? 'meanAll' : 'mean') : pool === '' ? 'none' : 'cls',
    head: nClasses > 0 ? { kind: 'classes', dOut: nClasses, bias: true } : { kind: 'none', dOut: dModel, bias: false },
  }
  if (pool === 'token' && !hasCls) fields.invalid('global_pool', 'is "token" in a model without a class token')
  if (fields.flag('dynamic_img_pad', false) && !isFilled(config)) fields.unsupported('padding of images that patches do not fill')
  return { config, hasPrefixPositions: !fields.flag('no_embed_class', false) }
}

/** With `dynamic_img_size` the library interpolates positions for images of any size that patches fill. */
function forSize(config: VisionConfig, imageSize: Size): VisionConfig {
  const resized = { ...config, imageSize }
  if (isFilled(resized)) return resized
  const what = `${FILE}: images of ${imageSize.height} x ${imageSize.width}, which patches of ${config.patchSize.height} x ${config.patchSize.width} do not fill,`
  throw new EngineError('MODEL_UNSUPPORTED', { what, supported })
}

function isFilled({ imageSize, patchSize }: VisionConfig): boolean {
  return imageSize.height % patchSize.height === 0 && imageSize.width % patchSize.width === 0
}

/** `fc_norm` moves the last norm behind pooling; by default it does so for average pooling. */
function finalNorm(fields: ConfigFields, pool: string): VisionConfig['finalNorm'] {
  if (!fields.flag('final_norm', true)) return 'none'
  return fields.flag('fc_norm', pool === 'avg') ? 'pooled' : 'tokens'
}

/** @param config  the model's, or the same for images of another size */
function rules({ config: trained, hasPrefixPositions }: TimmModel, config: VisionConfig): WeightRule[] {
  const positions = { stored: patchGrid(trained), grid: patchGrid(config), resize: 'bicubicAntialias' } as const
  const nStoredPrefix = hasPrefixPositions ? (config.hasCls ? 1 : 0) + config.nRegisters : 0
  const block = 'blocks.{N}'
  const attn = `${block}.attn`
  const qkv = (letter: 'W' | 'b') => ['Q', 'K', 'V'].map((which) => `${attn}.${letter}_${which}`)
  const linear = (source: string, weight: string, bias: string, hasBias: boolean) =>
    linearRules(`${block}.${source}`, `${block}.${weight}`, hasBias ? `${block}.${bias}` : undefined)
  return [
    { source: 'patch_embed.proj.weight', to: ['embed.proj.weight'], how: asIs },
    ...(config.patchBias ? [{ source: 'patch_embed.proj.bias', to: ['embed.proj.bias'], how: asIs }] : []),
    ...(config.hasCls ? [{ source: 'cls_token', to: ['cls_token'], how: asIs }] : []),
    ...(config.nRegisters > 0 ? [{ source: 'reg_token', to: ['register_tokens'], how: asIs }] : []),
    { source: 'pos_embed', to: ['pos_embed.W_pos'], how: positionTable({ nStoredPrefix, ...positions }) },
    ...(config.lnPre ? normRules('norm_pre', 'ln_pre') : []),
    ...forEachBlock(config.nLayers, [
      ...normRules(`${block}.norm1`, `${block}.ln1`),
      { source: `${attn}.qkv.weight`, to: qkv('W'), how: stackedWeights },
      ...(config.biases.qkv ? [{ source: `${attn}.qkv.bias`, to: qkv('b'), how: stackedVectors }] : []),
      ...linear('attn.proj', 'attn.W_O', 'attn.b_O', config.biases.attnOut),
      ...(config.layerScale ? [{ source: `${block}.ls1.gamma`, to: [`${block}.ls1`], how: asIs }] : []),
      ...normRules(`${block}.norm2`, `${block}.ln2`),
      ...linear('mlp.fc1', 'mlp.W_in', 'mlp.b_in', config.biases.mlp),
      ...linear('mlp.fc2', 'mlp.W_out', 'mlp.b_out', config.biases.mlp),
      ...(config.layerScale ? [{ source: `${block}.ls2.gamma`, to: [`${block}.ls2`], how: asIs }] : []),
    ]),
    ...(config.finalNorm === 'none' ? [] : normRules(config.finalNorm === 'pooled' ? 'fc_norm' : 'norm', 'ln_final')),
    ...(config.head.kind === 'classes' ? linearRules('head', 'head.W_H', 'head.b_H') : []),
  ]
}
