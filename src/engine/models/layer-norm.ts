/**
 * LayerNorm with its two hook points. The one place that decides in which operators it is written.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { addScalar, meanOver } from '../graph/expressions.js'
import type { Axis } from '../graph/graph.js'
import type { TransformerConfig } from './model.js'

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
 *
 * With weights it is one fused operator, faster and more exact for rows with a large mean than its steps; `hook_scale` is read from its
 * by-product, and an edit of it writes the operator out (see graph/write-out.ts).
 */
export function layerNorm(b: GraphBuilder, inputs: readonly string[], norm: LayerNorm, config: TransformerConfig): string[] {
  if (config.normalization === 'none') return [...inputs]
  const normalize = config.normalization === 'layerNorm' ? fused : inSteps
  const scaleAxes = [...norm.axes.slice(0, -1), 'scale'] as const
  const parts = inputs.map((x) => normalize(b, x, norm, config.normEps))
  const scales = hookAll(
    b,
    `${norm.name}.hook_scale`,
    scaleAxes,
    parts.map(({ scale }) => scale),
  )
  const outputs = parts.map(({ output }, index) => output(scales[index]!))
  return hookAll(b, `${norm.name}.hook_normalized`, norm.axes, outputs)
}

/** Its output for vectors that did not pass through the model there, so without hook points. */
export function normalizeVectors(b: GraphBuilder, x: string, norm: Pick<LayerNorm, 'name' | 'length'>, config: TransformerConfig): string {
  if (config.normalization === 'none') return x
  const { scale, output } = (config.normalization === 'layerNorm' ? fused : inSteps)(b, x, norm, config.normEps)
  return output(scale)
}

/** The denominator, and the output as a function of it (of the hook point that stands for it). */
interface Normalized {
  readonly scale: string
  readonly output: (scale: string) => string
}

function fused(b: GraphBuilder, x: string, { name, length }: Pick<LayerNorm, 'name' | 'length'>, epsilon: number): Normalized {
  const inputs = [x, b.parameter(`${name}.w`, [length]), b.parameter(`${name}.b`, [length])]
  const [y, , inverseDeviation] = b.opMany('LayerNormalization', inputs, { nOutputs: 3, attributes: { axis: -1, epsilon } })
  return { scale: b.op('Reciprocal', [inverseDeviation!]), output: () => y! }
}

/** Without weights the fused operator does not exist. */
function inSteps(b: GraphBuilder, x: string, _norm: unknown, epsilon: number): Normalized {
  const centred = b.op('Sub', [x, meanOver(b, x, -1)])
  const scale = b.op('Sqrt', [addScalar(b, meanOver(b, b.op('Mul', [centred, centred]), -1), epsilon)])
  return { scale, output: (hooked) => b.op('Div', [centred, hooked]) }
}

function hookAll(b: GraphBuilder, name: string, axes: readonly Axis[], values: readonly string[]): string[] {
  return values.length === 1 ? [b.hook(name, axes, values[0]!)] : b.hookEach(name, axes, values)
}
