/**
 * Attention over the picture that it was paid to: one head's, many heads' on a sheet, rollout, and where an SAE feature came from.
 */

import { type Static, Type } from 'typebox'
import type { ModelRecord } from '../catalog/catalog.js'
import { EngineError } from '../engine/errors.js'
import { nPositions, nPrefixTokens, patchGrid } from '../engine/hook-points.js'
import type { Panel } from '../engine/image/draw-panels.js'
import type { VisionConfig } from '../engine/models/model.js'
import { type ContributionsOf, checkContributions, contributionsTo } from './attention/contributions.js'
import { contributionPanels, headPanels, type PanelsOf, rolloutPanel } from './attention/draw-attention.js'
import { type ChosenHeads, checkIndex, checkWeights, chooseHeads } from './attention/plan-heads.js'
import { stackPictures } from './drawn/stack-pictures.js'
import { resolveEdits } from './edits/resolve-edits.js'
import { Problems, RequestError } from './errors.js'
import { findDownloadedSae } from './feature-facts/find-feature.js'
import { findModel } from './find-model.js'
import { checkRange, viewOf } from './heatmap.js'
import { fixedLimits } from './limits.js'
import { pictureFile } from './load-inputs.js'
import { type Context, defineOperation } from './operation.js'
import { FeatureOfSaeShape, rolloutFields } from './schemas/attention.js'
import { Edits } from './schemas/edit.js'
import { chosenRange, heatmapFields, styleOf } from './schemas/heatmap.js'
import { ImageInput } from './schemas/image.js'
import { ModelId } from './schemas/model.js'

const Index = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })
const indices = Type.Array(Index, { minItems: 1, maxItems: 1000, uniqueItems: true })
const PatchShape = Type.Object({ row: Index, col: Index }, { title: 'PatchPlace', additionalProperties: false })
const { size: _, ...styleFields } = heatmapFields

const AttentionPictureInputShape = Type.Object(
  {
    model: ModelId,
    image: ImageInput,
    kind: Type.Optional(
      Type.Enum(['heads', 'rollout', 'contributions'], {
        title: 'AttentionPictureKind',
        description:
          '`heads` (unless given): what a query attends to, of each chosen layer and head. `rollout`: the same through all layers. `contributions`: where heads took an SAE feature from.',
      }),
    ),
    layers: Type.Optional(Type.Unsafe<number[]>({ ...indices, description: 'Of `heads`; all unless given.' })),
    heads: Type.Optional(Type.Unsafe<number[]>({ ...indices, description: 'Of `heads`; all unless given.' })),
    query: Type.Optional(
      Type.Unsafe<number>({
        ...Index,
        description: 'The position whose row is shown: 0 is CLS. Unless given, CLS; in a model without one, the mean of all patches.',
      }),
    ),
    queryPatch: Type.Optional(
      Type.Unsafe<Static<typeof PatchShape>>({ ...PatchShape, description: 'The same as a patch; in place of `query`.' }),
    ),
    rollout: Type.Optional(Type.Object(rolloutFields, { title: 'Rollout', additionalProperties: false })),
    contributions: Type.Optional(FeatureOfSaeShape),
    topK: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 64, description: 'Heads beside the sum of all contributions; 7 unless given.' }),
    ),
    ownRanges: Type.Optional(
      Type.Boolean({
        description:
          'Whether the colours of each head run from its own lowest to its own highest number. Unless given: where there are several heads.',
      }),
    ),
    columns: Type.Optional(Type.Integer({ minimum: 1, maximum: 64, description: 'Heatmaps in a row; the heads of a layer unless given.' })),
    size: Type.Optional(
      Type.Integer({
        minimum: 16,
        maximum: 1024,
        description: 'Pixels of the longer side of each heatmap; 448 for one, 112 for several, unless given.',
      }),
    ),
    edits: Type.Optional(Edits),
    ...styleFields,
  },
  { title: 'AttentionPictureInput', additionalProperties: false },
)

type AttentionPictureInput = Static<typeof AttentionPictureInputShape>

export const attentionPicture = defineOperation({
  name: 'attentionPicture',
  kind: 'query',
  scope: 'run',
  summary: 'Attention over the picture: heads, rollout, or where heads took an SAE feature from',
  input: AttentionPictureInputShape,
  output: Type.Object(
    {
      model: ModelId,
      captions: Type.Array(Type.String(), { description: 'Of the heatmaps, from left to right, row by row.' }),
      png: Type.String({ description: 'The picture, as base64.', contentMediaType: 'image/png', contentEncoding: 'base64' }),
    },
    { title: 'AttentionPicture', additionalProperties: false },
  ),
  example: { model: 'emoji-clip', image: `sha256:${'0'.repeat(64)}`, layers: [3], heads: [1], queryPatch: { row: 3, col: 4 } },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const sae = input.contributions && (await findDownloadedSae(context.catalog, input.contributions.sae))
    const problems = new Problems()
    const plan = planPicture({ input, model, contributions: sae && { ...input.contributions!, model, sae } }, problems)
    const scope = { model: model.id, tower: model.description.vision, nInputs: 1, context, call }
    const edited = await resolveEdits(input.edits ?? [], scope, problems)
    const file = problems.collect('image', () => pictureFile(context, input.image, 'image'))
    problems.throwIfAny()

    const started = performance.now()
    const picture = await context.host.preprocess(file!, model.description.preprocessing, call.signal)
    call.timing('decode', performance.now() - started)
    const panels = await panelsOf(context, {
      input,
      plan,
      of: { model, pixels: stackPictures([picture]), chosen: plan.chosen, query: plan.query, edited, call },
    })
    const drawing = {
      kind: 'panels',
      file: await file!.read(),
      view: viewOf(model),
      panels,
      style: styleOf({ ...(plan.kind === 'contributions' && signedStyle), ...input }),
      range: chosenRange(input),
      ownRanges: input.ownRanges ?? (plan.kind === 'heads' && panels.length > 1),
      size: plan.size,
      columns: input.columns ?? plan.columns,
      showCls: input.showCls ?? true,
    } as const
    const png = await context.host.draw(drawing, call.signal)
    return { model: model.id, captions: panels.map(({ caption }) => caption), png: Buffer.from(png).toString('base64') }
  },
})

