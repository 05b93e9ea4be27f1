/**
 * The logit lens over the picture that it was asked about: one target in colours, or the best label of each patch as an emoji.
 */

import { type Static, Type } from 'typebox'
import { EngineError } from '../engine/errors.js'
import { checkPatchValues, rangeOf } from '../engine/image/patch-values.js'
import { Problems, RequestError } from './errors.js'
import { findModel } from './find-model.js'
import { checkRange } from './heatmap.js'
import { emojiMap, heatmapOfLens, lensNumbers, lensPanels, meaningsOf } from './lens/draw-lens.js'
import { type LensPlan, planLens, runLens } from './lens/run-lens.js'
import { fixedLimits } from './limits.js'
import { pictureFile } from './load-inputs.js'
import { defineOperation } from './operation.js'
import { DatasetId } from './schemas/dataset.js'
import { Edits } from './schemas/edit.js'
import { chosenRange, heatmapFields, styleOf } from './schemas/heatmap.js'
import { ImageInput } from './schemas/image.js'
import { labelFields } from './schemas/lens.js'
import { ModelId } from './schemas/model.js'

const DEFAULT_SIZE = { heatmap: 224, emoji: 384 } as const

const EmojiPair = Type.Object(
  {
    label: Type.String({ minLength: 1, maxLength: 500 }),
    emoji: Type.String({ minLength: 1, maxLength: 64, description: 'The character: `🍎`.' }),
  },
  { title: 'LabelEmoji', additionalProperties: false },
)

const { size: _, ...styleFields } = heatmapFields

const LensPictureInputShape = Type.Object(
  {
    model: ModelId,
    image: ImageInput,
    kind: Type.Optional(
      Type.Enum(['heatmap', 'emoji'], {
        title: 'LensPictureKind',
        description: '`heatmap` (unless given): a number of the target in each patch, as colours. `emoji`: in each patch its best label.',
      }),
    ),
    ...labelFields,
    show: Type.Optional(
      Type.Enum([...lensNumbers], { title: 'LensNumber', description: 'What a heatmap shows; `probability` unless given.' }),
    ),
    emoji: Type.Optional(
      Type.Array(EmojiPair, {
        maxItems: fixedLimits.labels,
        description:
          'What stands for a label. Without it: the first picture of a facet’s value, or the emoji that is called as the label is; else the label is written.',
      }),
    ),
    emojiDataset: Type.Optional(
      Type.Unsafe<string>({
        ...DatasetId,
        description: 'Whose pictures are drawn, found by `code` and `name`; `emoji-twemoji` unless given.',
      }),
    ),
    dim: Type.Optional(
      Type.Number({ minimum: 0, maximum: 1, description: 'How much of the picture under emoji turns white; 0.6 unless given.' }),
    ),
    columns: Type.Optional(Type.Integer({ minimum: 1, maximum: 64, description: 'Layers side by side; unless given, four at most.' })),
    size: Type.Optional(
      Type.Integer({
        minimum: 16,
        maximum: 1024,
        description: `Pixels of the longer side of each layer's picture; ${DEFAULT_SIZE.heatmap} unless given, for emoji ${DEFAULT_SIZE.emoji}.`,
      }),
    ),
    edits: Type.Optional(Edits),
    ...styleFields,
  },
  { title: 'LogitLensPictureInput', additionalProperties: false },
)

type LensPictureInput = Static<typeof LensPictureInputShape>

const MarkShape = Type.Object(
  {
    label: Type.String(),
    image: Type.Union([Type.String({ 'x-scalar': 'ID' }), Type.Null()], {
      description: 'The picture that stands for it; null: it is written.',
    }),
  },
  { title: 'LensMark', additionalProperties: false },
)

