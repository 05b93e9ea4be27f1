/** The SAE that training is measured by: 768 to 6144, plain, L1. */

import type { SaeConfig } from '../../src/engine/saes/sae.js'
import type { SaeStepOptions } from '../../src/engine/training/saes/sae-stepper.js'

export const sae768: SaeConfig = {
  architecture: 'standard',
  activation: 'relu',
  dIn: 768,
  dOut: 768,
  dSae: 6144,
  normalization: 'none',
  subtractsDecoderBias: true,
  hookPoint: 'blocks.9.hook_resid_post',
}

/** Tokens in a batch. */
export const saeBatch = 1024

export const sae768Step: SaeStepOptions = {
  config: sae768,
  loss: { reconstruction: 'mse', sparsity: { kind: 'lp', p: 1, weightedByDecoderNorm: false } },
  batchSize: saeBatch,
  sparsityCoefficient: 1e-3,
  deadAfterSteps: 1e9,
  frequencyWindow: 1000,
}
