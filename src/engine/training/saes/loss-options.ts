/** Which terms an SAE's loss has. Coefficients are inputs of the graph, so that they can change from step to step. */

import { EngineError, type Problem } from '../../errors.js'
import type { SaeConfig } from '../../saes/sae.js'

/**
 * Of the difference between reconstruction and target:
 * `mse`: mean over all elements of its square;
 * `sum-of-squares`: its squared length, mean over tokens (SAELens, and most papers);
 * `mse-over-centred-norm`: mean over all elements of its square over the distance of the token's target from the batch mean, a length that
 * is not squared (ViT-Prisma).
 */
export type ReconstructionLoss = 'mse' | 'sum-of-squares' | 'mse-over-centred-norm'

/** What makes latents sparse; none for those that select the k largest. */
export type SparsityLoss =
  /**
   * The p-norm of a token's latents, mean over tokens; each latent times its decoder row's norm where that is asked for. Of a gated SAE
   * the norm of what passes the gate, always weighted (its paper, SAELens and ViT-Prisma).
   */
  | { readonly kind: 'lp'; readonly p: number; readonly weightedByDecoderNorm: boolean }
  /**
   * How many latents are active, for JumpReLU: a step whose gradient is estimated by a rectangle of width `bandwidth` around the threshold.
   * `toInput`: the estimate reaches the pre-activations too (Anthropic), not the threshold alone (DeepMind).
   */
  | { readonly kind: 'l0'; readonly bandwidth: number; readonly toInput: boolean }
  /** tanh(scale x latent x decoder norm), summed, for JumpReLU (Anthropic); the estimator is that of the latents themselves. */
  | { readonly kind: 'tanh'; readonly scale: number; readonly bandwidth: number; readonly toInput: boolean }

export interface SaeLossOptions {
  readonly reconstruction: ReconstructionLoss
  readonly sparsity?: SparsityLoss
  /** Of a gated SAE, whose gate must reconstruct by itself: what. ViT-Prisma compares with the encoder's input, which lacks the bias. */
  readonly gateTarget?: 'normalized-input' | 'encoder-input'
  /** Dead latents are moved towards the residual by way of exp (ViT-Prisma; Jermyn and Templeton 2024). For `standard`. */
  readonly ghostGradients?: boolean
  /** The `k` (default: half the output's width) strongest dead latents reconstruct the residual (Gao et al. 2024). */
  readonly auxK?: { readonly coefficient: number; readonly k?: number }
}

/** Whether a term looks at dead latents: the graph then needs to be told which are. */
export function usesDeadLatents({ ghostGradients, auxK }: SaeLossOptions): boolean {
  return ghostGradients === true || auxK !== undefined
}

/** @throws INPUT_INVALID with everything that does not fit the SAE */
export function checkLossOptions(options: SaeLossOptions, config: SaeConfig, path = 'loss'): void {
  const problems = [...lossProblems(options, config)].map(([field, message]) => ({ path: `${path}.${field}`, message }) satisfies Problem)
  const [first] = problems
  if (first) throw new EngineError('INPUT_INVALID', { path: first.path, problem: `${first.message}.` }, problems)
}

function* lossProblems(options: SaeLossOptions, config: SaeConfig): Generator<[field: string, message: string]> {
  const { sparsity, gateTarget, ghostGradients, auxK } = options
  const { architecture, activation } = config
  const isJumpRelu = architecture === 'jumprelu'
  const selects = activation === 'topk' || activation === 'batch-topk'
  if (sparsity && selects) yield ['sparsity', `${activation} is sparse without a loss`]
  if (sparsity?.kind === 'lp' && isJumpRelu) yield ['sparsity', 'a JumpReLU SAE has l0 or tanh; its threshold has no other gradient']
  if (sparsity && sparsity.kind !== 'lp' && !isJumpRelu) yield ['sparsity', `${sparsity.kind} is for JumpReLU, not for ${architecture}`]
  if (!sparsity && isJumpRelu) yield ['sparsity', 'a JumpReLU SAE needs one; its threshold has no other gradient']
  if (sparsity?.kind === 'lp' && !(sparsity.p > 0)) yield ['sparsity.p', `is ${sparsity.p}; expected a number above 0`]
  if (sparsity && sparsity.kind !== 'lp' && !(sparsity.bandwidth > 0)) {
    yield ['sparsity.bandwidth', `is ${sparsity.bandwidth}; expected a number above 0`]
  }
  if (gateTarget && architecture !== 'gated') yield ['gateTarget', `belongs to gated, not to ${architecture}`]
  if (ghostGradients && architecture === 'gated') yield ['ghostGradients', 'a gated SAE has none']
  if (auxK && architecture === 'gated') yield ['auxK', 'a gated SAE has none']
  if (auxK && !(auxK.coefficient >= 0)) yield ['auxK.coefficient', `is ${auxK.coefficient}; expected a number from 0`]
  if (auxK?.k !== undefined && !(Number.isInteger(auxK.k) && auxK.k >= 1 && auxK.k <= config.dSae)) {
    yield ['auxK.k', `is ${auxK.k}; expected a whole number from 1 to dSae (${config.dSae})`]
  }
}
