/**
 * Numbers of patches as a picture, over the picture that they are about: an activation of a model, or numbers of the caller's own.
 */

import { type Static, Type } from 'typebox'
import { type ModelRecord, modelSource } from '../catalog/catalog.js'
import { EngineError } from '../engine/errors.js'
import { patchGrid } from '../engine/hook-points.js'
import type { PictureFile } from '../engine/host/host.js'
import type { HeatmapDrawing } from '../engine/image/draw.js'
import { type ModelView, wholePicture } from '../engine/image/model-view.js'
import { checkPatchValues, type PatchValues, rangeOf } from '../engine/image/patch-values.js'
import type { VisionConfig } from '../engine/models/model.js'
import { float32 } from '../engine/tensor.js'
import { type ResolvedEdits, resolveEdits } from './edits/resolve-edits.js'
import { Problems } from './errors.js'
import { featureActivations } from './feature-activations.js'
import { type DownloadedSae, findDownloadedSae, findModelOfSae } from './feature-facts/find-feature.js'
import { findModel } from './find-model.js'
import { fixedLimits } from './limits.js'
import { pictureFile } from './load-inputs.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { type PatchReading, PatchReadingShape, planPatchReading, readPatches } from './patch-reading.js'
import { Edits } from './schemas/edit.js'
import { chosenRange, DEFAULT_PICTURE_SIZE, type HeatmapFields, heatmapFields, styleOf } from './schemas/heatmap.js'
import { ImageInput } from './schemas/image.js'
import { ModelId } from './schemas/model.js'
import { Encoding, Float, TensorShape } from './schemas/tensor.js'

const maxSide = fixedLimits.heatmapSide

const HeatmapInputShape = Type.Object(
  {
    model: Type.Optional(ModelId),
    image: Type.Optional(ImageInput),
    of: Type.Optional(PatchReadingShape),
    values: Type.Optional(
      Type.Array(Type.Array(Float, { minItems: 1, maxItems: maxSide }), {
        minItems: 1,
        maxItems: maxSide,
        'x-scalar': 'TensorData',
        description: 'In place of `of`: numbers of your own, a row for each row of patches.',
      }),
    ),
    cls: Type.Optional(Type.Unsafe<number>({ ...Float, description: "Beside `values`: CLS's number." })),
    edits: Type.Optional(Edits),
    ...heatmapFields,
    encoding: Type.Optional(Encoding),
  },
  { title: 'HeatmapInput', additionalProperties: false },
)

type HeatmapInput = Static<typeof HeatmapInputShape>

export const HeatmapShape = Type.Object(
  {
    model: Type.Union([ModelId, Type.Null()]),
    hookPoint: Type.Union([Type.String(), Type.Null()]),
    values: Type.Unsafe<Static<typeof TensorShape>>({ ...TensorShape, description: '[rows, columns] of patches.' }),
    cls: Type.Union([Type.Number(), Type.Null()], { description: 'Null where there is no CLS.' }),
    low: Type.Number({ description: 'What the lower end of the colours stands for.' }),
    high: Type.Number({ description: 'What the upper end of the colours stands for.' }),
    png: Type.String({ description: 'The picture, as base64.', contentMediaType: 'image/png', contentEncoding: 'base64' }),
  },
  { title: 'Heatmap', additionalProperties: false },
)

export const heatmap = defineOperation({
  name: 'heatmap',
  kind: 'query',
  scope: 'run',
  summary: 'Numbers of patches as a picture: an activation of a model over the image that it read, or numbers of your own',
  input: HeatmapInputShape,
  output: HeatmapShape,
  example: {
    model: 'emoji-clip',
    image: `sha256:${'0'.repeat(64)}`,
    of: { hookPoint: 'blocks.3.attn.hook_pattern', head: 2 },
    mode: 'overlay',
    size: 448,
  },

  async run(context, input, call) {
    const sae = input.of && 'sae' in input.of ? await findDownloadedSae(context.catalog, input.of.sae) : undefined
    const model = await modelOf(context, input.model, sae)
    const plan = await planHeatmap(context, { input, model, sae, call })
    const patches = await patchesOf(context, plan, call)
    checkPatchValues(patches, input.of ? 'of' : 'values')
    const range = rangeOf(patches, plan.style.colormap, chosenRange(input))
    const started = performance.now()
    const drawing: HeatmapDrawing = {
      kind: 'heatmap',
      // colours alone need no more than the picture's shape, which a model knows
      ...(plan.file && !(model && plan.style.mode === 'raw') && { file: await plan.file.read() }),
      view: model ? viewOf(model) : wholePicture,
      patches,
      style: plan.style,
      range,
      size: input.size ?? DEFAULT_PICTURE_SIZE,
      showCls: input.showCls ?? true,
    }
    const png = await context.host.draw(drawing, call.signal)
    call.timing('encode', performance.now() - started)
    return {
      model: model?.id ?? null,
      hookPoint: plan.reading?.hookPoint ?? sae?.download.description.config.hookPoint ?? null,
      values: float32([patches.rows, patches.columns], patches.values),
      cls: patches.cls ?? null,
      ...range,
      png: Buffer.from(png).toString('base64'),
    }
  },
})

