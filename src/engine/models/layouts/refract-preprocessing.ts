/**
 * The `preprocessing` section of our own layout: the engine's description of it, field by field.
 */

import type { Preprocessing, ResampleFilter, Resize } from '../../image/preprocessing.js'
import type { ConfigFields, JsonObject } from '../config-fields.js'

const filters = ['nearest', 'bilinear', 'bicubic', 'lanczos', 'box', 'hamming'] as const satisfies readonly ResampleFilter[]
const fieldNames = ['resize', 'resample', 'crop', 'cropRounding', 'rescale', 'mean', 'std', 'conversion']
/** As image processors allow. */
const MAX_SIDE = 8192

export function preprocessingFields({ source: _source, mode: _mode, ...fields }: Preprocessing): JsonObject {
  return fields
}

/** @param nChannels  decides between colours and grey, as everywhere */
export function readPreprocessingSection(
  fields: ConfigFields,
  { file, nChannels }: { readonly file: string; readonly nChannels: number },
): Preprocessing {
  fields.requireKnown(new Set(fieldNames))
  const std = fields.numbers('std', nChannels)
  if (std.some((each) => each <= 0)) fields.invalid('std', 'must be above 0')
  return {
    resize: fields.has('resize') ? resize(fields.section('resize'), nChannels) : null,
    resample: fields.choice('resample', filters),
    crop: fields.has('crop') ? sides(fields.section('crop'), ['height', 'width']) : null,
    cropRounding: fields.choice('cropRounding', ['floor', 'halfToEven'], 'floor'),
    rescale: fields.positive('rescale'),
    mean: fields.numbers('mean', nChannels),
    std,
    mode: nChannels === 1 ? 'L' : 'RGB',
    ...(fields.has('conversion') && { conversion: fields.choice('conversion', ['afterResize']) }),
    source: file,
  }
}

function resize(fields: ConfigFields, nChannels: number): Resize {
  const kind = fields.choice('kind', ['shortestEdge', 'exact', 'cover', 'longestEdge'])
  switch (kind) {
    case 'shortestEdge':
      fields.requireKnown(new Set(['kind', 'size']))
      return { kind, size: fields.count('size', undefined, { max: MAX_SIDE }) }
    case 'exact':
    case 'cover':
      return { kind, ...sides(fields, ['kind', 'height', 'width']) }
    case 'longestEdge':
      return { kind, ...sides(fields, ['kind', 'height', 'width', 'fill']), fill: fill(fields, nChannels) }
    default:
      return kind satisfies never
  }
}

function sides(fields: ConfigFields, known: readonly string[]): { height: number; width: number } {
  fields.requireKnown(new Set(known))
  return {
    height: fields.count('height', undefined, { max: MAX_SIDE }),
    width: fields.count('width', undefined, { max: MAX_SIDE }),
  }
}

/** One byte, or one a channel. */
function fill(fields: ConfigFields, nChannels: number): number | readonly number[] {
  return Array.isArray(fields.raw('fill')) ? fields.numbers('fill', nChannels) : fields.number('fill')
}
