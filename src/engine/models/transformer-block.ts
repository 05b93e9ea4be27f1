/**
 * One pre-norm transformer block with its hook points:
 * resid_mid = resid_pre + attention(ln1(resid_pre)), resid_post = resid_mid + mlp(ln2(resid_mid)).
 */

import type { GraphBuilder } from '../graph/builder.js'
import type { Axis } from '../graph/graph.js'
import { hasPerHeadInput, nPositions, type TowerConfig } from '../hook-points.js'
import { int64 } from '../tensor.js'
import { activate } from './activation.js'
import { attention } from './attention.js'
import { layerNorm } from './layer-norm.js'
import { linear } from './linear.js'

export interface BlockSetting {
  readonly index: number
  readonly config: TowerConfig
  /** The optional hook points that the graph is built with, by name. */
  readonly wanted: ReadonlySet<string>
  /** See `attention`. */
  readonly mask?: string
}

const residAxes: readonly Axis[] = ['batch', 'pos', 'dModel']
const perHeadAxes: readonly Axis[] = ['batch', 'pos', 'head', 'dModel']
const mlpAxes: readonly Axis[] = ['batch', 'pos', 'dMlp']

/** The residual stream after the block, `[batch, pos, dModel]`. */
export function transformerBlock(b: GraphBuilder, residual: string, setting: BlockSetting): string {
  const { index, config } = setting
  const name = `blocks.${index}`
  const residPre = b.hook(`${name}.hook_resid_pre`, residAxes, residual)
  const attnOut = b.hook(`${name}.hook_attn_out`, residAxes, attentionHalf(b, residPre, setting))
  const afterAttention = b.op('Add', [residPre, attnOut])
  if (config.dMlp === undefined) return b.hook(`${name}.hook_resid_post`, residAxes, afterAttention)

  const residMid = b.hook(`${name}.hook_resid_mid`, residAxes, afterAttention)
  const mlpOut = b.hook(`${name}.hook_mlp_out`, residAxes, mlpHalf(b, residMid, config.dMlp, setting))
  return b.hook(`${name}.hook_resid_post`, residAxes, b.op('Add', [residMid, mlpOut]))
}

function attentionHalf(b: GraphBuilder, residPre: string, { index, config, wanted, mask }: BlockSetting): string {
  const name = `blocks.${index}`
  const perHead = hasPerHeadInput(index, wanted)
  const inputs = perHead ? splitInputs(b, residPre, { name, config, wanted }) : [residPre]
  const axes = perHead ? perHeadAxes : residAxes
  const normalised = layerNorm(b, inputs, { name: `${name}.ln1`, axes, length: config.dModel }, config)
  const [query, key = query, value = query] = normalised as [string, string?, string?]
  const written = attention(
    b,
    { query, key, value, perHead },
    { name: `${name}.attn`, config, ...(mask !== undefined && { mask }), withResult: wanted.has(`${name}.attn.hook_result`) },
  )
  return layerScale(b, written, `${name}.ls1`, config)
}

/** The inputs of queries, keys and values, each `[batch, pos, head, dModel]`. LayerNorm 1 then fires three times, as in ViT-Prisma. */
function splitInputs(
  b: GraphBuilder,
  residPre: string,
  { name, config, wanted }: { name: string; config: TowerConfig; wanted: ReadonlySet<string> },
): string[] {
  // Behind an Identity: the value goes on to other readers under its own name too.
  const hookIfWanted = (hook: string, value: string) => (wanted.has(hook) ? b.hook(hook, perHeadAxes, b.op('Identity', [value])) : value)
  const column = b.op('Unsqueeze', [residPre, b.constant(int64([1], [2]))])
  const repeated = b.op('Expand', [column, b.constant(int64([4], [1, 1, config.nHeads, 1]))])
  const attnIn = hookIfWanted(`${name}.hook_attn_in`, repeated)
  return ['q', 'k', 'v'].map((letter) => hookIfWanted(`${name}.hook_${letter}_input`, attnIn))
}

function mlpHalf(b: GraphBuilder, residMid: string, dMlp: number, { index, config, wanted }: BlockSetting): string {
  const name = `blocks.${index}`
  const mlpIn = wanted.has(`${name}.hook_mlp_in`) ? b.hook(`${name}.hook_mlp_in`, residAxes, residMid) : residMid
  const [normalised] = layerNorm(b, [mlpIn], { name: `${name}.ln2`, axes: residAxes, length: config.dModel }, config) as [string]
  const layer = (weight: string, bias: string, dIn: number, dOut: number) => ({
    weight: `${name}.mlp.${weight}`,
    ...(config.biases.mlp && { bias: `${name}.mlp.${bias}` }),
    dIn,
    dOut,
  })
  const length = nPositions(config)
  const pre = linear(b, normalised, layer('W_in', 'b_in', config.dModel, dMlp), [length, dMlp])
  const post = neurons(b, pre, { name: `${name}.mlp`, config, dMlp })
  return layerScale(b, linear(b, post, layer('W_out', 'b_out', dMlp, config.dModel), [length, config.dModel]), `${name}.ls2`, config)
}

function neurons(b: GraphBuilder, value: string, { name, config, dMlp }: { name: string; config: TowerConfig; dMlp: number }): string {
  const pre = b.hook(`${name}.hook_pre`, mlpAxes, value)
  const activated = activate(b, pre, config.activation)
  if (config.activation !== 'solu_ln') return b.hook(`${name}.hook_post`, mlpAxes, activated)
  const mid = b.hook(`${name}.hook_mid`, mlpAxes, activated)
  // SoLU's norm is there in a model without norms too; it then has no weights.
  const inner = config.normalization === 'layerNorm' ? config : { ...config, normalization: 'layerNormPre' as const }
  const [post] = layerNorm(b, [mid], { name: `${name}.ln`, axes: mlpAxes, length: dMlp }, inner) as [string]
  return b.hook(`${name}.hook_post`, mlpAxes, post)
}

function layerScale(b: GraphBuilder, value: string, parameter: string, config: TowerConfig): string {
  return config.layerScale ? b.op('Mul', [value, b.parameter(parameter, [config.dModel])]) : value
}
