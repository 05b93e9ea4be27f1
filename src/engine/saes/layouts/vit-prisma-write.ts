/** Writing the ViT-Prisma layout: a plain state dict and the configuration that the library builds an SAE from. */

import { EngineError } from '../../errors.js'
import { torchChunks, torchTensorChunks } from '../../io/torch-writer.js'
import type { Tensor } from '../../tensor.js'
import { foldIdentityIntoSkip, foldInputScale, withDecoderBiasSubtracted } from '../fold.js'
import type { SaeConfig } from '../sae.js'
import type { SaeToWrite, SaeTraining, WrittenFile } from './layout.js'

/** Parameters under the library's names, which are ours, in the order of its state dict. */
export function nameMap({ architecture, transcoder }: SaeConfig): string[] {
  if (architecture === 'gated') return ['W_enc', 'b_gate', 'r_mag', 'b_mag', 'W_dec', 'b_dec']
  if (!transcoder) return ['W_dec', 'W_enc', 'b_enc', 'b_dec']
  return [...(transcoder.skip === 'none' ? [] : ['W_skip']), 'W_dec', 'W_enc', 'b_enc', 'b_dec', 'b_dec_out']
}

/** @throws MODEL_UNSUPPORTED */
export function writeVitPrisma(sae: SaeToWrite): WrittenFile[] {
  const problems = [...inexpressible(sae.config)]
  if (problems.length > 0) {
    throw new EngineError('MODEL_UNSUPPORTED', {
      what: `Writing this SAE as ViT-Prisma does (${problems.join('; ')})`,
      supported: 'Write it in the layout "sae-lens", or in "refract", which can say everything.',
    })
  }
  const { config, weights } = withDecoderBiasSubtracted(true, foldIdentityIntoSkip(foldInputScale(sae)))
  const stored: [string, Tensor][] = nameMap(config).map((name) => [name, weights[name]!])
  // The library's module has it, and loads strictly.
  if (config.architecture === 'gated') stored.push(['b_enc', zeros(config.dSae)])
  const files: WrittenFile[] = [
    { name: 'config.json', content: `${JSON.stringify(configJson(config, sae.training ?? {}), undefined, 2)}\n` },
    { name: 'weights.pt', content: torchChunks(stored) },
  ]
  if (sae.logFeatureSparsity) {
    files.push({ name: 'log_feature_sparsity.pt', content: torchTensorChunks(sae.logFeatureSparsity) })
  }
  return files
}

const zeros = (length: number): Tensor => ({ dtype: 'float32', shape: [length], data: new Float32Array(length) })

/** `blocks.9.hook_mlp_out` as layer 9 and `hook_mlp_out`. */
function layerOf(hookPoint: string): { layer: number; subtype: string } | undefined {
  const match = /^blocks\.(\d+)\.(.+)$/.exec(hookPoint)
  return match ? { layer: Number(match[1]), subtype: match[2]! } : undefined
}

function* inexpressible(config: SaeConfig): Generator<string> {
  const { architecture, activation, transcoder, dIn, dSae } = config
  if (architecture === 'jumprelu') yield 'it has no JumpReLU'
  if (activation === 'batch-topk') yield 'it has no batch-top-k'
  if (dSae % dIn !== 0) yield `its width is a whole multiple of dIn (${dIn}), and dSae is ${dSae}`
  if (config.flattensHeads) yield 'it does not flatten heads'
  if (!layerOf(config.hookPoint)) yield `it names hook points within blocks, not "${config.hookPoint}"`
  if (!transcoder) return
  if (architecture === 'gated') yield 'it has no gated transcoders'
  if (!layerOf(transcoder.hookPointOut)) yield `it names hook points within blocks, not "${transcoder.hookPointOut}"`
  if (!transcoder.denormalizes && config.normalization !== 'none')
    yield "its transcoders' outputs go through the inverse of the normalisation"
}

function configJson(config: SaeConfig, { modelName, positions, datasetName, l1Coefficient }: SaeTraining) {
  const { layer, subtype } = layerOf(config.hookPoint)!
  const out = config.transcoder && layerOf(config.transcoder.hookPointOut)!
  return {
    architecture: config.architecture === 'gated' ? 'gated' : 'standard',
    model_class_name: 'HookedViT',
    ...(modelName !== undefined && { model_name: modelName }),
    hook_point_layer: layer,
    layer_subtype: subtype,
    hook_point_head_index: config.headIndex ?? null,
    d_in: config.dIn,
    expansion_factor: config.dSae / config.dIn,
    activation_fn_str: config.activation,
    activation_fn_kwargs: config.k === undefined ? {} : { k: config.k },
    normalize_activations: config.normalization,
    is_transcoder: config.transcoder !== undefined,
    transcoder_with_skip_connection: config.transcoder !== undefined && config.transcoder.skip !== 'none',
    ...(out && { out_hook_point_layer: out.layer, layer_out_subtype: out.subtype, d_out: config.dOut }),
    cls_token_only: positions === 'cls',
    use_patches_only: positions === 'patches',
    ...(datasetName !== undefined && { dataset_name: datasetName }),
    ...(l1Coefficient !== undefined && { l1_coefficient: l1Coefficient }),
    initialization_method: 'independent',
    _device: 'cpu',
    _dtype: 'float32',
  }
}
