/**
 * The end of a tower: head, the hook point before normalisation, and the output.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { sumOver } from '../graph/expressions.js'
import { outputAxes, shapeOfAxes, type TowerConfig } from '../hook-points.js'
import { scalar } from '../tensor.js'
import { linear } from './linear.js'

/** As `torch.nn.functional.normalize`. */
const NORM_FLOOR = 1e-12

/** @param pooled  `[batch, dIn]`, or `[batch, pos or patch, dIn]`; returns the tower's output. */
export function head(b: GraphBuilder, pooled: string, config: TowerConfig, dIn: number): string {
  const axes = outputAxes(config)
  const outShape = shapeOfAxes(axes, config).slice(1) as number[]
  const { kind, dOut, bias } = config.head
  const layer = { weight: 'head.W_H', ...(bias && { bias: 'head.b_H' }), dIn, dOut }
  const value = kind === 'none' ? pooled : linear(b, pooled, layer, outShape)
  const unnormalised = b.hook('hook_post_head_pre_normalize', axes, value)
  return config.normalizeOutput ? unitLength(b, unnormalised) : b.op('Identity', [unnormalised])
}

/** Along the last axis. */
export function unitLength(b: GraphBuilder, value: string): string {
  const norm = b.op('Sqrt', [sumOver(b, b.op('Mul', [value, value]), -1)])
  return b.op('Div', [value, b.op('Max', [norm, b.constant(scalar(NORM_FLOOR))])])
}
