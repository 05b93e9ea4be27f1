/**
 * LayerNorm with its two hook points. The one place that decides in which operators it is written.
 */

import type { GraphBuilder } from '../graph/builder.js'
import type { Axis } from '../graph/graph.js'
import type { TransformerConfig } from './model.js'
import { addScalar, meanOver } from './tensor-ops.js'

export interface LayerNorm {
  /** `blocks.3.ln1`: prefix of the hook points and of the weights. */
  readonly name: string
  /** Axes of the input; the last is normalised. */
  readonly axes: readonly Axis[]
  /** Length of the last axis. */
  readonly length: number
}

/**
 * `hook_scale` = sqrt(variance + eps), the denominator; `hook_normalized` = the output, weights applied (as in ViT-Prisma). Several
 * inputs are several firings of the same LayerNorm. With `normalization: 'none'` the inputs come back as they are.
 */
export function layerNorm(b: GraphBuilder, inputs: readonly string[], norm: LayerNorm, config: TransformerConfig): string[] {
  if (config.normalization === 'none') return [...inputs]
  const centred = inputs.map((x) => b.op('Sub', [x, meanOver(b, x, -1)]))
  const deviation = centred.map((x) => b.op('Sqrt', [addScalar(b, meanOver(b, b.op('Mul', [x, x]), -1), config.normEps)]))
  const scale = hookAll(b, `${norm.name}.hook_scale`, [...norm.axes.slice(0, -1), 'scale'], deviation)
  const divided = centred.map((x, index) => b.op('Div', [x, scale[index]!]))
  const output = config.normalization === 'layerNorm' ? divided.map((x) => affine(b, x, norm)) : divided
  return hookAll(b, `${norm.name}.hook_normalized`, norm.axes, output)
}

function affine(b: GraphBuilder, x: string, { name, length }: LayerNorm): string {
  const scaled = b.op('Mul', [x, b.parameter(`${name}.w`, [length])])
  return b.op('Add', [scaled, b.parameter(`${name}.b`, [length])])
}

function hookAll(b: GraphBuilder, name: string, axes: readonly Axis[], values: readonly string[]): string[] {
  return values.length === 1 ? [b.hook(name, axes, values[0]!)] : b.hookEach(name, axes, values)
}
