/**
 * Our own layout, for what no library's configuration can say: attention without MLPs, no LayerNorm, registers beside any pooling, a tower
 * of any head. `config.json` is the engine's own description (docs/compatibility.md), and weights have the names of the graph's parameters
 * behind their tower's: `vision.blocks.0.attn.W_Q`, `[out, in]`.
 */

import type { Graph } from '../../graph/graph.js'
import { nPatches } from '../../hook-points.js'
import { ConfigFields, type JsonObject } from '../config-fields.js'
import type { TextConfig, TowerName, TransformerConfig, VisionConfig } from '../model.js'
import type { WeightRule } from '../name-map.js'
import { textGraph } from '../text-tower.js'
import { pooledWidth, visionGraph } from '../vit.js'
import { asIs } from '../weight-transforms.js'
import type { CheckpointFiles, CheckpointReading, CheckpointWriting, ModelFacts, WritableLayout } from './layout.js'
import { preprocessingFields, readPreprocessingSection } from './refract-preprocessing.js'

const FILE = 'config.json'
const VERSION = 1
const supported = `Version ${VERSION} of the layout is.`
const MAX_REGISTERS = 1024

const activations = ['relu', 'gelu', 'gelu_new', 'gelu_fast', 'silu', 'quick_gelu', 'solu_ln'] as const
const poolings = ['cls', 'mean', 'meanAll', 'clsAndMean', 'patches', 'none'] as const

export const refract: WritableLayout = {
  name: 'refract',
  detect: ({ json }) => json.get(FILE)?.model_type === 'refract',
  read,
  write,
}

const topFields = ['model_type', 'version', 'architectures', 'vision', 'text', 'preprocessing', 'classLabels']
const sharedFields = ['nLayers', 'dModel', 'nHeads', 'dHead', 'activation', 'normalization', 'normEps', 'biases', 'scaleAttention']
const towerFields = [...sharedFields, 'layerScale', 'normalizeOutput', 'pooling', 'head']
const visionFields = [...towerFields, 'imageSize', 'patchSize', 'nChannels', 'patchBias', 'hasCls', 'nRegisters', 'lnPre', 'finalNorm']
const textFields = [...towerFields, 'contextLength', 'vocabSize', 'causal']

function read({ json, tensors }: CheckpointFiles): CheckpointReading {
  const fields = new ConfigFields(FILE, json.get(FILE)!)
  fields.requireKnown(new Set(topFields))
  requireAll(fields, ['version', 'vision'])
  fields.require('version', [VERSION])
  const vision = visionConfig(fields.section('vision'))
  const text = fields.has('text') ? textConfig(fields.section('text')) : undefined
  const preprocessing = fields.has('preprocessing')
    ? readPreprocessingSection(fields.section('preprocessing'), { file: FILE, nChannels: vision.nChannels })
    : undefined
  const classLabels = labels(fields, vision)
  fields.check(supported)
  return {
    vision: { config: vision, rules: visionRules },
    ...(text && { text: { config: text, rules: textRules } }),
    prefixes: [],
    ignored: [],
    ...(tensors.has('logit_scale') && { logitScale: 'logit_scale' }),
    ...(tensors.has('logit_bias') && { logitBias: 'logit_bias' }),
    ...(classLabels && { classLabels }),
    ...(preprocessing && { preprocessing }),
  }
}

/** Nothing has a default: what is not said is not guessed. */
function requireAll(fields: ConfigFields, names: readonly string[]): void {
  for (const name of names) if (!fields.has(name)) fields.invalid(name, 'is missing')
}

function labels(fields: ConfigFields, { head }: VisionConfig): readonly string[] | undefined {
  if (!fields.has('classLabels')) return undefined
  const list = fields.raw('classLabels')
  if (Array.isArray(list) && head.kind === 'classes' && list.length === head.dOut && list.every((label) => typeof label === 'string')) {
    return list
  }
  fields.invalid('classLabels', 'must be a list of texts, one for each class')
  return undefined
}

function transformer(fields: ConfigFields): TransformerConfig {
  const biases = fields.section('biases')
  const biasNames = ['qkv', 'attnOut', 'mlp']
  biases.requireKnown(new Set(biasNames))
  if (fields.has('biases')) requireAll(biases, biasNames)
  return {
    nLayers: fields.layers('nLayers'),
    dModel: fields.count('dModel'),
    nHeads: fields.count('nHeads'),
    dHead: fields.count('dHead'),
    ...(fields.has('dMlp') && { dMlp: fields.count('dMlp') }),
    activation: fields.choice('activation', activations),
    normalization: fields.choice('normalization', ['layerNorm', 'layerNormPre', 'none']),
    normEps: fields.positive('normEps'),
    biases: { qkv: biases.flag('qkv', true), attnOut: biases.flag('attnOut', true), mlp: biases.flag('mlp', true) },
    scaleAttention: fields.flag('scaleAttention', true),
    layerScale: fields.flag('layerScale', false),
    normalizeOutput: fields.flag('normalizeOutput', false),
  }
}

