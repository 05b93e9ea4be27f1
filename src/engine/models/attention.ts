/**
 * Multi-head attention with its hook points.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { reshape, sumOver, transpose } from '../graph/expressions.js'
import { nPositions, type TowerConfig } from '../hook-points.js'
import { scalar, tensor } from '../tensor.js'
import { type Linear, linear, linearFromHeads, linearPerHead } from './linear.js'

export interface AttentionInputs {
  readonly query: string
  readonly key: string
  readonly value: string
  /** True when the inputs have a head axis: `[batch, pos, head, dModel]` instead of `[batch, pos, dModel]`. */
  readonly perHead: boolean
}

export interface AttentionSetting {
  /** `blocks.3.attn` */
  readonly name: string
  readonly config: TowerConfig
  /** Boolean `[qPos, kPos]`, true where a query may not look. Absent in a bidirectional model. */
  readonly mask?: string
  /** Whether `hook_result` is built: what each head writes, at the price of one matrix product a head. */
  readonly withResult: boolean
}

const headAxes = ['batch', 'pos', 'head', 'dHead'] as const
const patternAxes = ['batch', 'head', 'qPos', 'kPos'] as const

/** What attention writes, `[batch, pos, dModel]`, before any layer scale. */
export function attention(b: GraphBuilder, inputs: AttentionInputs, { name, config, mask, withResult }: AttentionSetting): string {
  const q = b.hook(`${name}.hook_q`, headAxes, project(b, inputs.query, { name, letter: 'Q', config, perHead: inputs.perHead }))
  const k = b.hook(`${name}.hook_k`, headAxes, project(b, inputs.key, { name, letter: 'K', config, perHead: inputs.perHead }))
  const v = b.hook(`${name}.hook_v`, headAxes, project(b, inputs.value, { name, letter: 'V', config, perHead: inputs.perHead }))

  const products = b.op('MatMul', [transpose(b, q, [0, 2, 1, 3]), transpose(b, k, [0, 2, 3, 1])]) // [batch, head, qPos, kPos]
  const scaled = config.scaleAttention ? b.op('Div', [products, b.constant(scalar(Math.sqrt(config.dHead)))]) : products
  const masked = mask === undefined ? scaled : b.op('Where', [mask, b.constant(scalar(Number.NEGATIVE_INFINITY)), scaled])
  const scores = b.hook(`${name}.hook_attn_scores`, patternAxes, masked)

  const pattern = b.hook(`${name}.hook_pattern`, patternAxes, softmax(b, scores, mask !== undefined))

  const mixed = b.op('MatMul', [pattern, transpose(b, v, [0, 2, 1, 3])]) // [batch, head, qPos, dHead]
  const z = b.hook(`${name}.hook_z`, headAxes, transpose(b, mixed, [0, 2, 1, 3]))
  return output(b, z, { name, config, withResult })
}

/** A row of minus infinities has no softmax: a query that a mask and an edit together forbid to look anywhere takes nothing. */
function softmax(b: GraphBuilder, scores: string, isMasked: boolean): string {
  const weights = b.op('Softmax', [scores], { axis: -1 })
  return isMasked ? b.op('Where', [b.op('IsNaN', [weights]), b.constant(scalar(0)), weights]) : weights
}

function project(
  b: GraphBuilder,
  x: string,
  { name, letter, config, perHead }: { name: string; letter: 'Q' | 'K' | 'V'; config: TowerConfig; perHead: boolean },
): string {
  const layer: Linear = {
    weight: `${name}.W_${letter}`,
    ...(config.biases.qkv && { bias: `${name}.b_${letter}` }),
    dIn: config.dModel,
    dOut: config.nHeads * config.dHead,
  }
  if (perHead) return linearPerHead(b, x, layer, config.nHeads)
  return linear(b, x, layer, [nPositions(config), config.nHeads, config.dHead])
}

function output(
  b: GraphBuilder,
  z: string,
  { name, config, withResult }: { name: string; config: TowerConfig; withResult: boolean },
): string {
  const bias = config.biases.attnOut ? `${name}.b_O` : undefined
  const layer: Linear = {
    weight: `${name}.W_O`,
    ...(bias !== undefined && { bias }),
    dIn: config.nHeads * config.dHead,
    dOut: config.dModel,
  }
  if (!withResult) return linear(b, z, layer, [nPositions(config), config.dModel])
  const result = b.hook(`${name}.hook_result`, ['batch', 'pos', 'head', 'dModel'], linearFromHeads(b, z, layer, config.nHeads))
  const summed = reshape(b, sumOver(b, result, 2), [-1, nPositions(config), config.dModel])
  return bias === undefined ? summed : b.op('Add', [summed, b.parameter(bias, [config.dModel])])
}

/** Boolean `[qPos, kPos]`, true where the key comes after the query. Shared by every block. */
export function causalMask(b: GraphBuilder, length: number): string {
  const positions = BigInt64Array.from({ length }, (_, index) => BigInt(index))
  const queries = b.constant(tensor('int64', [length, 1], positions))
  const keys = b.constant(tensor('int64', [1, length], positions))
  return b.op('Greater', [keys, queries])
}
