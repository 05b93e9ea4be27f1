/**
 * Preprocessing as transformers' image processors say it, `preprocessor_config.json`: the way back of engine/image/layouts/transformers.ts.
 */

import { transformersPreprocessing } from '../image/layouts/transformers.js'
import type { Preprocessing, ResampleFilter } from '../image/preprocessing.js'
import type { JsonObject } from './config-fields.js'

const FILE = 'preprocessor_config.json'

/** Pillow's numbers. */
const resampling: Readonly<Record<ResampleFilter, number>> = { nearest: 0, lanczos: 1, bilinear: 2, bicubic: 3, box: 4, hamming: 5 }

/**
 * `preprocessor_config.json` for a model, every value explicit, and what of it transformers' processors cannot do. No file for a model that
 * never said how its pictures are prepared. ViT's processor where it can do it (one resize to the final size), else CLIP's, which also crops.
 * @param prefer  the class that the model's own processor expects (CLIPProcessor wants CLIP's)
 */
export function processorFile(
  preprocessing: Preprocessing,
  { prefer }: { readonly prefer?: 'CLIP' } = {},
): { readonly json: Readonly<Record<string, JsonObject>>; readonly refusals: readonly string[] } {
  if (preprocessing.source === 'default') return { json: {}, refusals: [] }
  const processor = processorOf(preprocessing, prefer)
  const readAgain = transformersPreprocessing(FILE, processor, { nChannels: preprocessing.mean.length })
  const refusals = samePreprocessing(preprocessing, readAgain) ? [] : [`its preprocessing (${problemsOf(preprocessing).join('; ')})`]
  return { json: { [FILE]: processor }, refusals }
}

function processorOf(preprocessing: Preprocessing, prefer: 'CLIP' | undefined): JsonObject {
  const { resize, crop, resample, rescale, mean, std, mode } = preprocessing
  const fitsVit = crop === null && resize?.kind === 'exact'
  return {
    image_processor_type: `${prefer !== 'CLIP' && fitsVit ? 'ViT' : 'CLIP'}ImageProcessor`,
    do_resize: resize !== null,
    ...(resize?.kind === 'shortestEdge' && { size: { shortest_edge: resize.size } }),
    ...(resize?.kind === 'exact' && { size: { height: resize.height, width: resize.width } }),
    resample: resampling[resample],
    do_center_crop: crop !== null,
    ...(crop && { crop_size: { height: crop.height, width: crop.width } }),
    do_rescale: rescale !== 1,
    rescale_factor: rescale,
    do_normalize: true,
    image_mean: mean,
    image_std: std,
    do_convert_rgb: mode === 'RGB',
  }
}

function problemsOf({ resize, cropRounding, conversion }: Preprocessing): string[] {
  return [
    ...(resize && resize.kind !== 'shortestEdge' && resize.kind !== 'exact' ? [`a resize of the kind ${resize.kind}`] : []),
    ...(cropRounding === 'halfToEven' ? ['a crop rounded half to even'] : []),
    ...(conversion === undefined ? [] : [`conversion to RGB ${conversion}`]),
  ]
}

/** True when both do the same to every picture. */
export function samePreprocessing(a: Preprocessing, b: Preprocessing): boolean {
  return JSON.stringify(comparable(a)) === JSON.stringify(comparable(b))
}

function comparable({ resize, resample, crop, cropRounding = 'floor', rescale, mean, std, mode, conversion }: Preprocessing): unknown[] {
  const cutsNothing = crop === null || (resize?.kind === 'exact' && resize.height === crop.height && resize.width === crop.width)
  const size = resize && [
    resize.kind,
    ...(resize.kind === 'shortestEdge' ? [resize.size] : [resize.height, resize.width, resize.kind === 'longestEdge' && resize.fill]),
  ]
  return [
    size,
    resize === null ? null : resample,
    cutsNothing ? null : [crop, cropRounding],
    rescale,
    mean,
    std,
    mode,
    conversion ?? 'before',
  ]
}
