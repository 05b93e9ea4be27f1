/**
 * transformers' ViTModel (DINO among them) and ViTForImageClassification. ViTModel's output is the CLS token after the last norm; its tanh
 * pooler is not part of it.
 * @see transformers models/vit/configuration_vit.py (defaults), modeling_vit.py
 */

import { ConfigFields, headWidth } from '../config-fields.js'
import type { VisionConfig } from '../model.js'
import { forEachBlock, type WeightRule } from '../name-map.js'
import { processorFile } from '../preprocessor-config.js'
import { asIs, unbatched } from '../weight-transforms.js'
import { labelFields, nHfClasses } from './hf-classes.js'
import { linearRules, normRules } from './layer-rules.js'
import {
  type CheckpointFiles,
  type CheckpointReading,
  type CheckpointWriting,
  classLabelsOf,
  type ModelFacts,
  sizeField,
  type WritableLayout,
} from './layout.js'

const FILE = 'config.json'
const supported = 'ViTModel and ViTForImageClassification are.'

export const hfVit: WritableLayout = {
  name: 'hf-vit',
  detect: ({ json }) => json.get(FILE)?.model_type === 'vit',
  read,
  write,
}

function read({ json, tensors }: CheckpointFiles): CheckpointReading {
  const fields = new ConfigFields(FILE, json.get(FILE)!)
  const dModel = fields.count('hidden_size', 768)
  const nHeads = fields.count('num_attention_heads', 12)
  const nClasses = tensors.has('classifier.weight') ? nHfClasses(fields) : 0
  const labels = nClasses > 0 ? classLabelsOf(fields, nClasses) : undefined
  const config: VisionConfig = {
    nLayers: fields.layers('num_hidden_layers', 12),
    dModel,
    nHeads,
    dHead: fields.has('head_dim') ? fields.count('head_dim') : headWidth(fields, 'num_attention_heads', { dModel, nHeads }),
    dMlp: fields.count('intermediate_size', 3072),
    activation: fields.activation('hidden_act', 'gelu'),
    normalization: 'layerNorm',
    normEps: fields.positive('layer_norm_eps', 1e-12),
    biases: { qkv: fields.flag('qkv_bias', true), attnOut: true, mlp: true },
    scaleAttention: true,
    layerScale: false,
    normalizeOutput: false,
    imageSize: fields.size('image_size', 224),
    patchSize: fields.size('patch_size', 16),
    nChannels: fields.count('num_channels', 3),
    patchBias: true,
    hasCls: true,
    nRegisters: 0,
    lnPre: false,
    finalNorm: 'tokens',
    pooling: 'cls',
    head: nClasses > 0 ? { kind: 'classes', dOut: nClasses, bias: true } : { kind: 'none', dOut: dModel, bias: false },
  }
  fields.check(supported)
  return {
    vision: { config, rules },
    prefixes: ['vit.'],
    ignored: [
      { names: /^pooler\.dense\.(weight|bias)$/, reason: 'the pooler comes after the CLS token that is the output' },
      { names: /^embeddings\.mask_token$/, reason: 'used in pre-training only' },
    ],
    ...(labels && { classLabels: labels }),
  }
}

function write({ vision, classLabels, preprocessing }: ModelFacts): CheckpointWriting {
  const isClassifier = vision.head.kind === 'classes'
  const config = {
    architectures: [isClassifier ? 'ViTForImageClassification' : 'ViTModel'],
    model_type: 'vit',
    torch_dtype: 'float32',
    hidden_size: vision.dModel,
    num_hidden_layers: vision.nLayers,
    num_attention_heads: vision.nHeads,
    ...(vision.dHead * vision.nHeads !== vision.dModel && { head_dim: vision.dHead }),
    intermediate_size: vision.dMlp,
    hidden_act: vision.activation,
    layer_norm_eps: vision.normEps,
    qkv_bias: vision.biases.qkv,
    image_size: sizeField(vision.imageSize),
    patch_size: sizeField(vision.patchSize),
    num_channels: vision.nChannels,
    ...(isClassifier && (classLabels ? labelFields(classLabels) : { num_labels: vision.head.dOut })),
  }
  // The model sits inside the classifier, whose own weights are beside it.
  const spelled = (name: string) => (isClassifier && !name.startsWith('classifier.') ? `vit.${name}` : name)
  const { json, refusals } = processorFile(preprocessing)
  return { json: { [FILE]: config, ...json }, vision: rules(vision), spelled, refusals }
}

function rules(config: VisionConfig): WeightRule[] {
  const qkv = (letter: 'q' | 'k' | 'v', word: string) => {
    const name = `blocks.{N}.attn.`
    const capital = letter.toUpperCase()
    return linearRules(
      layer(`attention.attention.${word}`, `attention.${letter}_proj`),
      `${name}W_${capital}`,
      config.biases.qkv ? `${name}b_${capital}` : undefined,
    )
  }
  return [
    { source: 'embeddings.patch_embeddings.projection.weight', to: ['embed.proj.weight'], how: asIs },
    { source: 'embeddings.patch_embeddings.projection.bias', to: ['embed.proj.bias'], how: asIs },
    { source: 'embeddings.cls_token', to: ['cls_token'], how: asIs },
    { source: 'embeddings.position_embeddings', to: ['pos_embed.W_pos'], how: unbatched },
    ...forEachBlock(config.nLayers, [
      ...normRules(layer('layernorm_before'), 'blocks.{N}.ln1'),
      ...qkv('q', 'query'),
      ...qkv('k', 'key'),
      ...qkv('v', 'value'),
      ...linearRules(layer('attention.output.dense', 'attention.o_proj'), 'blocks.{N}.attn.W_O', 'blocks.{N}.attn.b_O'),
      ...normRules(layer('layernorm_after'), 'blocks.{N}.ln2'),
      ...linearRules(layer('intermediate.dense', 'mlp.fc1'), 'blocks.{N}.mlp.W_in', 'blocks.{N}.mlp.b_in'),
      ...linearRules(layer('output.dense', 'mlp.fc2'), 'blocks.{N}.mlp.W_out', 'blocks.{N}.mlp.b_out'),
    ]),
    ...normRules('layernorm', 'ln_final'),
    ...(config.head.kind === 'classes' ? linearRules('classifier', 'head.W_H', 'head.b_H') : []),
  ]
}

/** The name that hub files have, and the module's name since transformers 5 (a file written by `torch.save` has it). */
function layer(hubName: string, moduleName = hubName): string[] {
  return [`encoder.layer.{N}.${hubName}`, `layers.{N}.${moduleName}`]
}
