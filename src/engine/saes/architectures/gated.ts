/**
 * Whether a latent is active and how strongly are decided apart, by the same directions: the magnitude's weights are the gate's, scaled by
 * exp(r_mag). `hook_hidden_pre` does not fire.
 * @see Rajamanoharan et al. (2024), "Improving Dictionary Learning with Gated Sparse Autoencoders"
 */

import { above, literal, multiply } from '../../graph/expressions.js'
import { activateLatents } from './activations.js'
import type { MakeLatents } from './architecture.js'
import { encoderAffine, latentParameter } from './pre-activations.js'

export const gatedLatents: MakeLatents = (b, saeIn, config, site) => {
  const { dIn, dSae } = config
  const vector = (name: string) => latentParameter(b, name, [dSae], site)
  const weight = latentParameter(b, 'W_enc', [dIn, dSae], site)
  const gatePre = encoderAffine(b, saeIn, weight, vector('b_gate'), site)
  // saeIn (W_enc * exp(r_mag)): the weights are scaled and not the product, as the libraries do.
  const magnitudeWeight = multiply(b, weight, b.op('Exp', [vector('r_mag')]))
  const pre = encoderAffine(b, saeIn, magnitudeWeight, vector('b_mag'), site)
  const magnitudes = activateLatents(b, pre, config, site)
  return { pre, gatePre, latentActs: multiply(b, above(b, gatePre, literal(b, 0)), magnitudes) }
}