/** The one that is named, or the SAE's own; another one must fit the SAE. */
async function modelOf({ catalog }: Context, id: string | undefined, sae: DownloadedSae | undefined): Promise<ModelRecord | undefined> {
  if (id !== undefined) return findModel(catalog, id)
  return sae && findModelOfSae(catalog, sae)
}

/** How a model sees pictures, and which part of them its patches cover. */
export function viewOf({ description }: Pick<ModelRecord, 'description'>): ModelView {
  const config = description.vision.config as VisionConfig
  const { rows, columns } = patchGrid(config)
  return {
    how: description.preprocessing,
    covered: { width: columns * config.patchSize.width, height: rows * config.patchSize.height },
  }
}

interface Plan {
  readonly style: ReturnType<typeof styleOf>
  readonly model: ModelRecord | undefined
  readonly file: PictureFile | undefined
  readonly reading: PatchReading | undefined
  readonly feature: { readonly sae: DownloadedSae; readonly index: number } | undefined
  readonly values: PatchValues | undefined
  readonly resolved: ResolvedEdits
}

interface Asked {
  readonly input: HeatmapInput
  readonly model: ModelRecord | undefined
  /** Where a feature is asked for. */
  readonly sae: DownloadedSae | undefined
  readonly call: Call
}

/** Everything that can be refused before anything is computed. @throws all problems at once */
async function planHeatmap(context: Context, { input, model, sae, call }: Asked): Promise<Plan> {
  const problems = new Problems()
  const refuse = (path: string, problem: string) => problems.add(path, new EngineError('INPUT_INVALID', { path, problem }))
  const style = styleOf(input)
  checkRange(input, refuse)
  if (input.of === undefined && input.values === undefined) refuse('of', 'is missing: say what to show with "of" or with "values"')
  if (input.of !== undefined && input.values !== undefined) refuse('values', 'are there, and "of" too; send one of them')
  if (input.of !== undefined && model === undefined) refuse('model', 'is missing: "of" is an activation of a model')
  if (input.cls !== undefined && input.values === undefined) refuse('cls', 'goes with "values"')
  if (input.image === undefined && input.of !== undefined) refuse('image', 'is missing: the model needs something to look at')
  else if (input.image === undefined && style.mode !== 'raw')
    refuse('image', `is missing; only "raw" needs none, and this is "${style.mode}"`)

  const tower = model?.description.vision
  const { of } = input
  const reading = of && 'hookPoint' in of && tower ? planPatchReading(of, { tower, model: model.id, path: 'of' }, problems) : undefined
  const feature = of && 'sae' in of && sae ? { sae, index: of.feature } : undefined
  const values = input.values && inlineValues(input.values, { cls: input.cls, model, refuse })
  if (input.edits && !input.of) refuse('edits', 'go with "of"')
  const edits = input.of && tower ? (input.edits ?? []) : []
  const resolved: ResolvedEdits =
    model && tower
      ? await resolveEdits(edits, { model: model.id, tower, nInputs: 1, context, call }, problems)
      : { edits: [], editSaes: [] }
  const file = input.image === undefined ? undefined : problems.collect('image', () => pictureFile(context, input.image!, 'image'))
  problems.throwIfAny()
  return { style, model, file, reading, feature, values, resolved }
}

type Refuse = (path: string, problem: string) => void

export function checkRange({ low, high }: HeatmapFields, refuse: Refuse): void {
  if (low !== undefined && high !== undefined && low >= high) refuse('high', `${high} is not above "low", which is ${low}`)
}

function inlineValues(
  rows: readonly (readonly number[])[],
  { cls, model, refuse }: { cls: number | undefined; model: ModelRecord | undefined; refuse: Refuse },
): PatchValues | undefined {
  const columns = rows[0]!.length
  const odd = rows.findIndex((row) => row.length !== columns)
  if (odd > 0) refuse(`values[${odd}]`, `has ${rows[odd]!.length} numbers, and the first row has ${columns}`)
  if (model) {
    const grid = patchGrid(model.description.vision.config as VisionConfig)
    if (grid.rows !== rows.length || grid.columns !== columns) {
      refuse('values', `are ${rows.length} x ${columns}, and ${model.id} has ${grid.rows} x ${grid.columns} patches`)
    }
  }
  return { rows: rows.length, columns, values: Float32Array.from(rows.flat()), ...(cls !== undefined && { cls }) }
}

async function patchesOf(context: Context, { model, file, reading, feature, values, resolved }: Plan, call: Call): Promise<PatchValues> {
  if (feature) {
    const [patches] = await featureActivations(context, { ...feature, model: model!, pictures: [file!], resolved, path: 'of' }, call)
    return patches!
  }
  if (!reading) return values!
  const { host } = context
  const started = performance.now()
  const picture = await host.preprocess(file!, model!.description.preprocessing, call.signal)
  call.timing('decode', performance.now() - started)
  const inputs = { kind: 'pictures', pictures: [picture] } as const
  const result = await host.run({ model: modelSource(model!), inputs, read: [reading.hookPoint], ...resolved }, call.signal)
  for (const name of ['queue', 'load', 'compile', 'run'] as const) call.timing(name, result.timings[name])
  return readPatches(result.activations[reading.hookPoint]!, reading)
}