export const logitLensPicture = defineOperation({
  name: 'logitLensPicture',
  kind: 'query',
  scope: 'run',
  summary: 'The logit lens over the picture: a target in each patch as colours, or the best label of each patch as an emoji',
  input: LensPictureInputShape,
  output: Type.Object(
    {
      model: ModelId,
      hookPoints: Type.Array(Type.String()),
      target: Type.String({ description: 'Of a heatmap.' }),
      low: Type.Union([Type.Number(), Type.Null()], { description: 'What the lower end of the colours stands for; null of emoji.' }),
      high: Type.Union([Type.Number(), Type.Null()]),
      marks: Type.Union([Type.Array(MarkShape), Type.Null()], { description: 'What stands for the labels that are the best of a patch.' }),
      png: Type.String({ description: 'The picture, as base64.', contentMediaType: 'image/png', contentEncoding: 'base64' }),
    },
    { title: 'LogitLensPicture', additionalProperties: false },
  ),
  example: {
    model: 'emoji-clip',
    image: `sha256:${'0'.repeat(64)}`,
    kind: 'emoji',
    facet: { dataset: 'emoji-twemoji', facet: 'subcategory' },
    hookPoints: ['blocks.1.hook_resid_post', 'blocks.5.hook_resid_post'],
  },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const problems = new Problems()
    const plan = await planLens(context, input, { model, nInputs: 1, call }, problems)
    checkPicture(input, plan, problems)
    const file = problems.collect('image', () => pictureFile(context, input.image, 'image'))
    problems.throwIfAny()

    const started = performance.now()
    const picture = await context.host.preprocess(file!, model.description.preprocessing, call.signal)
    call.timing('decode', performance.now() - started)
    const output = await runLens(context, plan, { pictures: [picture], topK: 1 }, call)
    const kind = input.kind ?? 'heatmap'
    const columns = input.columns ?? evenColumns(plan.hookPoints.length)
    const shown = { plan, output, file: file!, size: input.size ?? DEFAULT_SIZE[kind], columns }
    const about = { model: model.id, hookPoints: [...plan.hookPoints], target: plan.labels.names[output.target.data[0]!]! }
    if (kind === 'emoji') {
      requireFinite(output.tokens.topProbabilities.data)
      const meanings = await meaningsOf(context, shown, input)
      const png = await context.host.draw(await emojiMap(context, shown, { meanings, fields: input }), call.signal)
      return { ...about, low: null, high: null, marks: [...meanings.values()], png: Buffer.from(png).toString('base64') }
    }
    const panels = lensPanels(shown, input.show ?? 'probability')
    for (const patches of panels) checkPatchValues(patches, 'show')
    const values = Float32Array.from(panels.flatMap((each) => Array.from(each.values)))
    const range = rangeOf({ rows: 1, columns: values.length, values }, styleOf(input).colormap, chosenRange(input))
    const png = await context.host.draw(await heatmapOfLens(shown, panels, { ...input, ...range }), call.signal)
    return { ...about, ...range, marks: null, png: Buffer.from(png).toString('base64') }
  },
})

/** @throws INPUT_INVALID */
function requireFinite(probabilities: Float32Array): void {
  if (probabilities.every(Number.isFinite)) return
  throw new EngineError('INPUT_INVALID', { path: 'edits', problem: 'make numbers that are not finite, of which no label is the best' })
}

/** At most four, and rows as equal as can be. */
const evenColumns = (count: number) => Math.ceil(count / Math.ceil(count / 4))

function checkPicture(input: LensPictureInput, plan: LensPlan, problems: Problems): void {
  const refuse = (path: string, problem: string) => problems.add(path, new EngineError('INPUT_INVALID', { path, problem }))
  const isEmoji = input.kind === 'emoji'
  checkRange(input, refuse)
  const misplaced = isEmoji
    ? (['show', 'mode', 'colormap', 'alpha', 'levels', 'low', 'high'] as const)
    : (['emoji', 'emojiDataset', 'dim'] as const)
  for (const field of misplaced) {
    if (input[field] !== undefined) refuse(field, `goes with ${isEmoji ? 'a heatmap' : '"kind": "emoji"'}`)
  }
  const { names } = plan.labels
  for (const [index, { label }] of (input.emoji ?? []).entries()) {
    if (names.length > 0 && !names.includes(label)) refuse(`emoji[${index}].label`, `${JSON.stringify(label)} is none of the labels`)
  }
  const size = input.size ?? DEFAULT_SIZE[input.kind ?? 'heatmap']
  const given = plan.hookPoints.length * size * size
  const maximum = fixedLimits.sheetPixels
  if (given <= maximum) return
  const about = {
    limit: 'sheetPixels',
    given,
    maximum,
    what: 'pixels of all layers',
    instead: 'Choose a smaller "size" or fewer "hookPoints".',
  } as const
  problems.add('size', new RequestError('LIMIT_EXCEEDED', about))
}
