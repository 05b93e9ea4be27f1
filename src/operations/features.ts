/**
 * What SAEs find in inputs: one run of the model, which all SAEs read, up to the last hook point that one of them needs.
 */

import { type Static, Type } from 'typebox'
import type { ModelRecord } from '../catalog/catalog.js'
import { modelSource } from '../catalog/catalog.js'
import { EngineError } from '../engine/errors.js'
import type { PositionSelector } from '../engine/interventions/edit.js'
import { resolveEdits } from './edits/resolve-edits.js'
import { Problems, RequestError } from './errors.js'
import { saeFeaturesOf } from './feature-facts/feature-rows.js'
import { type DownloadedSae, findDownloadedSae, findModelOfSae } from './feature-facts/find-feature.js'
import { findModel } from './find-model.js'
import { InputShape } from './forward.js'
import { fixedLimits, type LimitName } from './limits.js'
import { loadInputs } from './load-inputs.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { DEFAULT_TOP_K, planSaeRead, saeReadOf } from './plan-sae-read.js'
import { Edits } from './schemas/edit.js'
import { SaeFeaturesShape } from './schemas/features.js'
import { ModelId } from './schemas/model.js'
import { Positions } from './schemas/tensor.js'

const SaeId = Type.String({ 'x-scalar': 'ID', minLength: 1, maxLength: 200, description: 'The id of an SAE that is here.' })

const FeaturesInputShape = Type.Object(
  {
    saes: Type.Array(SaeId, {
      minItems: 1,
      maxItems: fixedLimits.saes,
      uniqueItems: true,
      'x-limit': 'saes',
      description: 'Of one model.',
    }),
    inputs: Type.Array(InputShape, { minItems: 1 }),
    model: Type.Optional(
      Type.Unsafe<string>({ ...ModelId, description: 'What is run; the model of the SAEs unless given. Another one must fit them.' }),
    ),
    positions: Type.Optional(
      Type.Unsafe<Static<typeof Positions>>({
        ...Positions,
        description:
          'As in forward: `all`, `cls`, `patches`, or a list of indices. Unless given, for each SAE those that it was trained on.',
      }),
    ),
    topK: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 2 ** 24,
        description: 'How many features to give for each position; 10 unless given. As many as an SAE has: all active ones.',
      }),
    ),
    imageTopK: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 2 ** 24, description: 'How many features to give for each image; `topK` unless given.' }),
    ),
    edits: Type.Optional(Edits),
  },
  { title: 'FeaturesInput', additionalProperties: false },
)

type FeaturesInput = Static<typeof FeaturesInputShape>

export const features = defineOperation({
  name: 'features',
  kind: 'query',
  scope: 'run',
  summary: 'Features that SAEs find in pictures: the most active of each position and of each image',
  input: FeaturesInputShape,
  output: Type.Object(
    { model: ModelId, saes: Type.Array(SaeFeaturesShape, { description: 'In the order of the request.' }) },
    { title: 'Features', additionalProperties: false },
  ),
  example: {
    saes: ['clip-vit-b-32-datacomp-xl.9-resid-post.vanilla-x64-all'],
    inputs: [{ image: `sha256:${'0'.repeat(64)}` }],
    positions: 'patches',
    topK: 8,
  },

  async run(context, input, call) {
    const found = await findAll(context, input)
    const plan = await planRun(context, { input, call, ...found })
    const { model } = found
    const inputs = await loadInputs(context, { inputs: input.inputs, preprocessing: model.description.preprocessing }, call)
    const { codes, timings } = await context.host.codes(
      {
        model: modelSource(model),
        inputs,
        ...plan.resolved,
        saes: plan.reads.map(saeReadOf),
      },
      call.signal,
    )
    for (const name of ['queue', 'load', 'compile', 'run'] as const) call.timing(name, timings[name])
    return {
      model: model.id,
      saes: plan.reads.map(({ sae, hookPoint, positions }, index) => {
        return saeFeaturesOf(codes[index]!, { sae, hookPoint, positions, config: model.description.vision.config })
      }),
    }
  },
})

