/**
 * Preprocessing of transformers' image processors, from `preprocessor_config.json` (or `processor_config.json`), as they do it on Pillow:
 * the current form with size dictionaries, and the older feature extractors whose `size` is one number.
 */

import { EngineError } from '../../errors.js'
import { ConfigFields, type JsonObject } from '../config-fields.js'
import { imagenetStandard, openaiClip } from '../normalization-constants.js'
import type { Preprocessing, ResampleFilter, Resize } from '../preprocessing.js'

interface ProcessorClass {
  readonly mean: readonly number[]
  readonly std: readonly number[]
  readonly resample: ResampleFilter
  readonly size: JsonObject
  /** A `size` that is one number means a square, else the shortest edge. */
  readonly squareSize: boolean
  readonly cropSize?: number
}

const clip: ProcessorClass = {
  ...openaiClip,
  resample: 'bicubic',
  size: { shortest_edge: 224 },
  squareSize: false,
  cropSize: 224,
}
const square = { height: 224, width: 224 }
const vit: ProcessorClass = { ...imagenetStandard, resample: 'bilinear', size: square, squareSize: true }

/** What each class does where its file is silent. `Fast` and `Pil` variants and the old `FeatureExtractor` names share a row. */
const classes: Readonly<Record<string, ProcessorClass>> = {
  CLIP: clip,
  Bit: clip,
  ViT: vit,
  DeiT: {
    ...imagenetStandard,
    resample: 'bicubic',
    size: { height: 256, width: 256 },
    squareSize: true,
    cropSize: 224,
  },
  Siglip: { ...imagenetStandard, resample: 'bicubic', size: square, squareSize: false },
}

/** Which class a model type has when the file names none. */
const classOfModelType: Readonly<Record<string, string>> = {
  clip: 'CLIP',
  clip_vision_model: 'CLIP',
  vit: 'ViT',
  vit_msn: 'ViT',
  deit: 'DeiT',
  dinov2: 'Bit',
  dinov2_with_registers: 'Bit',
  siglip: 'Siglip',
  siglip_vision_model: 'Siglip',
}

/** Pillow's `Image.Resampling`. */
const filters: Readonly<Record<string, ResampleFilter>> = {
  0: 'nearest',
  1: 'lanczos',
  2: 'bilinear',
  3: 'bicubic',
  4: 'box',
  5: 'hamming',
}

/** Steps with a flag that are supported, or change no pixel. Any other `do_*: true` is refused, never skipped. */
const knownSteps = ['do_resize', 'do_center_crop', 'do_rescale', 'do_normalize', 'do_convert_rgb']

/**
 * @param processor  the parsed file
 * @param modelType  `model_type` of the model's config.json, where known
 * @throws FILE_INVALID for wrong values, MODEL_UNSUPPORTED for another processor class
 */
export function transformersPreprocessing(
  file: string,
  processor: JsonObject,
  { modelType, nChannels }: { modelType?: string | undefined; nChannels: number },
): Preprocessing {
  const fields = new ConfigFields({ file, values: processor })
  const defaults = processorClass(fields, modelType)
  for (const [name, value] of Object.entries(processor)) {
    if (name.startsWith('do_') && value === true && !knownSteps.includes(name)) fields.problem(name, `no step but ${knownSteps.join(', ')}`)
  }
  const crops = fields.boolean('do_center_crop', defaults.cropSize !== undefined)
  const normalizes = fields.boolean('do_normalize', true)
  const preprocessing: Preprocessing = {
    resize: fields.boolean('do_resize', true) ? resize(fields, defaults) : null,
    resample: fields.choice('resample', defaults.resample, filters),
    crop: crops ? cropSize(fields, defaults) : null,
    cropRounding: 'floor',
    rescale: fields.boolean('do_rescale', true) ? fields.number('rescale_factor', 1 / 255, { above: 0 }) : 1,
    mean: normalizes ? fields.perChannel('image_mean', defaults.mean, { nChannels, above: Number.NEGATIVE_INFINITY }) : zeros(nChannels),
    std: normalizes ? fields.perChannel('image_std', defaults.std, { nChannels, above: 0 }) : zeros(nChannels).map(() => 1),
    mode: nChannels === 1 ? 'L' : 'RGB',
    source: file,
  }
  fields.check()
  return preprocessing
}

function processorClass(fields: ConfigFields, modelType: string | undefined): ProcessorClass {
  const named = fields.string('image_processor_type', fields.string('feature_extractor_type', ''))
  const name = named.replace(/(ImageProcessor(Fast|Pil)?|FeatureExtractor)$/, '') || (classOfModelType[modelType ?? ''] ?? '')
  const found = Object.hasOwn(classes, name) ? classes[name] : undefined
  if (found) return found
  const what =
    named || modelType ? `Preprocessing by ${named || `the default of "${modelType}"`}` : `Preprocessing that names no image processor`
  throw new EngineError('MODEL_UNSUPPORTED', {
    what: `${what} (${fields.file})`,
    supported: `Supported: ${Object.keys(classes)
      .map((known) => `${known}ImageProcessor`)
      .join(', ')}.`,
  })
}

function resize(fields: ConfigFields, defaults: ProcessorClass): Resize {
  if (typeof fields.values.size === 'number' || Array.isArray(fields.values.size)) {
    const sides = fields.sides('size')
    if (!sides) return null
    const isOne = typeof fields.values.size === 'number'
    return isOne && !defaults.squareSize ? { kind: 'shortestEdge', size: sides.height } : { kind: 'exact', ...sides }
  }
  const size = fields.has('size') ? fields.object('size') : new ConfigFields({ file: fields.file, path: 'size.', values: defaults.size })
  const given = Object.keys(size.values)
    .filter((name) => size.has(name))
    .sort()
    .join()
  if (given === 'shortest_edge') return { kind: 'shortestEdge', size: size.side('shortest_edge') ?? 1 }
  if (given === 'height,width') return { kind: 'exact', height: size.side('height') ?? 1, width: size.side('width') ?? 1 }
  fields.problem('size', 'a whole number, { shortest_edge } or { height, width }')
  return null
}

function cropSize(fields: ConfigFields, defaults: ProcessorClass): { height: number; width: number } | null {
  if (!fields.has('crop_size') && defaults.cropSize !== undefined) return { height: defaults.cropSize, width: defaults.cropSize }
  if (typeof fields.values.crop_size === 'number' || Array.isArray(fields.values.crop_size)) return fields.sides('crop_size') ?? null
  const size = fields.object('crop_size')
  const height = size.side('height')
  const width = size.side('width')
  if (height !== undefined && width !== undefined) return { height, width }
  fields.problem('crop_size', 'a whole number or { height, width }')
  return null
}

function zeros(length: number): readonly number[] {
  return new Array<number>(length).fill(0)
}
