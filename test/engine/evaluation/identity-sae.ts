/** SAEs that predict what they read: latents are the positive and the negative part of each channel. */

import type { Positions, StudiedSae } from '../../../src/engine/evaluation/studied-sae.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { tensor } from '../../../src/engine/tensor.js'

export function identitySae(
  place: Pick<SaeConfig, 'hookPoint' | 'headIndex' | 'flattensHeads'>,
  { width, positions = 'all' }: { width: number; positions?: Positions },
): StudiedSae {
  const dSae = 2 * width
  const encoder = new Float32Array(width * dSae)
  const decoder = new Float32Array(width * dSae)
  for (let channel = 0; channel < width; channel++) {
    for (const [latent, sign] of [
      [channel, 1],
      [channel + width, -1],
    ] as const) {
      encoder[channel * dSae + latent] = sign
      decoder[latent * width + channel] = sign
    }
  }
  const zeros = (length: number) => tensor('float32', [length], new Float32Array(length))
  return {
    id: `${place.hookPoint} ${place.headIndex ?? ''} ${positions}`,
    config: {
      architecture: 'standard',
      activation: 'relu',
      dIn: width,
      dOut: width,
      dSae,
      normalization: 'none',
      subtractsDecoderBias: true,
      ...place,
    },
    weights: {
      W_enc: tensor('float32', [width, dSae], encoder),
      W_dec: tensor('float32', [dSae, width], decoder),
      b_enc: zeros(dSae),
      b_dec: zeros(width),
    },
    positions,
  }
}
