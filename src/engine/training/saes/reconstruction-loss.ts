/** How far a reconstruction is from its target, as a scalar and by element. */

import type { GraphBuilder } from '../../graph/builder.js'
import { divide, meanOfAll, meanOver, normOver, square, subtract, sumOver } from '../../graph/expressions.js'
import type { ReconstructionLoss } from './loss-options.js'

/** What a batch's targets are compared by; nothing of it has a gradient for the parameters. */
export interface Target {
  /** `[batch, dOut]` */
  readonly value: string
  /** Less the mean over the batch. */
  readonly centred: string
  /** Length of that, `[batch, 1]`. */
  readonly centredNorm: string
}

export function targetOf(b: GraphBuilder, value: string): Target {
  const centred = subtract(b, value, meanOver(b, value, 0))
  return { value, centred, centredNorm: normOver(b, centred, 1) }
}

/** `[batch, dOut]`, before the mean. */
export function errorByElement(b: GraphBuilder, reconstruction: string, target: Target, kind: ReconstructionLoss): string {
  const squares = square(b, subtract(b, reconstruction, target.value))
  return kind === 'mse-over-centred-norm' ? divide(b, squares, target.centredNorm) : squares
}

export function reconstructionLoss(b: GraphBuilder, byElement: string, kind: ReconstructionLoss): string {
  return kind === 'sum-of-squares' ? meanOfAll(b, sumOver(b, byElement, 1)) : meanOfAll(b, byElement)
}
