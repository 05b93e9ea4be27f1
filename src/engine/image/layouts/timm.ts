/**
 * Preprocessing of timm at evaluation, from the `pretrained_cfg` of its `config.json` (older files have those fields at the root):
 * resize to floor(input / crop_pct), then torchvision's centre crop.
 */

import { ConfigFields, isJsonObject, type JsonObject } from '../config-fields.js'
import { roundHalfToEven } from '../geometry.js'
import { imagenetDefault } from '../normalization-constants.js'
import type { Preprocessing, ResampleFilter, Resize } from '../preprocessing.js'

const filters: Readonly<Record<string, ResampleFilter>> = {
  nearest: 'nearest',
  bilinear: 'bilinear',
  bicubic: 'bicubic',
  box: 'box',
  hamming: 'hamming',
  lanczos: 'lanczos',
}
const cropModes = { center: 'center', squash: 'squash', border: 'border' } as const

/** Whether a `config.json` is timm's and says how its pictures are prepared. */
export function isTimmConfig(config: JsonObject): boolean {
  return isJsonObject(config.pretrained_cfg) || (typeof config.architecture === 'string' && Array.isArray(config.input_size))
}

/** @throws FILE_INVALID */
export function timmPreprocessing(file: string, config: JsonObject): Preprocessing {
  const root = new ConfigFields({ file, values: config })
  const fields = isJsonObject(config.pretrained_cfg) ? root.object('pretrained_cfg') : root
  const { nChannels, ...target } = inputSize(fields)
  const cropPct = fields.number('crop_pct', 0.875, { above: 0 })
  const scaled = { height: Math.floor(target.height / cropPct), width: Math.floor(target.width / cropPct) }
  const mean = fields.perChannel('mean', imagenetDefault.mean, { nChannels, above: Number.NEGATIVE_INFINITY })
  const mode = fields.choice('crop_mode', 'center', cropModes)
  const resizes: Record<typeof mode, Resize> = {
    center: scaled.height === scaled.width ? { kind: 'shortestEdge', size: scaled.height } : { kind: 'cover', ...scaled },
    squash: { kind: 'exact', ...scaled },
    border: { kind: 'longestEdge', ...scaled, fill: mean.map((value) => roundHalfToEven(255 * value)) },
  }
  const preprocessing: Preprocessing = {
    resize: resizes[mode],
    resample: fields.choice<ResampleFilter>('interpolation', 'bicubic', filters),
    crop: target,
    cropRounding: 'halfToEven',
    rescale: 1 / 255,
    mean,
    std: fields.perChannel('std', imagenetDefault.std, { nChannels, above: 0 }),
    mode: nChannels === 1 ? 'L' : 'RGB',
    source: file,
  }
  root.check()
  return preprocessing
}

/** `[channels, height, width]`. */
function inputSize(fields: ConfigFields): { nChannels: number; height: number; width: number } {
  const size = fields.values.input_size ?? [3, 224, 224]
  const isSize =
    Array.isArray(size) && size.length === 3 && size.every((length) => Number.isInteger(length) && length >= 1 && length <= 8192)
  if (isSize && (size[0] === 1 || size[0] === 3)) return { nChannels: size[0], height: size[1], width: size[2] }
  fields.problem('input_size', '[channels, height, width] with 1 or 3 channels')
  return { nChannels: 3, height: 224, width: 224 }
}
