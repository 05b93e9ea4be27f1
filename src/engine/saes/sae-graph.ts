/** An SAE by itself, as a graph. */

import { GraphBuilder } from '../graph/builder.js'
import { subtract } from '../graph/expressions.js'
import type { Graph } from '../graph/graph.js'
import { decode, encode, type SaeSite } from './encode-decode.js'
import { checkSaeConfig, type SaeConfig } from './sae.js'

const alone: SaeSite = { prefix: '', axes: ['batch', 'dModel'] }

/**
 * Input `x` `[batch, dIn]`; output `reconstruction` `[batch, dOut]`; parameters by the names of `saeParameters`. The latents are the hook
 * point `hook_hidden_post`.
 *
 * With `hook_sae_error` among the wanted it is a second output, the target minus the reconstruction (SAELens' name); a transcoder's
 * target is then a second input, `y`.
 *
 * @throws INPUT_INVALID
 */
export function saeGraph(config: SaeConfig, wanted: ReadonlySet<string> = new Set()): Graph {
  checkSaeConfig(config)
  const b = new GraphBuilder('sae')
  const x = b.input('x', 'float32', ['batch', config.dIn])
  const encoded = encode(b, x, config, alone)
  const reconstruction = b.named('reconstruction', decode(b, encoded.latentActs, encoded, config, alone))
  if (!wanted.has('hook_sae_error')) return b.build([reconstruction])
  const target = config.transcoder ? b.input('y', 'float32', ['batch', config.dOut]) : x
  const error = b.hook('hook_sae_error', alone.axes, subtract(b, target, reconstruction))
  return b.build([reconstruction, error])
}

/** Input `x` `[batch, dIn]`, output the latents `hook_hidden_post` `[batch, dSae]`: the half that needs no decoder. */
export function encoderGraph(config: SaeConfig): Graph {
  checkSaeConfig(config)
  const b = new GraphBuilder('sae encoder')
  return b.build([encode(b, b.input('x', 'float32', ['batch', config.dIn]), config, alone).latentActs])
}
