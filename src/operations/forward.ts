/**
 * Runs inputs through a model, with edits, and reads any hook points.
 */

import { type Static, Type } from 'typebox'
import type { ModelRecord } from '../catalog/catalog.js'
import { modelSource } from '../catalog/catalog.js'
import { EngineError } from '../engine/errors.js'
import { isVision, matchHookPoints } from '../engine/hook-points.js'
import type { RunResult } from '../engine/host/host.js'
import type { AxisSelection } from '../engine/interventions/selection.js'
import type { TowerDescription, TowerName } from '../engine/models/model.js'
import { elementCount, type Tensor } from '../engine/tensor.js'
import { ClassifyShape, ClassScoreShape, checkClassify, rankClasses, zeroShotLogits } from './classify.js'
import { type ResolvedEdits, resolveEdits } from './edits/resolve-edits.js'
import { Problems, RequestError } from './errors.js'
import { findModel } from './find-model.js'
import { fixedLimits, type LimitName } from './limits.js'
import { type InputValue, loadInputs } from './load-inputs.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { Edits } from './schemas/edit.js'
import { ImageInput } from './schemas/image.js'
import { ModelId, TowerShape } from './schemas/model.js'
import { Activations, CacheId, Encoding, Heads, Positions, TensorShape } from './schemas/tensor.js'
import { type RowSelector, selectedShape, selectRows, takeRows } from './select-rows.js'

const Pattern = Type.String({
  minLength: 1,
  maxLength: 200,
  description: 'A hook point; `*` stands for anything within one dot-separated part.',
})

export const InputShape = Type.Union(
  [
    Type.Object({ image: ImageInput }, { additionalProperties: false }),
    Type.Object({ text: Type.String({ minLength: 1, maxLength: fixedLimits.textCharacters }) }, { additionalProperties: false }),
  ],
  { title: 'RunInput', description: 'A picture, or a text for a model with a text tower. All inputs of a request are of one kind.' },
)

export const ForwardInputShape = Type.Object(
  {
    model: ModelId,
    inputs: Type.Array(InputShape, { minItems: 1 }),
    read: Type.Optional(
      Type.Array(Pattern, { maxItems: fixedLimits.readPatterns, 'x-limit': 'readPatterns', description: 'Hook points to read.' }),
    ),
    positions: Type.Optional(Positions),
    heads: Type.Optional(Heads),
    edits: Type.Optional(Edits),
    classify: Type.Optional(ClassifyShape),
    topK: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 100_000, description: 'How many classes to list for each input; 5 unless given.' }),
    ),
    output: Type.Optional(Type.Boolean({ description: 'Whether to answer `output`; true unless given.' })),
    encoding: Type.Optional(Encoding),
  },
  { title: 'ForwardInput', additionalProperties: false },
)

export type ForwardInput = Static<typeof ForwardInputShape>

export const ForwardShape = Type.Object(
  {
    model: ModelId,
    tower: TowerShape,
    activations: Activations,
    output: Type.Union([TensorShape, Type.Null()], { description: 'Logits, embeddings or pooled features; null when `output` is false.' }),
    classes: Type.Union([Type.Array(Type.Array(ClassScoreShape)), Type.Null()], {
      description: 'For each input the most probable classes, best first. Null where the model has no classes and `classify` is not given.',
    }),
    cache: Type.Union([CacheId, Type.Null()], {
      description:
        'Names what was read, at all positions and heads, for a while: `GET /v1/caches/{cache}/{hookPoint}`. Null when nothing was read.',
    }),
  },
  { title: 'Forward', additionalProperties: false },
)

export const forward = defineOperation({
  name: 'forward',
  kind: 'query',
  scope: 'run',
  summary: 'Run inputs through a model, with edits, and read any hook points',
  input: ForwardInputShape,
  output: ForwardShape,
  example: {
    model: 'emoji-clip',
    inputs: [{ image: `sha256:${'0'.repeat(64)}` }],
    read: ['blocks.*.hook_resid_post'],
    positions: 'cls',
    edits: [{ hookPoint: 'blocks.0.attn.hook_z', op: 'zero', heads: [0] }],
    classify: { labels: ['cat', 'dog', 'flag'] },
    topK: 3,
  },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const plan = await planRun(context, { model, input, call })
    const inputs = await loadInputs(context, { inputs: input.inputs, preprocessing: model.description.preprocessing }, call)
    const result = await context.host.run(
      { model: modelSource(model), inputs, read: plan.read.map(({ name }) => name), ...plan.resolved },
      call.signal,
    )
    for (const name of ['queue', 'load', 'compile', 'run'] as const) call.timing(name, result.timings[name])

    const activations: Record<string, Tensor<'float32'>> = {}
    for (const { name, keep } of plan.read) activations[name] = keep.reduce(takeRows, result.activations[name]!)
    return {
      model: model.id,
      tower: plan.towerName,
      activations,
      output: input.output === false ? null : result.output,
      classes: await scoreClasses(context, { model, input, plan, output: result.output }, call),
      cache: plan.read.length > 0 ? keepActivations(context, model, { towerName: plan.towerName, result }) : null,
    }
  },
})

