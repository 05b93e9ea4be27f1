/**
 * CLIP's text tower as a graph: token embeddings, a causal transformer, the end-of-text row, projection.
 * Radford et al. (2021), "Learning Transferable Visual Models From Natural Language Supervision".
 */

import { GraphBuilder } from '../graph/builder.js'
import { repeatOverBatch, reshape, slice, sumOver } from '../graph/expressions.js'
import type { Axis, Graph } from '../graph/graph.js'
import { int64, scalar, tensor } from '../tensor.js'
import { causalMask } from './attention.js'
import { head } from './head.js'
import { layerNorm } from './layer-norm.js'
import type { TextConfig } from './model.js'
import { transformerBlock } from './transformer-block.js'

const residAxes: readonly Axis[] = ['batch', 'pos', 'dModel']

/**
 * Input `tokens` `[batch, contextLength]`, int64, padded by the tokenizer. One output: the text's embedding.
 * @param wanted  names of the optional hook points to build
 */
export function textGraph(config: TextConfig, wanted: ReadonlySet<string> = new Set()): Graph {
  const b = new GraphBuilder('text')
  const tokens = b.input('tokens', 'int64', ['batch', config.contextLength])
  let residual = embeddings(b, tokens, config)
  const mask = config.causal ? { mask: causalMask(b, config.contextLength) } : {}
  for (let index = 0; index < config.nLayers; index++) residual = transformerBlock(b, residual, { index, config, wanted, ...mask })
  const [normalised] = layerNorm(b, [residual], { name: 'ln_final', axes: residAxes, length: config.dModel }, config) as [string]
  const final = b.hook('hook_ln_final', residAxes, normalised)
  return b.build([head(b, pooled(b, final, tokens, config), config, config.dModel)])
}

function embeddings(b: GraphBuilder, tokens: string, config: TextConfig): string {
  const table = b.parameter('embed.W_E', [config.vocabSize, config.dModel])
  const embed = b.hook('hook_embed', residAxes, b.op('Gather', [table, tokens], { axis: 0 }))
  const first = reshape(b, slice(b, tokens, { axis: 1, start: 0, end: 1 }), [-1, 1, 1])
  const perInput = b.op('Equal', [first, b.constant(int64([], [0]))]) // any boolean of shape [batch, 1, 1]
  const positionTable = b.parameter('pos_embed.W_pos', [config.contextLength, config.dModel])
  const positions = b.hook('hook_pos_embed', residAxes, repeatOverBatch(b, positionTable, perInput))
  return b.hook('hook_full_embed', residAxes, b.op('Add', [embed, positions]))
}

function pooled(b: GraphBuilder, value: string, tokens: string, config: TextConfig): string {
  const { contextLength, pooling } = config
  if (pooling.kind === 'argmax' || pooling.kind === 'eos') return endOfText(b, value, tokens, config)
  const start = pooling.kind === 'first' ? 0 : contextLength - 1
  return reshape(b, slice(b, value, { axis: 1, start, end: start + 1 }), [-1, config.dModel])
}

/**
 * The row of the end-of-text token, `[batch, dModel]`: the first place of the largest id, or of `eosTokenId`. Chosen by a mask and a sum:
 * every other row adds an exact zero.
 */
function endOfText(b: GraphBuilder, value: string, tokens: string, config: TextConfig): string {
  const { contextLength, pooling } = config
  const marks = pooling.kind === 'eos' ? b.op('Equal', [tokens, b.constant(int64([], [pooling.eosTokenId]))]) : tokens
  const place = b.op('ArgMax', [b.op('Cast', [marks], { to: 'float32' })], { axis: 1, keepdims: 1 }) // [batch, 1]; ids below 2^24 are exact
  const positions = b.constant(
    tensor(
      'int64',
      [1, contextLength],
      BigInt64Array.from({ length: contextLength }, (_, i) => BigInt(i)),
    ),
  )
  const isEnd = reshape(b, b.op('Equal', [positions, place]), [-1, contextLength, 1])
  const kept = b.op('Where', [isEnd, value, b.constant(scalar(0))])
  return reshape(b, sumOver(b, kept, 1), [-1, config.dModel])
}
