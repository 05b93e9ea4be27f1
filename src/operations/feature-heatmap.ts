/**
 * A feature's activations over one of the pictures in which it was seen.
 */

import { Type } from 'typebox'
import type { StoredFeature } from '../catalog/feature-sets.js'
import { EngineError } from '../engine/errors.js'
import type { ValueRange } from '../engine/image/patch-values.js'
import { DRAWING_VERSION, type DrawnFile, DrawnFileShape, versionField } from './drawn/drawn-file.js'
import { digestOf } from './drawn/drawn-pictures.js'
import { Problems } from './errors.js'
import { featureActivations } from './feature-activations.js'
import { exampleAt, exampleFields, exampleFiles, examplesOf } from './feature-facts/feature-examples.js'
import { DatasetField, featureFields, findFeature, findRunnableSae } from './feature-facts/find-feature.js'
import { checkRange, viewOf } from './heatmap.js'
import { defineOperation } from './operation.js'
import { chosenRange, DEFAULT_PICTURE_SIZE, type HeatmapFields, heatmapFields, styleOf } from './schemas/heatmap.js'

const FeatureHeatmapInput = Type.Object(
  {
    ...featureFields,
    n: Type.Integer({ minimum: 0, maximum: 2 ** 16, description: 'Which of the examples, from 0.' }),
    ...exampleFields,
    dataset: DatasetField,
    ...heatmapFields,
    ...versionField,
  },
  { title: 'FeatureHeatmapInput', additionalProperties: false },
)

export const featureHeatmap = defineOperation({
  name: 'featureHeatmap',
  kind: 'query',
  scope: 'read',
  summary: "A feature's activations over one of the pictures in which it was seen",
  input: FeatureHeatmapInput,
  output: DrawnFileShape,

  async run(context, input, call): Promise<DrawnFile> {
    requireRange(input)
    const { catalog, host, drawnPictures } = context
    const { set, feature } = await findFeature(catalog, input)
    const example = exampleAt(examplesOf(feature, input), input.n, `feature ${input.index} of ${input.sae}`)
    const { sae, model } = await findRunnableSae(catalog, input.sae)
    const [file] = await exampleFiles(context, set, [example])
    const style = styleOf(input)
    const range = { ...ofFeature(feature, style.mode), ...chosenRange(input) }
    const shown = { style, range, size: input.size ?? DEFAULT_PICTURE_SIZE, showCls: input.showCls ?? true }
    const about = [
      'heatmap',
      DRAWING_VERSION,
      model.weightsSha256,
      model.processing,
      sae.download.weightsSha256,
      input.index,
      file!.id,
      shown,
    ]
    const draw = async () => {
      const [patches] = await featureActivations(context, { sae, model, index: input.index, pictures: [file!] }, call)
      return host.draw({ kind: 'heatmap', file: await file!.read(), view: viewOf(model), patches: patches!, ...shown }, call.signal)
    }
    return { tag: digestOf(about), draw: () => drawnPictures.get(about, draw) }
  },
})

/** Of colours: from 0 to the largest activation in any picture, so that pictures can be compared. Contours and crops are of each picture. */
export function ofFeature({ examples }: StoredFeature, mode: string): Partial<ValueRange> {
  const most = examples.reduce((largest, { kind, score }) => (kind === 'top' ? Math.max(largest, score) : largest), 0)
  return most > 0 && (mode === 'overlay' || mode === 'raw') ? { low: 0, high: most } : {}
}

/** @throws INPUT_INVALID */
export function requireRange(input: HeatmapFields): void {
  const problems = new Problems()
  checkRange(input, (path, problem) => problems.add(path, new EngineError('INPUT_INVALID', { path, problem })))
  problems.throwIfAny()
}