/** Refuses what a run would refuse before it looks at pictures. @throws all problems at once */
export async function checkForward(context: Context, input: ForwardInput, call: Call): Promise<void> {
  await planRun(context, { model: await findModel(context.catalog, input.model), input, call })
}

/** A hook point to read, and what to keep of it. */
interface Read {
  readonly name: string
  readonly keep: readonly AxisSelection[]
}

interface Plan {
  readonly towerName: TowerName
  readonly tower: TowerDescription
  readonly read: readonly Read[]
  readonly resolved: ResolvedEdits
}

/** Everything that can be refused before any picture is decoded. @throws all problems at once */
async function planRun(context: Context, { model, input, call }: { model: ModelRecord; input: ForwardInput; call: Call }): Promise<Plan> {
  const nInputs = input.inputs.length
  checkLimit('inputs', {
    given: nInputs,
    maximum: context.config.maxInputsPerRequest,
    what: 'inputs',
    instead: 'Send several smaller requests.',
  })
  const towerName = chooseTower(input.inputs, model)
  const tower = model.description[towerName]!

  const problems = new Problems()
  const names = problems.collect('read', () => matchHookPoints(input.read ?? [], tower.hookPoints, { model: model.id })) ?? []
  const read = names.map((name) => tower.hookPoints.find((hookPoint) => hookPoint.name === name)!)
  const keep = new Map(read.map((hookPoint) => [hookPoint.name, selectRows(input as RowSelector, { hookPoint, tower, problems })]))
  const resolved = await resolveEdits(input.edits ?? [], { model: model.id, tower, nInputs, context, call }, problems)
  if (input.classify) problems.collect('classify', () => checkClassify(input.classify!, model))
  if (input.classify && towerName === 'text') {
    problems.add('classify', new EngineError('INPUT_INVALID', { path: 'classify', problem: 'is for pictures; these inputs are texts' }))
  }
  problems.throwIfAny()

  const nRead = read.reduce((sum, hookPoint) => sum + elementCount(selectedShape(hookPoint, nInputs, [])), 0)
  const instead = 'Read fewer hook points, or send fewer inputs at a time.'
  checkLimit('readBytes', { given: nRead * 4, maximum: fixedLimits.readBytes, what: 'bytes of the hook points in "read"', instead })
  if (call.maxNumbers) {
    const nAnswer =
      read.reduce((sum, hookPoint) => sum + elementCount(selectedShape(hookPoint, nInputs, keep.get(hookPoint.name)!)), 0) +
      (input.output === false ? 0 : nInputs * elementCount(tower.output.shape.slice(1) as number[]))
    const binary = 'Ask for "encoding": "base64", or over REST for Accept: application/x-npz; or choose "positions".'
    checkLimit(call.maxNumbers.limit, { given: nAnswer, maximum: call.maxNumbers.value, what: 'numbers in the answer', instead: binary })
  }
  return { towerName, tower, read: names.map((name) => ({ name, keep: keep.get(name)! })), resolved }
}

function checkLimit(limit: LimitName, about: { given: number; maximum: number; what: string; instead: string }): void {
  if (about.given > about.maximum) throw new RequestError('LIMIT_EXCEEDED', { limit, ...about })
}

/** All pictures, or all texts. @throws INPUT_INVALID */
function chooseTower(inputs: readonly InputValue[], model: ModelRecord): TowerName {
  const kinds = inputs.map((input) => ('text' in input ? 'text' : 'image'))
  const odd = kinds.findIndex((kind) => kind !== kinds[0])
  const refuse = (path: string, problem: string) => new EngineError('INPUT_INVALID', { path, problem }, [{ path, message: problem }])
  if (odd > 0)
    throw refuse(`inputs[${odd}]`, `is ${kinds[odd] === 'text' ? 'a text' : 'a picture'}, and inputs[0] is not; send one kind at a time`)
  if (kinds[0] === 'image') return 'vision'
  if (!model.description.text) throw refuse('inputs[0].text', `${model.id} has no text tower; send pictures`)
  return 'text'
}

async function scoreClasses(
  context: Context,
  { model, input, plan, output }: { model: ModelRecord; input: ForwardInput; plan: Plan; output: Tensor<'float32'> },
  call: Call,
) {
  const topK = input.topK ?? 5
  if (input.classify) {
    const logits = await zeroShotLogits(context, { model, classify: input.classify, images: output }, call)
    return rankClasses(logits, { labels: input.classify.labels, topK })
  }
  const { config } = plan.tower
  if (!isVision(config) || config.head.kind !== 'classes' || output.shape.length !== 2) return null
  return rankClasses(output, { labels: model.description.classLabels, topK })
}

/** @returns null when the memory budget has no room for them: the answer itself is whole */
function keepActivations(
  { host }: Context,
  model: ModelRecord,
  { towerName, result }: { towerName: TowerName; result: RunResult },
): string | null {
  const id = host.keep(result.activations, { modelId: model.id, tower: towerName })
  return host.cached(id) ? id : null
}

/** What the binary forms hold. */
export function forwardTensors({ activations, output }: Static<typeof ForwardShape>): Record<string, Tensor> {
  return { ...activations, ...(output && { output }) }
}
