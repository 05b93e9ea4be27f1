/**
 * Losses that bring dead latents back. Both are told which latents are dead by a mask of zeros and ones, so that the graph is the same
 * whichever they are; without a dead latent both are zero.
 */

import type { GraphBuilder } from '../../graph/builder.js'
import {
  add,
  divide,
  literal,
  meanOfAll,
  meanOver,
  multiply,
  normOver,
  scaleBy,
  square,
  subtract,
  sumOver,
  wholes,
  zerosLike,
} from '../../graph/expressions.js'
import type { Detached } from './detached.js'

/** Below every pre-activation there is, and a number. */
const LOWEST = -1e30

export interface DeadLatents {
  /** `[dSae]`: 1 for a dead latent. */
  readonly mask: string
  readonly pre: string
  readonly W_dec: string
}

const isDead = (b: GraphBuilder, mask: string) => b.op('Greater', [mask, literal(b, 0.5)])

/**
 * Ghost gradients: exp of the dead latents' pre-activations, decoded, scaled to half the residual's length, should be the residual; the loss is
 * scaled element by element to the size of the reconstruction's.
 *
 * @param target         `[batch, dOut]`
 * @param lossByElement  of the reconstruction, before its mean
 * @see   Jermyn and Templeton (2024), "Ghost grads: an improvement on resampling"; constants and centring as in ViT-Prisma
 */
export function ghostLoss(
  b: GraphBuilder,
  { mask, pre, W_dec }: DeadLatents,
  { target, reconstruction, lossByElement }: { target: string; reconstruction: string; lossByElement: string },
  detached: Detached,
): string {
  const residual = detached.copy(b, subtract(b, target, reconstruction))
  const deadPre = b.op('Where', [isDead(b, mask), pre, literal(b, LOWEST)])
  const ghost = b.op('MatMul', [b.op('Exp', [deadPre]), W_dec])
  const length = add(b, scaleBy(b, normOver(b, ghost, 1), 2), literal(b, 1e-6))
  const scaled = multiply(b, ghost, detached.copy(b, divide(b, normOver(b, residual, 1), length)))
  const centredNorm = normOver(b, subtract(b, residual, meanOver(b, residual, 0)), 1)
  const error = divide(b, square(b, subtract(b, scaled, residual)), centredNorm)
  const rescaling = detached.copy(b, divide(b, lossByElement, add(b, error, literal(b, 1e-6))))
  const anyDead = b.op('ReduceMax', [mask], { keepdims: 0 })
  return multiply(b, meanOfAll(b, multiply(b, rescaling, error)), anyDead)
}

/**
 * The k strongest dead latents, decoded without a bias, should be the residual. Where fewer than k are dead, it counts that much less.
 *
 * @param residual  of the decoder's output, `[batch, dOut]`; a constant to this loss
 * @see   Gao et al. (2024), "Scaling and evaluating sparse autoencoders", appendix A.2; not normalised, and the pre-activations not cut off at
 *   0, as in SAELens
 */
export function auxKLoss(b: GraphBuilder, { mask, pre, W_dec }: DeadLatents, { residual, k }: { residual: string; k: number }): string {
  const deadPre = b.op('Where', [isDead(b, mask), pre, literal(b, LOWEST)])
  const [values, indices] = b.opMany('TopK', [deadPre, wholes(b, [k])], { nOutputs: 2, attributes: { axis: -1 } })
  const kept = b.op('Where', [b.op('Greater', [values!, literal(b, LOWEST / 2)]), values!, literal(b, 0)])
  const latents = b.op('ScatterElements', [zerosLike(b, pre), indices!, kept], { axis: -1 })
  const error = subtract(b, b.op('MatMul', [latents, W_dec]), residual)
  const nDead = b.op('ReduceSum', [mask], { keepdims: 0 })
  const share = b.op('Min', [scaleBy(b, nDead, 1 / k), literal(b, 1)])
  return multiply(b, meanOfAll(b, sumOver(b, square(b, error), 1)), share)
}
