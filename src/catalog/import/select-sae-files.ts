/**
 * Whether a folder or a repository holds a model or an SAE, and which of its files an SAE needs.
 */

import { EngineError } from '../../engine/errors.js'
import { weightFileNames } from '../../engine/io/weight-folder.js'
import { saeLayouts } from '../../engine/saes/layouts/registry.js'
import type { SelectedFiles } from './select-files.js'

/** @throws FILE_INVALID */
export function selectSaeFiles(names: readonly string[], where: string): SelectedFiles {
  for (const layout of Object.values(saeLayouts)) {
    const weights = layout.weightsFile(names)
    if (weights === undefined) continue
    const configs = layout.configFiles.filter((name) => names.includes(name))
    const sparsity = layout.sparsityFile(names, weights)?.file
    return { descriptions: [...configs, ...(sparsity === undefined ? [] : [sparsity])], weights }
  }
  const expected = 'weights.pt or n_images_<n>.pt (ViT-Prisma), sae_weights.safetensors (SAELens), or sae.safetensors with sae.json'
  const some = names.slice(0, 8).join(', ')
  throw new EngineError('FILE_INVALID', { file: where, problem: `holds no SAE (${expected}). It holds ${some || 'no files'}.` })
}

/** Of ViT-Prisma's configuration of an SAE; none is of a model's. */
const SAE_FIELDS = ['hook_point_layer', 'expansion_factor', 'is_transcoder', 'activation_fn_str', 'layer_subtype', 'hook_point', 'sae_path']

/**
 * By the names of the files; where there is only `weights.pt`, which a model could have too, by the configuration beside it. Without one it
 * is an SAE, whose configuration can be in its weights: a model's cannot.
 *
 * @param text  reads a small file
 */
export async function holdsSae(names: readonly string[], text: (name: string) => Promise<string>): Promise<boolean> {
  const has = (name: string) => names.includes(name)
  if ((has('sae.json') && has('sae.safetensors')) || has('sae_weights.safetensors')) return true
  if (weightFileNames.some(has) || has('open_clip_config.json')) return false
  if (names.some((name) => /^n_images_\d+\.pt$/.test(name))) return true
  if (!has('weights.pt')) return false
  return !has('config.json') || isSaeConfig(await text('config.json'))
}

function isSaeConfig(text: string): boolean {
  try {
    const config: unknown = JSON.parse(text)
    return typeof config === 'object' && config !== null && SAE_FIELDS.some((field) => Object.hasOwn(config, field))
  } catch {
    return false
  }
}
