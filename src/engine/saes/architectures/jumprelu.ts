/**
 * Each latent has a threshold of its own, below which it is zero.
 * @see Rajamanoharan et al. (2024), "Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders"
 */

import { keepAbove } from './activations.js'
import type { MakeLatents } from './architecture.js'
import { hiddenPre, latentParameter } from './pre-activations.js'

export const jumpReluLatents: MakeLatents = (b, saeIn, config, site) => {
  const pre = hiddenPre(b, saeIn, config, site)
  return { pre, latentActs: keepAbove(b, pre, latentParameter(b, 'threshold', [config.dSae], site)) }
}
