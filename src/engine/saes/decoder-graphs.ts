/**
 * An SAE's decoder by itself: its rows, and what they say in the space where a model's embeddings are. A row is a direction of the residual
 * stream, which the model's answer is read from through the gain of the final LayerNorm and the projection; the LayerNorm's own scale,
 * which depends on the picture, and its bias, which is the same for every row, are left out.
 */

import { GraphBuilder } from '../graph/builder.js'
import { meanOver, multiply, normOver, subtract } from '../graph/expressions.js'
import type { Graph } from '../graph/graph.js'
import type { VisionConfig } from '../models/model.js'
import type { SaeConfig } from './sae.js'

/** How a model's answer is read from its residual stream. */
export interface Projection {
  readonly config: VisionConfig
  /** Whether the final LayerNorm has a gain of its own; folded into the head it has none. */
  readonly hasGain: boolean
}

/** Input `latents` int64 `[batch]`, parameter `W_dec`; output their rows, `[batch, dOut]`. */
export function decoderRowsGraph(sae: SaeConfig): Graph {
  const b = new GraphBuilder('decoder rows')
  return b.build([rowsOf(b, sae)])
}

/** Whether rows say something there: the SAE writes to the residual stream, and the answer is a projection of one token of it or of their mean. */
export function reachesAnswer({ hookPoint, transcoder, dOut }: SaeConfig, config: VisionConfig): boolean {
  return dOut === config.dModel && streamReachesAnswer(transcoder?.hookPointOut ?? hookPoint, config)
}

/** Whether a hook point is the residual stream, or is added to it, and the answer is a projection of one token of it or of their mean. */
export function streamReachesAnswer(hookPoint: string, { pooling }: VisionConfig): boolean {
  const isPooled = pooling === 'cls' || pooling === 'mean' || pooling === 'meanAll'
  return isPooled && /\.(hook_resid_(pre|mid|post)|hook_attn_out|hook_mlp_out)$/.test(hookPoint)
}

/** Input `embeddings` `[n, dEmbed]`; output the directions of the residual stream along which their products with the answer grow, `[n, dModel]`. */
export function streamDirectionsGraph(model: Projection): Graph {
  const b = new GraphBuilder('stream directions')
  return b.build([takenBack(b, b.input('embeddings', 'float32', ['n', answerWidth(model.config)]), model)])
}

/**
 * Input `embeddings` `[n, dEmbed]`; output the products of the decoder's rows, projected, with each of them, `[dSae, n]`. The embeddings are
 * taken back to the residual stream, which is one small product in the place of one for each row.
 */
export function projectedProductsGraph(sae: SaeConfig, model: Projection): Graph {
  const b = new GraphBuilder('projected products')
  const embeddings = b.input('embeddings', 'float32', ['n', answerWidth(model.config)])
  const read = takenBack(b, embeddings, model)
  return b.build([b.op('Gemm', [b.parameter('W_dec', [sae.dSae, sae.dOut]), read], { transB: 1 })])
}

/** Input `latents` int64 `[batch]`; output the lengths of their rows, projected, `[batch]`. */
export function projectedLengthsGraph(sae: SaeConfig, model: Projection): Graph {
  const b = new GraphBuilder('projected lengths')
  const head = headOf(b, model)
  const stream = scaled(b, centred(b, rowsOf(b, sae), model), model)
  return b.build([normOver(b, head ? b.op('Gemm', [stream, head], { transB: 1 }) : stream, -1, 0)])
}

/** Length of what the model answers. */
export const answerWidth = ({ head, dModel }: VisionConfig) => (head.kind === 'none' ? dModel : head.dOut)

/** The gradient of the products by the stream, but for the LayerNorm's scale. */
function takenBack(b: GraphBuilder, embeddings: string, model: Projection): string {
  const head = headOf(b, model)
  return centred(b, scaled(b, head ? b.op('MatMul', [embeddings, head]) : embeddings, model), model)
}

const rowsOf = (b: GraphBuilder, { dSae, dOut }: SaeConfig) =>
  b.op('Gather', [b.parameter('W_dec', [dSae, dOut]), b.input('latents', 'int64', ['batch'])], { axis: 0 })

const headOf = (b: GraphBuilder, { config: { head, dModel } }: Projection) =>
  head.kind === 'none' ? undefined : b.parameter('head.W_H', [head.dOut, dModel])

const scaled = (b: GraphBuilder, x: string, { config, hasGain }: Projection) =>
  hasGain ? multiply(b, x, b.parameter('ln_final.w', [config.dModel])) : x

/** The LayerNorm takes the mean from the stream; taking it from what reads the stream is the same. */
const centred = (b: GraphBuilder, x: string, { config: { finalNorm, normalization } }: Projection) =>
  finalNorm === 'none' || normalization === 'none' ? x : subtract(b, x, meanOver(b, x, -1))
