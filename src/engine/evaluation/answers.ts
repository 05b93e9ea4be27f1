/** What a model answers to a batch, and how two answers differ: sums over pictures, in float64. */

import { bestOf } from '../distributions.js'
import type { Tensor } from '../tensor.js'
import type { Sums } from './evaluation-shard.js'

export interface Answers {
  /** The model's output, a row or more for each picture. */
  readonly output: Tensor
  /** `[batch, nClasses]`: logits of a classifier, cosines with texts. */
  readonly scores?: Tensor
  /** Cosines with the bare class names. */
  readonly bareScores?: Tensor
}

export interface Scoring {
  /** logits = scores * logitScale + logitBias */
  readonly logitScale: number
  readonly logitBias: number
  readonly labels?: readonly number[]
}

/** Of a model's answers by themselves. `prismaCe` is a mean of the batch, over scores as they are. */
export function ownAnswers(answers: Answers, scoring: Scoring): Sums {
  const { labels } = scoring
  if (!answers.scores || !labels) return {}
  let [ce, correct, bareCe] = [0, 0, 0]
  const bare = answers.bareScores ?? answers.scores
  for (const [image, label] of labels.entries()) {
    const logits = logitsOf(answers.scores, image, scoring)
    ce -= logSoftmax(logits)[label]!
    bareCe -= logSoftmax(logitsOf(bare, image))[label]!
    correct += bestOf(logits) === label ? 1 : 0
  }
  return { ce, correct, prismaCe: bareCe / labels.length }
}

/** Of a changed model's answers, beside those of the model as it is. */
export function compareAnswers(clean: Answers, changed: Answers, scoring: Scoring): Sums {
  const nImages = clean.output.shape[0]!
  let [outputCosine, kl, agreed] = [0, 0, 0]
  for (let image = 0; image < nImages; image++) outputCosine += cosine(rowOf(clean.output, image), rowOf(changed.output, image))
  if (!clean.scores || !changed.scores) return { outputCosine }
  for (let image = 0; image < nImages; image++) {
    const [p, q] = [logitsOf(clean.scores, image, scoring), logitsOf(changed.scores, image, scoring)]
    const [logP, logQ] = [logSoftmax(p), logSoftmax(q)]
    for (let c = 0; c < p.length; c++) kl += Math.exp(logP[c]!) * (logP[c]! - logQ[c]!)
    agreed += bestOf(p) === bestOf(q) ? 1 : 0
  }
  return { outputCosine, kl, agreed, ...ownAnswers(changed, scoring) }
}

function rowOf({ data, shape }: Tensor, image: number): Float32Array {
  const width = data.length / shape[0]!
  return (data as Float32Array).subarray(image * width, (image + 1) * width)
}

function logitsOf(scores: Tensor, image: number, { logitScale, logitBias } = { logitScale: 1, logitBias: 0 }): Float64Array {
  return Float64Array.from(rowOf(scores, image), (score) => score * logitScale + logitBias)
}

function logSoftmax(logits: Float64Array): Float64Array {
  let largest = Number.NEGATIVE_INFINITY
  for (const logit of logits) if (logit > largest) largest = logit
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit - largest)
  const logSum = largest + Math.log(sum)
  return logits.map((logit) => logit - logSum)
}

/** 0 where one is the zero vector, 1 where both are (NaN stays NaN). */
function cosine(a: Float32Array, b: Float32Array): number {
  let [dot, squareA, squareB] = [0, 0, 0]
  for (let d = 0; d < a.length; d++) {
    dot += a[d]! * b[d]!
    squareA += a[d]! * a[d]!
    squareB += b[d]! * b[d]!
  }
  if (squareA === 0 || squareB === 0) return squareA === squareB ? 1 : 0
  return dot / Math.sqrt(squareA * squareB)
}
