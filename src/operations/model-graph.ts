/**
 * A model's graph to run elsewhere: hooked, edited, with SAEs, as an ONNX file; and as text that people read.
 */

import { type Static, Type } from 'typebox'
import type { ModelRecord } from '../catalog/catalog.js'
import { modelSource } from '../catalog/catalog.js'
import { EngineError } from '../engine/errors.js'
import { matchHookPoints } from '../engine/hook-points.js'
import type { PositionSelector } from '../engine/interventions/edit.js'
import type { HookPointInfo, TowerName } from '../engine/models/model.js'
import { version } from './capabilities.js'
import { DownloadShape } from './download.js'
import { type ResolvedEdits, resolveEdits } from './edits/resolve-edits.js'
import { Problems, RequestError } from './errors.js'
import { findDownloadedSae } from './feature-facts/find-feature.js'
import { findModel } from './find-model.js'
import { fixedLimits } from './limits.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { DEFAULT_TOP_K, type PlannedSaeRead, planSaeRead, saeReadOf } from './plan-sae-read.js'
import { type EditInput, Edits } from './schemas/edit.js'
import { ModelId, TowerShape } from './schemas/model.js'
import { SaeId } from './schemas/sae.js'
import { LatentIndex, Positions } from './schemas/tensor.js'

const Count = (description: string) => Type.Integer({ minimum: 0, maximum: 2 ** 24, description })

const GraphSaeShape = Type.Object(
  {
    sae: SaeId,
    positions: Type.Optional(Positions),
    topK: Type.Optional(Count(`How many features to give for each position; ${DEFAULT_TOP_K} unless given.`)),
    imageTopK: Type.Optional(Count('How many features to give for each image; none unless given.')),
    features: Type.Optional(
      Type.Array(LatentIndex, {
        minItems: 1,
        maxItems: 10_000,
        uniqueItems: true,
        description: 'Features whose activations to give at every position, whether they are among the most active or not.',
      }),
    ),
  },
  {
    title: 'GraphSae',
    additionalProperties: false,
    description: 'An SAE that reads the model, and what of its codes is among the outputs.',
  },
)

const ModelGraphInputShape = Type.Object(
  {
    model: ModelId,
    tower: Type.Optional(Type.Unsafe<TowerName>({ ...TowerShape, description: '`vision` unless given.' })),
    read: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 200 }), {
        maxItems: fixedLimits.readPatterns,
        'x-limit': 'readPatterns',
        description: 'Hook points that are among the outputs; patterns as in forward.',
      }),
    ),
    output: Type.Optional(Type.Boolean({ description: "Whether the tower's output is among the outputs; true unless given." })),
    edits: Type.Optional(Edits),
    saes: Type.Optional(Type.Array(GraphSaeShape, { maxItems: fixedLimits.saes, 'x-limit': 'saes' })),
    weights: Type.Optional(
      Type.Boolean({ description: 'Whether the file has the weights in it; true unless given. Without, they are inputs, by their names.' }),
    ),
    operands: Type.Optional(
      Type.Enum(['values', 'inputs'], {
        title: 'GraphOperands',
        description:
          '`values`: the numbers of the edits are in the file; `inputs`: it takes them as inputs (`edits[0].delta`), and its metadata says what they would have been. `values` unless given.',
      }),
    ),
  },
  { title: 'ModelGraphInput', additionalProperties: false },
)

type ModelGraphInput = Static<typeof ModelGraphInputShape>
type GraphSae = Static<typeof GraphSaeShape>

export const modelGraph = defineOperation({
  name: 'modelGraph',
  kind: 'query',
  scope: 'run',
  summary: 'The hooked and edited graph of a model as an ONNX file, to run elsewhere',
  input: ModelGraphInputShape,
  output: DownloadShape,
  example: {
    model: 'emoji-clip',
    read: ['blocks.*.hook_resid_post'],
    edits: [{ hookPoint: 'blocks.0.attn.hook_z', op: 'zero', heads: [0] }],
  },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const plan = await planGraph(context, { model, input, call })
    const { byteLength, chunks } = await context.host.exportGraph(
      {
        model: modelSource(model),
        tower: plan.tower,
        output: input.output ?? true,
        read: plan.read.map(({ name }) => name),
        ...plan.resolved,
        saes: plan.saes.map(({ features, ...read }) => ({ ...saeReadOf(read), ...(features && { latents: features }) })),
        nRows: plan.nRows,
        weights: input.weights ?? true,
        operands: input.operands ?? 'values',
        metadata: metadataOf(model, input, plan),
        producerVersion: version,
      },
      call.signal,
    )
    const isEdited = plan.resolved.edits.length > 0
    return { filename: `${model.id}-${plan.tower}${isEdited ? '-edited' : ''}.onnx`, byteLength, chunks }
  },
})

