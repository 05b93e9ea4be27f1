/**
 * The first ViT class of ViT-Prisma's authors, in which their published toy models are: norms are identities, q, k, v one matrix without
 * bias. Such a repository may have no configuration: sizes follow from the weights' shapes, but the number of heads does not, and is
 * never guessed.
 */

import { ConfigFields, headWidth, isJsonObject, type JsonObject } from '../config-fields.js'
import type { Activation, VisionConfig } from '../model.js'
import { forEachBlock, type WeightRule } from '../name-map.js'
import { asIs, stackedWeights, unbatched } from '../weight-transforms.js'
import { linearRules } from './layer-rules.js'
import { type CheckpointFiles, type CheckpointReading, type Layout, rowsOf } from './layout.js'

const FILE = 'config.json'
const supported = 'Toy models with a CLS token, a class head, and GELU or ReLU are.'
const activations: Readonly<Record<string, Activation>> = { GELU: 'gelu', gelu: 'gelu', ReLU: 'relu', relu: 'relu' }

export const toy: Layout = {
  name: 'toy',
  detect: ({ tensors }) =>
    tensors.has('patch_embedding.proj.weight') && [...tensors.keys()].some((name) => name.endsWith('.attention.qkv.weight')),
  read,
}

/** The authors' configurations keep these in sections; a flat file is as good. */
function flattened(values: JsonObject): JsonObject {
  const sections = ['image', 'transformer', 'classification', 'layernorm'].map((name) => values[name])
  return Object.fromEntries([values, ...sections.filter(isJsonObject)].flatMap((section) => Object.entries(section)))
}

function read(files: CheckpointFiles): CheckpointReading {
  const fields = new ConfigFields(FILE, flattened(files.json.get(FILE) ?? {}))
  const shape = (name: string) => files.tensors.get(name)?.shape ?? []
  const [dModel = 1, nChannels = 1, patchHeight = 1, patchWidth = 1] = shape('patch_embedding.proj.weight')
  const nRows = shape('position_embedding').at(-2) ?? 0
  const side = Math.round(Math.sqrt(nRows - 1))
  if (!files.tensors.has('cls_token')) fields.unsupported('a toy model without CLS token')
  if (side * side !== nRows - 1 || side < 1) fields.unsupported(`a position table of ${nRows} rows, which is no square and CLS`)
  fields.require('global_pool', [false])
  fields.require('qknorm', [false])
  const headKey = fields.has('n_heads') ? 'n_heads' : 'num_heads'
  const nHeads = fields.count(headKey)
  const inSomeBlock = (name: string) => [...files.tensors].find(([key]) => key.endsWith(name))?.[1]
  const dMlp = inSomeBlock('.mlp.fc1.weight')?.shape[0]
  const config: VisionConfig = {
    nLayers: nBlocks(files),
    dModel,
    nHeads,
    dHead: headWidth(fields, headKey, { dModel, nHeads }),
    ...(dMlp !== undefined && { dMlp }),
    activation: activation(fields),
    normalization: 'none',
    normEps: 1e-5,
    biases: { qkv: false, attnOut: inSomeBlock('.attention.proj.bias') !== undefined, mlp: inSomeBlock('.mlp.fc1.bias') !== undefined },
    scaleAttention: true,
    layerScale: false,
    normalizeOutput: false,
    imageSize: fields.has('image_size') ? fields.size('image_size') : { height: side * patchHeight, width: side * patchWidth },
    patchSize: { height: patchHeight, width: patchWidth },
    nChannels,
    patchBias: files.tensors.has('patch_embedding.proj.bias'),
    hasCls: true,
    nRegisters: 0,
    lnPre: false,
    finalNorm: 'none',
    pooling: 'cls',
    head: { kind: 'classes', dOut: rowsOf(files, 'head.weight') ?? 1, bias: files.tensors.has('head.bias') },
  }
  fields.check(supported)
  const isBatched = shape('position_embedding').length === 3
  return { vision: { config, rules: (final) => rules(final, isBatched) }, prefixes: [], ignored: [] }
}

function activation(fields: ConfigFields): Activation {
  const name = fields.text('activation_name', 'GELU')
  const known = Object.hasOwn(activations, name) ? activations[name] : undefined
  if (known === undefined) fields.unsupported(`the activation function "${name}"`)
  return known ?? 'gelu'
}

/** One more than the largest index, so that a block that is missing is missed. */
function nBlocks({ tensors }: CheckpointFiles): number {
  const indices = [...tensors.keys()].map((name) => Number(/^blocks\.(\d{1,3})\./.exec(name)?.[1] ?? -1))
  return Math.max(1, ...indices.map((index) => index + 1))
}

function rules(config: VisionConfig, isBatched: boolean): WeightRule[] {
  const block = 'blocks.{N}'
  const attn = `${block}.attn`
  const linear = (source: string, weight: string, bias: string, hasBias: boolean) =>
    linearRules(`${block}.${source}`, `${block}.${weight}`, hasBias ? `${block}.${bias}` : undefined)
  return [
    { source: 'patch_embedding.proj.weight', to: ['embed.proj.weight'], how: asIs },
    ...(config.patchBias ? [{ source: 'patch_embedding.proj.bias', to: ['embed.proj.bias'], how: asIs }] : []),
    { source: 'cls_token', to: ['cls_token'], how: asIs },
    { source: 'position_embedding', to: ['pos_embed.W_pos'], how: isBatched ? unbatched : asIs },
    ...forEachBlock(config.nLayers, [
      { source: `${block}.attention.qkv.weight`, to: [`${attn}.W_Q`, `${attn}.W_K`, `${attn}.W_V`], how: stackedWeights },
      ...linear('attention.proj', 'attn.W_O', 'attn.b_O', config.biases.attnOut),
      ...(config.dMlp === undefined
        ? []
        : [
            ...linear('mlp.fc1', 'mlp.W_in', 'mlp.b_in', config.biases.mlp),
            ...linear('mlp.fc2', 'mlp.W_out', 'mlp.b_out', config.biases.mlp),
          ]),
    ]),
    ...linearRules('head', 'head.W_H', config.head.bias ? 'head.b_H' : undefined),
  ]
}
