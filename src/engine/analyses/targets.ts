/**
 * What is asked of a model's answer: a score, one number for each image. Of a classifier it is a logit or a difference of logits; of CLIP, what its
 * zero-shot logit is: the temperature times the cosine with a text, or with a difference of texts.
 */

import type { GraphBuilder } from '../graph/builder.js'
import type { ModelDescription } from '../models/model.js'
import { float32, type Tensor } from '../tensor.js'

export interface Target {
  /** As the user names it: a class, a text, `a minus b`. */
  readonly label: string
  /** Along the output, `[dOut]`: for a class its unit vector, for a text its unit embedding; of a difference, the difference of the two. */
  readonly direction: Float32Array
}

/** How scores are made of the output, the same for all targets of a model. */
export interface Scoring {
  /** Whether the output is divided by its length first: CLIP's cosine. */
  readonly normalized: boolean
  /** CLIP's temperature; 1 for a classifier. */
  readonly scale: number
}

/** `projection` heads are CLIP's: cosines. The bias of SigLIP is the same for every text; it is no part of a score. */
export function scoringOf({ vision, logitScale }: ModelDescription): Scoring {
  const isClip = 'head' in vision.config && vision.config.head.kind === 'projection'
  return isClip ? { normalized: true, scale: logitScale ?? 1 } : { normalized: false, scale: 1 }
}

/** The input that takes the targets' directions, `[nTargets, dOut]`. */
export const directionsInput = 'targets.directions'

export function directionsOf(targets: readonly Target[]): Tensor<'float32'> {
  const width = targets[0]?.direction.length ?? 0
  const data = new Float32Array(targets.length * width)
  for (const [index, { direction }] of targets.entries()) data.set(direction, index * width)
  return float32([targets.length, width], data)
}

export interface ScoredOutput {
  readonly dOut: number
  readonly scoring: Scoring
  /** Where the graph has to know how many targets there are; any number otherwise. */
  readonly nTargets?: number
}

/**
 * Scores of the targets that are fed, `[batch, nTargets]`.
 * @param output  the tower's output, `[batch, dOut]`
 */
export function scores(b: GraphBuilder, output: string, { dOut, scoring, nTargets }: ScoredOutput): string {
  const directions = b.input(directionsInput, 'float32', [nTargets ?? 'nTargets', dOut])
  const products = b.op('Gemm', [output, directions], { transB: 1 })
  const scaled = scoring.scale === 1 ? products : b.op('Mul', [products, b.constant(float32([], [scoring.scale]))])
  if (!scoring.normalized) return scaled
  const squares = b.op('ReduceSumSquare', [output, b.constant({ dtype: 'int64', shape: [1], data: BigInt64Array.of(1n) })], { keepdims: 1 })
  return b.op('Div', [scaled, b.op('Sqrt', [squares])])
}