interface GraphPlan {
  readonly tower: TowerName
  readonly read: readonly HookPointInfo[]
  readonly resolved: ResolvedEdits
  readonly saes: readonly (PlannedSaeRead & { readonly features: readonly number[] | undefined })[]
  readonly nRows: number
}

/** @throws all problems at once */
async function planGraph(
  context: Context,
  { model, input, call }: { readonly model: ModelRecord; readonly input: ModelGraphInput; readonly call: Call },
): Promise<GraphPlan> {
  const tower = input.tower ?? 'vision'
  const described = model.description[tower]
  if (!described) throw invalid('tower', `${model.id} has no ${tower} tower`)
  const problems = new Problems()
  const names = problems.collect('read', () => matchHookPoints(input.read ?? [], described.hookPoints, { model: model.id })) ?? []
  const read = names.map((name) => described.hookPoints.find((hookPoint) => hookPoint.name === name)!)
  const nRows = leastRows(input.edits ?? [])
  const resolved = await resolveEdits(input.edits ?? [], { model: model.id, tower: described, nInputs: nRows, context, call }, problems)
  const asked = input.saes ?? []
  if (asked.length > 0 && tower === 'text') problems.add('saes', invalid('saes', 'read pictures; this is the text tower'))
  const saes = tower === 'text' ? [] : await saesOf(context, { model, asked, problems })
  if (input.output === false && read.length === 0 && asked.length === 0) {
    problems.add('output', invalid('output', 'is false, and nothing else is read: the graph would have no output'))
  }
  problems.throwIfAny()
  return { tower, read, resolved, saes, nRows }
}

async function saesOf(
  { catalog }: Context,
  { model, asked, problems }: { readonly model: ModelRecord; readonly asked: readonly GraphSae[]; readonly problems: Problems },
): Promise<GraphPlan['saes']> {
  const found = await Promise.allSettled(asked.map(({ sae }) => findDownloadedSae(catalog, sae)))
  return found.flatMap((outcome, index) => {
    const path = `saes[${index}]`
    const { sae: id, positions, topK = DEFAULT_TOP_K, imageTopK = 0, features } = asked[index]!
    if (asked.findIndex(({ sae }) => sae === id) < index) problems.add(path, invalid(path, `names ${id} a second time`))
    if (topK === 0 && imageTopK === 0 && !features) problems.add(path, invalid(path, 'asks for nothing: topK and imageTopK are 0'))
    if (outcome.status === 'rejected') {
      problems.collect(`${path}.sae`, () => {
        throw outcome.reason
      })
      return []
    }
    const { dSae } = outcome.value.download.description.config
    const outside = features?.find((feature) => feature >= dSae)
    if (outside !== undefined)
      problems.add(`${path}.features`, new RequestError('FEATURE_UNKNOWN', { sae: id, index: outside, width: dSae }))
    const about = { model, problems, topK, imageTopK, ...(positions !== undefined && { positions: positions as PositionSelector }) }
    const read = planSaeRead(outcome.value, { ...about, path, positionsPath: `${path}.positions` })
    return read ? [{ ...read, features }] : []
  })
}

/** An edit may take the value of another input of the batch, which is there then. */
function leastRows(edits: readonly EditInput[]): number {
  const inputs = edits.flatMap((edit) => (edit.op === 'patch' && edit.from.cache === undefined ? [edit.from.input ?? 0] : []))
  return Math.max(0, ...inputs) + 1
}

/** What the file says of itself; lists and objects as JSON. */
function metadataOf(model: ModelRecord, input: ModelGraphInput, { tower, read, resolved, saes }: GraphPlan): Record<string, string> {
  const { preprocessing, processing, logitScale, logitBias, classLabels } = model.description
  const facts = {
    model: model.id,
    tower,
    weightsSha256: model.weightsSha256,
    version,
    hookPoints: Object.fromEntries(read.map(({ name, axes, shape }) => [name, { axes, shape }])),
    edits: input.edits ?? [],
    saes: saes.map(({ sae, hookPoint, positions, features }) => {
      const { weightsSha256 } = sae.download
      return { sae: sae.id, weightsSha256, hookPoint: hookPoint.name, positions, ...(features && { features }) }
    }),
    // the keys say the weights' sha256, too
    ...(resolved.editSaes.length > 0 && { editSaes: resolved.editSaes.map(({ key }) => key) }),
    processing,
    ...(tower === 'vision' && { preprocessing }),
    ...(logitScale !== undefined && { logitScale }),
    ...(logitBias !== undefined && { logitBias }),
    ...(classLabels && tower === 'vision' && { classLabels }),
  }
  const written = Object.entries(facts).map(([name, value]) => [
    `refract.${name}`,
    typeof value === 'string' ? value : JSON.stringify(value),
  ])
  return Object.fromEntries(written)
}

const invalid = (path: string, problem: string) => new EngineError('INPUT_INVALID', { path, problem }, [{ path, message: problem }])
