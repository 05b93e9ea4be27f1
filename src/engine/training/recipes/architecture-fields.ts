/**
 * Architectures as a training configuration writes them: what shapes the model must be said, the rest has the values that small
 * transformers usually have.
 */

import type { Activation, TextConfig, TransformerConfig, VisionConfig } from '../../models/model.js'
import type { StrictFields } from '../../strict-fields.js'

const activations = ['relu', 'gelu', 'gelu_new', 'gelu_fast', 'silu', 'quick_gelu', 'solu_ln'] as const satisfies readonly Activation[]
const normalizations = ['layerNorm', 'layerNormPre', 'none'] as const
const poolings = ['cls', 'mean', 'meanAll', 'clsAndMean'] as const

const size = { min: 1, max: 65_536, integer: true } as const

interface TowerFields {
  readonly section: StrictFields
  readonly activation: Activation
  readonly normEps: number
}

function readTransformer({ section, activation, normEps }: TowerFields): TransformerConfig {
  const dModel = section.number('dModel', size)
  const nHeads = section.number('nHeads', { ...size, max: 1024 })
  const divides = Number.isInteger(dModel / nHeads)
  if (!section.has('dHead') && !divides) section.problem('nHeads', `${nHeads} heads do not divide dModel ${dModel}; give dHead`)
  const attentionOnly = section.boolean('attentionOnly', false)
  const biases = section.section('biases')
  if (attentionOnly && section.has('dMlp')) section.problem('dMlp', 'an attention-only model has none')
  return {
    nLayers: section.number('nLayers', { ...size, max: 1024 }),
    dModel,
    nHeads,
    dHead: section.number('dHead', { ...size, fallback: divides ? dModel / nHeads : 1 }),
    ...(!attentionOnly && { dMlp: section.number('dMlp', { ...size, fallback: 4 * dModel }) }),
    activation: section.choice('activation', activations, activation),
    normalization: section.choice('normalization', normalizations, 'layerNorm'),
    normEps: section.number('normEps', { min: 0, max: 1, fallback: normEps }),
    biases: {
      qkv: biases?.boolean('qkv', true) ?? true,
      attnOut: biases?.boolean('attnOut', true) ?? true,
      mlp: biases?.boolean('mlp', true) ?? true,
    },
    scaleAttention: section.boolean('scaleAttention', true),
    layerScale: section.boolean('layerScale', false),
    normalizeOutput: false,
  }
}

function readSize(section: StrictFields, key: string): { height: number; width: number } {
  if (!Array.isArray(section.raw(key))) {
    const side = section.number(key, { ...size, max: 8192 })
    return { height: side, width: side }
  }
  const [height, width] = section.numbers(key, { ...size, max: 8192, length: 2 }) as [number, number]
  return { height: height ?? 1, width: width ?? 1 }
}

/** A classifier's tower, its head for `nClasses`. */
export function readClassifier(section: StrictFields): (nClasses: number) => VisionConfig {
  const base = readVision(section, { activation: 'gelu', normEps: 1e-6, patchBias: true, lnPre: false })
  const bias = section.boolean('headBias', true)
  return (nClasses) => ({ ...base, head: { kind: 'classes', dOut: nClasses, bias } })
}

/** CLIP's vision tower, with a projection to `dEmbed`. */
export function readClipVision(section: StrictFields, dEmbed: number): VisionConfig {
  const base = readVision(section, { activation: 'quick_gelu', normEps: 1e-5, patchBias: false, lnPre: true })
  return { ...base, normalizeOutput: true, head: { kind: 'projection', dOut: dEmbed, bias: false } }
}

type VisionDefaults = Pick<VisionConfig, 'activation' | 'normEps' | 'patchBias' | 'lnPre'>

function readVision(section: StrictFields, { patchBias, lnPre, ...defaults }: VisionDefaults): VisionConfig {
  const transformer = readTransformer({ section, ...defaults })
  const hasNorm = transformer.normalization !== 'none'
  const imageSize = readSize(section, 'imageSize')
  const patchSize = readSize(section, 'patchSize')
  if (imageSize.height % patchSize.height !== 0 || imageSize.width % patchSize.width !== 0) {
    section.problem('patchSize', `patches of ${patchSize.height} x ${patchSize.width} do not tile ${imageSize.height} x ${imageSize.width}`)
  }
  const hasCls = section.boolean('hasCls', true)
  const pooling = section.choice('pooling', poolings, hasCls ? 'cls' : 'mean')
  if (!hasCls && pooling.startsWith('cls')) section.problem('pooling', `"${pooling}" needs the CLS token that hasCls leaves out`)
  const finalNorm = section.choice('finalNorm', ['tokens', 'pooled', 'none'], hasNorm ? 'tokens' : 'none')
  if (!hasNorm && finalNorm !== 'none') section.problem('finalNorm', 'there is no normalization in this model')
  return {
    ...transformer,
    imageSize,
    patchSize,
    nChannels: section.number('nChannels', { min: 1, max: 3, integer: true, fallback: 3 }) === 1 ? 1 : 3,
    patchBias: section.boolean('patchBias', patchBias),
    hasCls,
    nRegisters: section.number('nRegisters', { min: 0, max: 64, integer: true, fallback: 0 }),
    lnPre: section.boolean('lnPre', lnPre && hasNorm),
    finalNorm,
    pooling,
    head: { kind: 'none', dOut: transformer.dModel, bias: false },
  }
}

/** CLIP's text tower; how large its vocabulary is and which token ends a text is known when the tokenizer is. */
export function readClipText(
  section: StrictFields,
  dEmbed: number,
): { readonly maxVocabulary: number; readonly contextLength: number; config(vocabSize: number, eosTokenId: number): TextConfig } {
  const transformer = readTransformer({ section, activation: 'quick_gelu', normEps: 1e-5 })
  const contextLength = section.number('contextLength', { min: 3, max: 1024, integer: true })
  const maxVocabulary = section.number('vocabSize', { min: 514, max: 1_000_000, integer: true, fallback: 4096 })
  return {
    maxVocabulary,
    contextLength,
    config: (vocabSize, eosTokenId) => ({
      ...transformer,
      normalizeOutput: true,
      contextLength,
      vocabSize,
      causal: true,
      pooling: { kind: 'eos', eosTokenId },
      head: { kind: 'projection', dOut: dEmbed, bias: false },
    }),
  }
}