interface Found {
  readonly model: ModelRecord
  readonly saes: readonly DownloadedSae[]
}

/** @throws SAE_UNKNOWN, SAE_NOT_DOWNLOADED, MODEL_UNKNOWN, MODEL_NOT_DOWNLOADED; INPUT_INVALID for SAEs of several models */
async function findAll({ catalog }: Context, { saes: ids, model: id }: FeaturesInput): Promise<Found> {
  const problems = new Problems()
  const settled = await Promise.allSettled(ids.map((sae) => findDownloadedSae(catalog, sae)))
  const saes = settled.flatMap((outcome, index) => {
    if (outcome.status === 'fulfilled') return [outcome.value]
    problems.collect(`saes[${index}]`, () => {
      throw outcome.reason
    })
    return []
  })
  problems.throwIfAny()
  if (id !== undefined) return { saes, model: await findModel(catalog, id) }
  const [first] = saes as [DownloadedSae]
  const odd = saes.findIndex(({ modelId }) => modelId !== first.modelId)
  if (odd > 0) {
    const problem = `${saes[odd]!.id} is an SAE of ${saes[odd]!.modelId}, and ${first.id} of ${first.modelId}; ask for one model at a time`
    throw new EngineError('INPUT_INVALID', { path: `saes[${odd}]`, problem }, [{ path: `saes[${odd}]`, message: problem }])
  }
  return { saes, model: await findModelOfSae(catalog, first) }
}

interface ToPlan extends Found {
  readonly input: FeaturesInput
  readonly call: Call
}

/** Everything that can be refused before any picture is decoded. @throws all problems at once */
async function planRun(context: Context, { input, call, model, saes }: ToPlan) {
  const nInputs = input.inputs.length
  const instead = 'Send several smaller requests.'
  checkLimit('inputs', { given: nInputs, maximum: context.config.maxInputsPerRequest, what: 'inputs', instead })
  const problems = new Problems()
  const text = input.inputs.findIndex((each) => 'text' in each)
  if (text >= 0) problems.add(`inputs[${text}]`, invalid(`inputs[${text}]`, 'is a text; SAEs here read pictures'))
  const tower = model.description.vision
  const topK = input.topK ?? DEFAULT_TOP_K
  const imageTopK = input.imageTopK ?? topK
  if (topK === 0 && imageTopK === 0) problems.add('topK', invalid('topK', 'and imageTopK are 0: nothing would be answered'))
  const about = {
    model,
    problems,
    topK,
    imageTopK,
    ...(input.positions !== undefined && { positions: input.positions as PositionSelector }),
  }
  const reads = saes.flatMap((sae, index) => planSaeRead(sae, { ...about, path: `saes[${index}]`, positionsPath: 'positions' }) ?? [])
  const resolved = await resolveEdits(input.edits ?? [], { model: model.id, tower, nInputs, context, call }, problems)
  problems.throwIfAny()
  const nPairs = reads.reduce((sum, read) => sum + nInputs * (read.positions.length * read.topK + read.imageTopK), 0)
  const fewer = 'Ask for a smaller "topK", for fewer "positions", or send fewer inputs at a time.'
  checkLimit('featureActivations', {
    given: nPairs,
    maximum: fixedLimits.featureActivations,
    what: 'activations of features',
    instead: fewer,
  })
  if (call.maxNumbers) {
    const { limit, value } = call.maxNumbers
    const binary = `${fewer} Over REST, Accept: application/x-npz has room for more.`
    checkLimit(limit, { given: 2 * nPairs, maximum: value, what: 'numbers in the answer', instead: binary })
  }
  return { reads, resolved }
}

const invalid = (path: string, problem: string) => new EngineError('INPUT_INVALID', { path, problem })

function checkLimit(limit: LimitName, about: { given: number; maximum: number; what: string; instead: string }): void {
  if (about.given > about.maximum) throw new RequestError('LIMIT_EXCEEDED', { limit, ...about })
}
