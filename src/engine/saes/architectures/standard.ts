/**
 * One linear layer and an activation: ReLU, and what the other architectures with the same parameters select by (top-k, batch-top-k, and
 * Matryoshka SAEs, which differ from these only in how they are trained).
 * @see Bricken et al. (2023), "Towards Monosemanticity"; Gao et al. (2024), "Scaling and evaluating sparse autoencoders"
 */

import { activateLatents } from './activations.js'
import type { MakeLatents } from './architecture.js'
import { hiddenPre } from './pre-activations.js'

export const standardLatents: MakeLatents = (b, saeIn, config, site) => {
  const pre = hiddenPre(b, saeIn, config, site)
  return { pre, latentActs: activateLatents(b, pre, config, site) }
}
