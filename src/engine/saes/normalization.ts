/**
 * What is done to an SAE's input and undone at its output. The statistics are of each token, and the output is always undone with the
 * input's.
 */

import type { GraphBuilder } from '../graph/builder.js'
import { add, divide, literal, meanOver, multiply, normOver, square, subtract, sumOver } from '../graph/expressions.js'
import type { SaeConfig } from './sae.js'

/** x = normalised * scale + shift; what is absent is 1 or 0. */
export interface NormalizedInput {
  readonly value: string
  readonly scale?: string
  readonly shift?: string
  /**
   * What `x - shift` was multiplied by; absent: 1. With `layer_norm` not quite 1 / scale, for the epsilon. Makes nodes: frozen, it turns the
   * normalisation into something linear.
   */
  readonly factor?: () => string
}

const LAYER_NORM_EPS = 1e-5

/** @param scaleParameter  the name of `input_scale`, where there is one */
export function normalizeInput(b: GraphBuilder, x: string, { normalization, dIn }: SaeConfig, scaleParameter: string): NormalizedInput {
  switch (normalization) {
    case 'none':
      return { value: x }
    case 'layer_norm': {
      const shift = meanOver(b, x, -1)
      const centred = subtract(b, x, shift)
      // Over dIn - 1, as torch.std does; epsilon is added to the deviation, and not when this is undone.
      const scale = b.op('Sqrt', [divide(b, sumOver(b, square(b, centred), -1), literal(b, dIn - 1))])
      const divisor = add(b, scale, literal(b, LAYER_NORM_EPS))
      return { value: divide(b, centred, divisor), scale, shift, factor: () => b.op('Reciprocal', [divisor]) }
    }
    case 'constant_norm_rescale': {
      const factor = divide(b, literal(b, Math.sqrt(dIn)), normOver(b, x, -1))
      return { value: multiply(b, x, factor), scale: b.op('Reciprocal', [factor]), factor: () => factor }
    }
    case 'expected_average_only_in': {
      const factor = b.parameter(scaleParameter, [])
      return { value: multiply(b, x, factor), scale: b.op('Reciprocal', [factor]), factor: () => factor }
    }
    default:
      return normalization satisfies never
  }
}

/** The inverse, with the statistics of the input: y * scale + shift. */
export function denormalize(b: GraphBuilder, y: string, { scale, shift }: NormalizedInput): string {
  const scaled = scale === undefined ? y : multiply(b, y, scale)
  return shift === undefined ? scaled : add(b, scaled, shift)
}