function visionConfig(fields: ConfigFields): VisionConfig {
  fields.requireKnown(new Set([...visionFields, 'dMlp']))
  requireAll(fields, visionFields)
  const headFields = fields.section('head')
  const config: VisionConfig = {
    ...transformer(fields),
    imageSize: fields.size('imageSize'),
    patchSize: fields.size('patchSize'),
    nChannels: fields.count('nChannels', undefined, { max: 64 }),
    patchBias: fields.flag('patchBias', true),
    hasCls: fields.flag('hasCls', true),
    nRegisters: fields.count('nRegisters', undefined, { min: 0, max: MAX_REGISTERS }),
    lnPre: fields.flag('lnPre', false),
    finalNorm: fields.choice('finalNorm', ['tokens', 'pooled', 'none']),
    pooling: fields.choice('pooling', poolings),
    head: {
      kind: headFields.choice('kind', ['classes', 'projection', 'none']),
      dOut: headFields.count('dOut'),
      bias: headFields.flag('bias', false),
    },
  }
  checkHead(headFields, config.head, pooledWidth(config))
  if (config.finalNorm === 'pooled' && config.pooling === 'clsAndMean') {
    fields.invalid('finalNorm', 'is "pooled", and a norm of dModel cannot be over CLS and mean side by side')
  }
  if (nPatches(config) < 1) fields.invalid('patchSize', 'is larger than the images')
  return config
}

function textConfig(fields: ConfigFields): TextConfig {
  fields.requireKnown(new Set([...textFields, 'dMlp']))
  requireAll(fields, textFields)
  const headFields = fields.section('head')
  const poolingFields = fields.section('pooling')
  poolingFields.requireKnown(new Set(['kind', 'eosTokenId']))
  const kind = poolingFields.choice('kind', ['argmax', 'first', 'last', 'eos'])
  const config: TextConfig = {
    ...transformer(fields),
    contextLength: fields.contextLength('contextLength'),
    vocabSize: fields.count('vocabSize'),
    causal: fields.flag('causal', true),
    pooling: kind === 'eos' ? { kind, eosTokenId: poolingFields.count('eosTokenId', undefined, { min: 0 }) } : { kind },
    head: {
      kind: headFields.choice('kind', ['projection', 'none']),
      dOut: headFields.count('dOut'),
      bias: headFields.flag('bias', false),
    },
  }
  checkHead(headFields, config.head, config.dModel)
  return config
}

function checkHead(fields: ConfigFields, { kind, dOut, bias }: VisionConfig['head'], dIn: number): void {
  fields.requireKnown(new Set(['kind', 'dOut', 'bias']))
  requireAll(fields, ['bias'])
  if (kind !== 'none') return
  if (bias) fields.invalid('bias', 'must be false where there is no head')
  if (dOut !== dIn) fields.invalid('dOut', `is ${dOut}; without a head it is the width of the pooled tokens, ${dIn}`)
}

function write({ vision, text, preprocessing, classLabels }: ModelFacts): CheckpointWriting {
  const ofVision = ({ imageSize, patchSize, ...config }: VisionConfig): JsonObject => ({
    ...config,
    imageSize: [imageSize.height, imageSize.width],
    patchSize: [patchSize.height, patchSize.width],
  })
  const config = {
    model_type: 'refract',
    version: VERSION,
    vision: ofVision(vision),
    ...(text && { text }),
    // The engine's own default is better said by silence: it may be read differently by another model's reader.
    ...(preprocessing.source !== 'default' && { preprocessing: preprocessingFields(preprocessing) }),
    ...(classLabels && { classLabels }),
  }
  return { json: { [FILE]: config }, vision: visionRules(vision), ...(text && { text: textRules(text) }) }
}

const visionRules = (config: VisionConfig) => ownNames('vision', visionGraph(config))
const textRules = (config: TextConfig) => ownNames('text', textGraph(config))

function ownNames(tower: TowerName, { parameters }: Graph): WeightRule[] {
  return Object.keys(parameters).map((name) => ({ source: `${tower}.${name}`, to: [name], how: asIs }))
}
