/**
 * The vision transformer as a graph: patches, tokens, blocks, pooling, head, with every hook point of `hook-points.ts` as a named value
 * whose edits reach everything downstream.
 * Dosovitskiy et al. (2020), "An Image is Worth 16x16 Words"; registers: Darcet et al. (2023); layer scale: Touvron et al. (2021).
 */

import { GraphBuilder } from '../graph/builder.js'
import { meanOver, repeatOverBatch, reshape, slice, transpose } from '../graph/expressions.js'
import type { Axis, Graph } from '../graph/graph.js'
import { nPatches, nPositions, nPrefixTokens } from '../hook-points.js'
import { head } from './head.js'
import { layerNorm } from './layer-norm.js'
import type { VisionConfig } from './model.js'
import { transformerBlock } from './transformer-block.js'

const residAxes: readonly Axis[] = ['batch', 'pos', 'dModel']

/**
 * Input `pixels` `[batch, nChannels, height, width]`, preprocessed. One output: logits, embedding or features.
 * @param wanted  names of the optional hook points to build
 */
export function visionGraph(config: VisionConfig, wanted: ReadonlySet<string> = new Set()): Graph {
  const b = new GraphBuilder('vision')
  const { height, width } = config.imageSize
  const pixels = b.input('pixels', 'float32', ['batch', config.nChannels, height, width])
  let residual = beforeBlocks(b, tokens(b, pixels, config), config)
  for (let index = 0; index < config.nLayers; index++) residual = transformerBlock(b, residual, { index, config, wanted })
  return b.build([head(b, pooledFeatures(b, residual, config), config, pooledWidth(config))])
}

/** Width of what enters the head. */
export function pooledWidth(config: VisionConfig): number {
  return config.pooling === 'clsAndMean' ? 2 * config.dModel : config.dModel
}

/** Patch embeddings with CLS and registers in front and positions added: `hook_full_embed`. */
function tokens(b: GraphBuilder, pixels: string, config: VisionConfig): string {
  const embed = b.hook('hook_embed', ['batch', 'patch', 'dModel'], patchEmbeddings(b, pixels, config))
  const perInput = b.op('IsNaN', [reshape(b, corner(b, pixels), [-1, 1, 1])]) // any boolean of shape [batch, 1, 1]
  const prefix: string[] = []
  if (config.hasCls) prefix.push(repeatOverBatch(b, b.parameter('cls_token', [1, 1, config.dModel]), perInput))
  if (config.nRegisters > 0) {
    prefix.push(repeatOverBatch(b, b.parameter('register_tokens', [1, config.nRegisters, config.dModel]), perInput))
  }
  const sequence = prefix.length > 0 ? b.op('Concat', [...prefix, embed], { axis: 1 }) : embed
  const table = b.parameter('pos_embed.W_pos', [nPositions(config), config.dModel])
  const positions = b.hook('hook_pos_embed', residAxes, repeatOverBatch(b, table, perInput))
  return b.hook('hook_full_embed', residAxes, b.op('Add', [sequence, positions]))
}

function patchEmbeddings(b: GraphBuilder, pixels: string, config: VisionConfig): string {
  const { height, width } = config.patchSize
  const inputs = [pixels, b.parameter('embed.proj.weight', [config.dModel, config.nChannels, height, width])]
  if (config.patchBias) inputs.push(b.parameter('embed.proj.bias', [config.dModel]))
  const maps = b.op('Conv', inputs, { kernel_shape: [height, width], strides: [height, width] }) // [batch, dModel, row, column]
  return transpose(b, reshape(b, maps, [-1, config.dModel, nPatches(config)]), [0, 2, 1])
}

/** The first number of each image: `[batch, 1, 1, 1]`. */
function corner(b: GraphBuilder, pixels: string): string {
  return [1, 2, 3].reduce((value, axis) => slice(b, value, { axis, start: 0, end: 1 }), pixels)
}

function beforeBlocks(b: GraphBuilder, fullEmbed: string, config: VisionConfig): string {
  if (!config.lnPre) return fullEmbed
  const [normalised] = layerNorm(b, [fullEmbed], { name: 'ln_pre', axes: residAxes, length: config.dModel }, config) as [string]
  return b.hook('hook_ln_pre', residAxes, normalised)
}

function pooledFeatures(b: GraphBuilder, residual: string, config: VisionConfig): string {
  if (config.finalNorm === 'pooled') return finalNorm(b, pool(b, residual, config), config, pooledTokenAxes(config))
  if (config.finalNorm === 'tokens') return pool(b, finalNorm(b, residual, config, residAxes), config)
  return pool(b, b.hook('hook_ln_final', residAxes, residual), config)
}

function finalNorm(b: GraphBuilder, value: string, config: VisionConfig, axes: readonly Axis[]): string {
  const [normalised] = layerNorm(b, [value], { name: 'ln_final', axes, length: config.dModel }, config) as [string]
  return b.hook('hook_ln_final', axes, normalised)
}

function pooledTokenAxes({ pooling }: VisionConfig): readonly Axis[] {
  if (pooling === 'none') return residAxes
  return pooling === 'patches' ? ['batch', 'patch', 'dModel'] : ['batch', 'dModel']
}

/** What enters the head, of tokens `[batch, pos, dModel]`. */
export function pool(b: GraphBuilder, value: string, config: VisionConfig): string {
  const rows = (start: number, end: number) => slice(b, value, { axis: 1, start, end })
  const row = (x: string) => reshape(b, x, [-1, config.dModel])
  const patches = () => (nPrefixTokens(config) === 0 ? value : rows(nPrefixTokens(config), nPositions(config)))
  const cls = () => row(rows(0, 1))
  const mean = (x: string) => row(meanOver(b, x, 1))
  switch (config.pooling) {
    case 'cls':
      return cls()
    case 'mean':
      return mean(patches())
    case 'meanAll':
      return mean(value)
    case 'clsAndMean':
      return b.op('Concat', [cls(), mean(patches())], { axis: 1 })
    case 'patches':
      return patches()
    case 'none':
      return value
    default:
      return config.pooling satisfies never
  }
}
