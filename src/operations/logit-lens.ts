/**
 * What the residual stream already says, layer by layer and token by token: a classifier's classes, or any labels.
 */

import { type Static, Type } from 'typebox'
import type { LensValues } from '../engine/analyses/lens/arrange-lens.js'
import { nPositions } from '../engine/hook-points.js'
import type { Tensor } from '../engine/tensor.js'
import type { ClassScore } from './classify.js'
import { Problems, RequestError } from './errors.js'
import { findModel } from './find-model.js'
import { type LensPlan, planLens, runLens } from './lens/run-lens.js'
import { fixedLimits } from './limits.js'
import { loadInputs } from './load-inputs.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { Edits } from './schemas/edit.js'
import { ImageInputs } from './schemas/image.js'
import { type LensAnswer, LensShape, labelFields } from './schemas/lens.js'
import { ModelId } from './schemas/model.js'
import { Encoding, Positions } from './schemas/tensor.js'
import { type RowSelector, selectRows, takeRows } from './select-rows.js'

const DEFAULT_TOP_K = 5

const LogitLensInputShape = Type.Object(
  {
    model: ModelId,
    inputs: ImageInputs,
    ...labelFields,
    positions: Type.Optional(Positions),
    topK: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: fixedLimits.labels,
        description: `How many of the most probable; ${DEFAULT_TOP_K} unless given.`,
      }),
    ),
    logits: Type.Optional(Type.Boolean({ description: 'Whether all logits are answered; false unless given.' })),
    edits: Type.Optional(Edits),
    encoding: Type.Optional(Encoding),
  },
  { title: 'LogitLensInput', additionalProperties: false },
)

type LogitLensInput = Static<typeof LogitLensInputShape>

export const logitLens = defineOperation({
  name: 'logitLens',
  kind: 'query',
  scope: 'run',
  summary: 'What each token of each layer would be answered: classes or any labels, read through the model’s own end',
  input: LogitLensInputShape,
  output: LensShape,
  example: {
    model: 'emoji-clip',
    inputs: [{ image: `sha256:${'0'.repeat(64)}` }],
    classify: { labels: ['a red apple', 'a flag', 'a face'] },
    target: 'a red apple',
    topK: 3,
  },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const problems = new Problems()
    const plan = await planLens(context, input, { model, nInputs: input.inputs.length, call }, problems)
    const hookPoint = plan.model.description.vision.hookPoints.find(({ name }) => name === plan.hookPoints[0])
    const selected =
      hookPoint &&
      selectRows({ ...(input.positions !== undefined && { positions: input.positions }) } as RowSelector, {
        hookPoint,
        tower: model.description.vision,
        problems,
      })[0]
    problems.throwIfAny()
    const nPos = selected?.indices.length ?? nPositions(plan.config)
    const topK = Math.min(input.topK ?? DEFAULT_TOP_K, plan.labels.names.length)
    checkSize(context, { input, plan, nPos, topK, call })
    const { pictures } = (await loadInputs(context, { inputs: input.inputs, preprocessing: model.description.preprocessing }, call)) as {
      pictures: readonly Tensor<'float32'>[]
    }
    const { target, tokens, pooled } = await runLens(context, plan, { pictures, topK, withLogits: input.logits ?? false }, call)
    const { names } = plan.labels
    return {
      model: model.id,
      hookPoints: [...plan.hookPoints],
      labels: [...names],
      targets: Array.from(target.data, (index) => names[index]!),
      positions: [...(selected?.indices ?? Array.from({ length: nPos }, (_, position) => position))],
      classes: pooled ? inWords(pooled, names) : null,
      tokens: answered(tokens, (tensor) => (selected ? takeRows(tensor, { ...selected, axis: 2 }) : tensor)),
      pooled: pooled ? answered(pooled, (tensor) => tensor) : null,
    }
  },
})

/** The binary forms: `tokens/entropy`, `pooled/topClasses`, ... */
export function lensTensors({ tokens, pooled }: LensAnswer): Record<string, Tensor> {
  const under = (prefix: string, values: LensAnswer['tokens'] | null) =>
    Object.entries(values ?? {}).flatMap(([name, tensor]) => (tensor ? [[`${prefix}/${name}`, tensor] as const] : []))
  return Object.fromEntries([...under('tokens', tokens), ...under('pooled', pooled)])
}

function answered({ logits, ...values }: LensValues, take: <T extends Tensor>(tensor: T) => T): LensAnswer['tokens'] {
  const taken = Object.fromEntries(Object.entries(values).map(([name, tensor]) => [name, take(tensor)])) as unknown as LensAnswer['tokens']
  return { ...taken, logits: logits ? take(logits) : null }
}

/** Edits can make anything of a number. */
const finite = (value: number) => (Number.isFinite(value) ? value : null)

/** For each input and layer. */
function inWords({ topClasses, topLogits, topProbabilities }: LensValues, names: readonly string[]): ClassScore[][][] {
  const [batch, nLayers, k] = topClasses.shape as [number, number, number]
  return Array.from({ length: batch }, (_, image) =>
    Array.from({ length: nLayers }, (_, layer) =>
      Array.from({ length: k }, (_, place) => {
        const at = (image * nLayers + layer) * k + place
        const index = topClasses.data[at]!
        return { label: names[index]!, index, logit: finite(topLogits.data[at]!), probability: finite(topProbabilities.data[at]!) }
      }),
    ),
  )
}

interface Size {
  readonly input: LogitLensInput
  readonly plan: LensPlan
  readonly nPos: number
  readonly topK: number
  readonly call: Call
}

/** @throws LIMIT_EXCEEDED */
function checkSize({ config }: Context, { input, plan, nPos, topK, call }: Size): void {
  const nInputs = input.inputs.length
  if (nInputs > config.maxInputsPerRequest) {
    const instead = 'Send several smaller requests.'
    throw new RequestError('LIMIT_EXCEEDED', {
      limit: 'inputs',
      given: nInputs,
      maximum: config.maxInputsPerRequest,
      what: 'inputs',
      instead,
    })
  }
  const perToken = 3 * topK + 4 + (input.logits ? plan.labels.names.length : 0)
  const given = nInputs * plan.hookPoints.length * (nPos + 1) * perToken
  const fewer = 'Choose "positions" or fewer "hookPoints"'
  if (given * 4 > fixedLimits.readBytes) {
    const about = {
      limit: 'readBytes',
      given: given * 4,
      maximum: fixedLimits.readBytes,
      what: 'bytes of the answer',
      instead: `${fewer}.`,
    } as const
    throw new RequestError('LIMIT_EXCEEDED', about)
  }
  if (!call.maxNumbers || given <= call.maxNumbers.value) return
  const instead = `${fewer}, or ask for "encoding": "base64", or over REST for Accept: application/x-npz.`
  throw new RequestError('LIMIT_EXCEEDED', {
    limit: call.maxNumbers.limit,
    given,
    maximum: call.maxNumbers.value,
    what: 'numbers in the answer',
    instead,
  })
}