interface Plan {
  readonly kind: 'heads' | 'rollout' | 'contributions'
  readonly chosen: ChosenHeads
  readonly query: number | undefined
  readonly contributions: ContributionsOf | undefined
  readonly size: number
  readonly columns: number
}

interface Asked {
  readonly input: AttentionPictureInput
  readonly model: ModelRecord
  readonly contributions: ContributionsOf | undefined
}

const DEFAULT_TOP_K = 7

/** Signed numbers, most of them near 0, need more colour to be seen. */
const signedStyle = { colormap: 'coolwarm', alpha: 0.75 } as const

/** Everything that can be refused before anything runs goes to `problems`. */
function planPicture({ input, model, contributions }: Asked, problems: Problems): Plan {
  const refuse = (path: string, problem: string) => problems.add(path, new EngineError('INPUT_INVALID', { path, problem }))
  const kind = input.kind ?? 'heads'
  const chosen = chooseHeads(input, model, problems)
  const { config } = chosen
  checkRange(input, refuse)
  const belongs = {
    heads: ['layers', 'heads', 'query', 'queryPatch', 'edits'],
    rollout: ['rollout', 'query', 'queryPatch', 'edits'],
    contributions: ['contributions', 'topK'],
  } as const
  for (const field of new Set(Object.values(belongs).flat())) {
    const isHere = (belongs[kind] as readonly string[]).includes(field)
    if (input[field] !== undefined && !isHere) refuse(field, `does not go with "kind": "${kind}"`)
  }
  if (kind === 'contributions' && !contributions) refuse('contributions', 'is missing: say which feature of which SAE')
  if (contributions) checkContributions(contributions, problems)
  checkIndex('rollout.throughLayer', input.rollout?.throughLayer, { length: config.nLayers, model, problems })
  const query = queryOf(input, { config, model, problems })
  const nPanels = kind === 'heads' ? chosen.layers.length * chosen.heads.length : kind === 'rollout' ? 1 : 1 + (input.topK ?? DEFAULT_TOP_K)
  if (kind === 'heads')
    checkWeights(chosen.layers.length * config.nHeads * chosen.nWeights, { problems, instead: 'Choose fewer "layers".' })
  const size = input.size ?? (nPanels === 1 ? 448 : 112)
  const [given, maximum] = [nPanels * size * size, fixedLimits.sheetPixels]
  if (given > maximum) {
    const about = {
      limit: 'sheetPixels',
      given,
      maximum,
      what: 'pixels of all heatmaps',
      instead: 'Choose a smaller "size" or fewer heads.',
    } as const
    problems.add('size', new RequestError('LIMIT_EXCEEDED', about))
  }
  return { kind, chosen, query, contributions, size, columns: kind === 'heads' ? chosen.heads.length : 4 }
}

/** The position; undefined for the mean of patches. */
function queryOf(
  { query, queryPatch }: AttentionPictureInput,
  { config, model, problems }: { config: VisionConfig; model: ModelRecord; problems: Problems },
): number | undefined {
  const refuse = (path: string, problem: string) => problems.add(path, new EngineError('INPUT_INVALID', { path, problem }))
  if (query !== undefined && queryPatch) refuse('queryPatch', 'is there, and "query" too; send one of them')
  checkIndex('query', query, { length: nPositions(config), model, problems })
  if (!queryPatch) return query ?? (config.hasCls ? 0 : undefined)
  const { rows, columns } = patchGrid(config)
  if (queryPatch.row >= rows || queryPatch.col >= columns)
    refuse('queryPatch', `is out of range; ${model.id} has ${rows} x ${columns} patches`)
  return nPrefixTokens(config) + queryPatch.row * columns + queryPatch.col
}

async function panelsOf(
  context: Context,
  { input, plan, of }: { input: AttentionPictureInput; plan: Plan; of: PanelsOf },
): Promise<Panel[]> {
  const { config } = plan.chosen
  switch (plan.kind) {
    case 'heads':
      return headPanels(context, of)
    case 'rollout': {
      const { heads = 'mean', discardRatio = 0, throughLayer = config.nLayers - 1 } = input.rollout ?? {}
      return rolloutPanel(context, of, { heads, discardRatio, throughLayer })
    }
    case 'contributions': {
      const found = await contributionsTo(context, plan.contributions!, of)
      return contributionPanels(found, config, input.topK ?? DEFAULT_TOP_K)
    }
    default:
      return plan.kind satisfies never
  }
}
