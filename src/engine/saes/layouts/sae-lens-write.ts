/**
 * Writing the SAELens layout (version 6). SAELens has no batch-top-k at inference: with its learned threshold it is a JumpReLU SAE, and is
 * saved as one.
 */

import { EngineError } from '../../errors.js'
import { safetensorsChunks } from '../../io/safetensors.js'
import type { Tensor } from '../../tensor.js'
import { type ConfiguredWeights, foldIdentityIntoSkip, foldInputScale, withDecoderBiasSubtracted } from '../fold.js'
import type { SaeConfig } from '../sae.js'
import type { SaeToWrite, SaeTraining, WrittenFile } from './layout.js'

export const SAE_LENS_CONFIG = 'cfg.json'
export const SAE_LENS_WEIGHTS = 'sae_weights.safetensors'

/** The version whose format this is. */
const VERSION = '6.54.12'

/** @throws MODEL_UNSUPPORTED */
export function writeSaeLens(sae: SaeToWrite): WrittenFile[] {
  const problems = [...inexpressible(sae.config)]
  if (problems.length > 0) {
    throw new EngineError('MODEL_UNSUPPORTED', {
      what: `Writing this SAE as SAELens does (${problems.join('; ')})`,
      supported: 'Write it in the layout "vit-prisma", or in "refract", which can say everything.',
    })
  }
  const { config, weights } = asSaeLens(sae)
  const { b_dec_out, topk_threshold, ...same } = weights
  const stored: Record<string, Tensor> = {
    ...same,
    ...(b_dec_out && { b_dec: b_dec_out }),
    ...(topk_threshold && { threshold: filled(config.dSae, topk_threshold.data[0]!) }),
  }
  const files: WrittenFile[] = [
    { name: SAE_LENS_CONFIG, content: `${JSON.stringify(configJson(config, sae.config, sae.training ?? {}), undefined, 2)}\n` },
    { name: SAE_LENS_WEIGHTS, content: safetensorsChunks(Object.entries(stored)) },
  ]
  if (sae.logFeatureSparsity) {
    files.push({ name: 'sparsity.safetensors', content: safetensorsChunks([['sparsity', sae.logFeatureSparsity]]) })
  }
  return files
}

function filled(length: number, value: number): Tensor {
  return { dtype: 'float32', shape: [length], data: new Float32Array(length).fill(value) }
}

/** With what SAELens has no field for in the weights. */
function asSaeLens(sae: ConfiguredWeights): ConfiguredWeights {
  const folded = foldIdentityIntoSkip(foldInputScale(sae))
  return folded.config.transcoder ? withDecoderBiasSubtracted(false, folded) : folded
}

function* inexpressible({ architecture, activation, transcoder, normalization }: SaeConfig): Generator<string> {
  if (activation === 'tanh-relu') yield 'it has no tanh-ReLU since version 6'
  if (architecture === 'gated' && activation === 'topk') yield 'it has no gated SAEs that select by top-k'
  if (!transcoder) return
  if (architecture === 'gated') yield 'it has no gated transcoders'
  if (activation === 'topk') yield 'it has no top-k transcoders'
  const isPerToken = normalization === 'layer_norm' || normalization === 'constant_norm_rescale'
  if (transcoder.denormalizes && isPerToken) yield "its transcoders do not undo the input's normalisation"
}

function nameOf({ architecture, activation, transcoder }: SaeConfig): string {
  const isJumpRelu = architecture === 'jumprelu' || activation === 'batch-topk'
  if (!transcoder) return isJumpRelu ? 'jumprelu' : activation === 'topk' ? 'topk' : architecture === 'gated' ? 'gated' : 'standard'
  return `${isJumpRelu ? 'jumprelu_' : ''}${transcoder.skip === 'none' ? '' : 'skip_'}transcoder`
}

/** What it was trained as, where that is another thing. */
function trainedAs({ architecture, activation, k, widths }: SaeConfig) {
  const suffix = { relu: '', 'tanh-relu': '', topk: '_topk', 'batch-topk': '_batchtopk' }[activation]
  const name = architecture === 'matryoshka' ? `matryoshka${suffix}` : architecture === 'batch-topk' ? 'batchtopk' : undefined
  if (name === undefined) return {}
  const details = { ...(k !== undefined && { k }), ...(widths && { matryoshka_widths: widths }) }
  return { training_architecture: name, training_architecture_details: details }
}

function configJson(config: SaeConfig, asGiven: SaeConfig, { modelName, datasetName, positions, l1Coefficient }: SaeTraining) {
  const { dIn, dOut, dSae, transcoder, normalization, k } = config
  const architecture = nameOf(config)
  return {
    d_in: dIn,
    d_sae: dSae,
    ...(transcoder && { d_out: dOut }),
    ...(architecture === 'topk' && { k, rescale_acts_by_decoder_norm: false }),
    dtype: 'float32',
    device: 'cpu',
    apply_b_dec_to_input: config.subtractsDecoderBias,
    normalize_activations: normalization,
    reshape_activations: config.flattensHeads ? 'hook_z' : 'none',
    metadata: {
      sae_lens_version: VERSION,
      sae_lens_training_version: null,
      ...(modelName !== undefined && { model_name: modelName }),
      hook_name: config.hookPoint,
      hook_head_index: config.headIndex ?? null,
      ...(transcoder && { hook_name_out: transcoder.hookPointOut }),
      ...(datasetName !== undefined && { dataset_path: datasetName }),
      ...(positions !== undefined && { positions }),
      ...(l1Coefficient !== undefined && { l1_coefficient: l1Coefficient }),
      ...trainedAs(asGiven),
    },
    architecture,
  }
}
