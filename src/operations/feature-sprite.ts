/**
 * The pictures in which a feature was seen, on one sheet, each with its score under it.
 */

import { Type } from 'typebox'
import type { SheetTile } from '../engine/image/draw.js'
import { wholePicture } from '../engine/image/model-view.js'
import { DRAWING_VERSION, type DrawnFile, DrawnFileShape, versionField } from './drawn/drawn-file.js'
import { digestOf } from './drawn/drawn-pictures.js'
import { featureActivations } from './feature-activations.js'
import { exampleFields, exampleFiles, examplesOf } from './feature-facts/feature-examples.js'
import { DatasetField, featureFields, findFeature, findRunnableSae } from './feature-facts/find-feature.js'
import { ofFeature, requireRange } from './feature-heatmap.js'
import { viewOf } from './heatmap.js'
import { defineOperation } from './operation.js'
import { chosenRange, heatmapFields, styleOf } from './schemas/heatmap.js'

const [MAX_TILES, MAX_TILE, DEFAULT_TILES, DEFAULT_TILE] = [64, 256, 16, 112]
const { showCls: _, size: __, ...styleFields } = heatmapFields

export const featureSprite = defineOperation({
  name: 'featureSprite',
  kind: 'query',
  scope: 'read',
  summary: 'The pictures in which a feature was seen, on one sheet, with scores and heatmaps',
  input: Type.Object(
    {
      ...featureFields,
      ...exampleFields,
      dataset: DatasetField,
      count: Type.Optional(
        Type.Integer({ minimum: 1, maximum: MAX_TILES, description: `How many pictures at most; ${DEFAULT_TILES} unless given.` }),
      ),
      columns: Type.Optional(
        Type.Integer({ minimum: 1, maximum: MAX_TILES, description: 'Pictures in a row; unless given, as many as make the sheet square.' }),
      ),
      plain: Type.Optional(
        Type.Boolean({ description: 'Whether the pictures are shown alone, which needs neither model nor SAE; false unless given.' }),
      ),
      size: Type.Optional(
        Type.Integer({
          minimum: 16,
          maximum: MAX_TILE,
          description: `Pixels of each picture's longer side; ${DEFAULT_TILE} unless given.`,
        }),
      ),
      ...styleFields,
      ...versionField,
    },
    { title: 'FeatureSpriteInput', additionalProperties: false },
  ),
  output: DrawnFileShape,

  async run(context, input, call): Promise<DrawnFile> {
    requireRange(input)
    const { catalog, host, drawnPictures } = context
    const { set, feature } = await findFeature(catalog, input)
    const examples = examplesOf(feature, input).slice(0, input.count ?? DEFAULT_TILES)
    const runnable = input.plain ? undefined : await findRunnableSae(catalog, input.sae)
    const files = await exampleFiles(context, set, examples)
    const style = styleOf(input)
    const range = { ...ofFeature(feature, style.mode), ...chosenRange(input) }
    const columns = input.columns ?? Math.max(1, Math.ceil(Math.sqrt(examples.length)))
    const shown = { style, range, size: input.size ?? DEFAULT_TILE, columns }
    const weights = runnable && [runnable.model.weightsSha256, runnable.model.processing, runnable.sae.download.weightsSha256]
    const tiles = examples.map(({ score }, at) => [files[at]!.id, score])
    const about = ['sheet', DRAWING_VERSION, weights ?? null, input.index, tiles, shown]
    const draw = async () => {
      const run = runnable && files.length > 0 && { ...runnable, index: input.index, pictures: files }
      const patches = run ? await featureActivations(context, run, call) : []
      const drawn: SheetTile[] = []
      for (const [at, { score }] of examples.entries()) {
        drawn.push({ file: await files[at]!.read(), score, ...(patches[at] && { patches: patches[at] }) })
      }
      return host.draw({ kind: 'sheet', tiles: drawn, view: runnable ? viewOf(runnable.model) : wholePicture, ...shown }, call.signal)
    }
    return { tag: digestOf(about), draw: () => drawnPictures.get(about, draw) }
  },
})
