/** Probabilities of a model's possible answers, and how two distributions over them differ. In float64. */

/** The softmax of logits. */
export function probabilitiesOf(logits: ArrayLike<number>): Float64Array {
  let largest = Number.NEGATIVE_INFINITY
  for (let at = 0; at < logits.length; at++) largest = Math.max(largest, logits[at]!)
  const exponentials = Float64Array.from(logits, (logit) => Math.exp(logit - largest))
  const sum = exponentials.reduce((total, value) => total + value, 0)
  return exponentials.map((value) => value / sum)
}

/** In nats. */
export function entropyOf(probabilities: Float64Array): number {
  return probabilities.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0)
}

/** KL(p || q) in nats: what an answer that was q is away from one that was p. */
export function divergence(p: Float64Array, q: Float64Array): number {
  let sum = 0
  for (let at = 0; at < p.length; at++) if (p[at]! > 0) sum += p[at]! * Math.log(p[at]! / q[at]!)
  // Rounding may take an equal pair below 0.
  return sum < 0 ? 0 : sum
}

/** Of the largest; the first of several. */
export function bestOf(values: ArrayLike<number>): number {
  let best = 0
  for (let at = 1; at < values.length; at++) if (values[at]! > values[best]!) best = at
  return best
}
