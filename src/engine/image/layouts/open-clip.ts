/**
 * Preprocessing of open_clip, from the `preprocess_cfg` of `open_clip_config.json`: torchvision's resize and crop.
 */

import { ConfigFields, type JsonObject } from '../config-fields.js'
import { openaiClip } from '../normalization-constants.js'
import type { Preprocessing, ResampleFilter, Resize } from '../preprocessing.js'

/** `random` is for training; open_clip reads it as bicubic at inference. */
const filters: Readonly<Record<string, ResampleFilter>> = { bicubic: 'bicubic', bilinear: 'bilinear', random: 'bicubic' }
const resizeModes = { shortest: 'shortest', longest: 'longest', squash: 'squash' } as const

/** @throws FILE_INVALID */
export function openClipPreprocessing(file: string, config: JsonObject): Preprocessing {
  const root = new ConfigFields({ file, values: config })
  const fields = root.object('preprocess_cfg')
  const vision = root.object('model_cfg').object('vision_cfg')
  // The model's own size wins, as in open_clip, where the file repeats it.
  const target = vision.sides('image_size') ?? fields.sides('size') ?? { height: 224, width: 224 }
  const isSquare = target.height === target.width
  const mode = fields.choice('resize_mode', 'shortest', resizeModes)
  const fill = fields.has('fill_color') ? fields.perChannel('fill_color', [0], { nChannels: 3, above: -1 }) : 0
  const resample = fields.choice<ResampleFilter>('interpolation', 'bicubic', filters)
  fields.choice('mode', 'RGB', { RGB: 'RGB' })
  const resizes: Record<typeof mode, Resize> = {
    shortest: isSquare ? { kind: 'shortestEdge', size: target.height } : { kind: 'cover', ...target },
    longest: { kind: 'longestEdge', ...target, fill },
    squash: { kind: 'exact', ...target },
  }
  const preprocessing: Preprocessing = {
    resize: resizes[mode],
    // Toward a target that is not square open_clip passes no interpolation on, and its default is bicubic.
    resample: mode === 'shortest' && !isSquare ? 'bicubic' : resample,
    crop: mode === 'squash' ? null : target,
    cropRounding: 'halfToEven',
    rescale: 1 / 255,
    mean: fields.perChannel('mean', openaiClip.mean, { nChannels: 3, above: Number.NEGATIVE_INFINITY }),
    std: fields.perChannel('std', openaiClip.std, { nChannels: 3, above: 0 }),
    mode: 'RGB',
    // Its conversion to RGB stands after the resize and the crop.
    conversion: 'afterResize',
    source: file,
  }
  root.check()
  return preprocessing
}
