/**
 * Directions that edits describe: a text, taken back from where CLIP compares pictures with texts to the residual stream; and what one set of
 * pictures has more of than another, at the hook point that is edited.
 */

import { type ModelRecord, modelSource } from '../../catalog/catalog.js'
import { EngineError } from '../../engine/errors.js'
import type { RunInputs } from '../../engine/host/host.js'
import type { PositionSelector } from '../../engine/interventions/edit.js'
import { type AxisSelection, selectHeads, selectPositions } from '../../engine/interventions/selection.js'
import type { HookPointInfo, VisionConfig } from '../../engine/models/model.js'
import { streamReachesAnswer } from '../../engine/saes/decoder-graphs.js'
import { elementCount, float32, type Tensor } from '../../engine/tensor.js'
import { embedLabels } from '../classify.js'
import { RequestError } from '../errors.js'
import { fixedLimits } from '../limits.js'
import { loadInputs } from '../load-inputs.js'
import type { Call, Context } from '../operation.js'
import type { VectorInput } from '../schemas/edit.js'
import { takeRows } from '../select-rows.js'

type TextVector = Extract<VectorInput, { text: string }>
type DifferenceVector = Extract<VectorInput, { difference: unknown }>

export type DirectionContext = Pick<Context, 'catalog' | 'host' | 'classEmbeddings'>

export interface DirectionScope {
  readonly model: ModelRecord
  readonly place: DirectionPlace
  /** Of the vector. */
  readonly path: string
}

/** Where the direction is put to use. */
export interface DirectionPlace {
  readonly hookPoint: string
  readonly positions?: PositionSelector
  readonly heads?: readonly number[]
}

/**
 * `g * (W_H' e)` less its mean, where e is the text's unit embedding (less that of `minus`), W_H the projection and g the final LayerNorm's gain: along
 * it the residual stream's own part of the product of embedding and text grows fastest.
 * @throws INPUT_INVALID where no text tower or no projection of the stream is
 */
export async function textDirection(
  context: DirectionContext,
  { text, minus, templates = ['{}'] }: TextVector,
  { model, place: { hookPoint }, path }: DirectionScope,
  call: Call,
): Promise<Float32Array> {
  const { description } = model
  const refuse = (problem: string) => new EngineError('INPUT_INVALID', { path, problem }, [{ path, message: problem }])
  if (!description.text) throw refuse(`${model.id} has no text tower, so that a text is no direction of it`)
  if (!streamReachesAnswer(hookPoint, description.vision.config as VisionConfig)) {
    throw refuse(
      `a text is a direction of the residual stream that the projection reads: hook_resid_pre, hook_resid_mid, hook_resid_post, hook_attn_out or hook_mlp_out of a block, where one token or the mean is answered; not of "${hookPoint}" in ${model.id}`,
    )
  }
  if (minus === text) throw refuse(`is ${JSON.stringify(text)} minus itself, which is 0`)
  const labels = minus === undefined ? [text] : [text, minus]
  const { shape, data } = await embedLabels(context, { model, labels, templates }, call)
  const width = shape[1]!
  const embedding = Float32Array.from({ length: width }, (_, at) => data[at]! - (minus === undefined ? 0 : data[width + at]!))
  const input = { embeddings: float32([1, width], embedding) }
  return (await context.host.analyse('streamDirections', { model: modelSource(model), input }, call.signal)).data
}

/**
 * The mean of the hook point over one set of pictures minus that over the other: over the edit's positions and heads too.
 * @throws LIMIT_EXCEEDED; what reading pictures and hook points throws
 */
export async function differenceDirection(
  context: DirectionContext,
  { difference }: DifferenceVector,
  { model, place: { hookPoint: name, positions, heads }, path }: DirectionScope,
  call: Call,
): Promise<Float32Array> {
  const { vision, preprocessing } = model.description
  const hookPoint = vision.hookPoints.find((each) => each.name === name)
  if (!hookPoint)
    throw new EngineError('HOOK_POINT_UNKNOWN', { hookPoint: name, model: model.id, known: vision.hookPoints.map((each) => each.name) })
  const place = { hookPoint, tower: vision }
  const about = { hookPoint: name, op: 'zero', ...(positions !== undefined && { positions }), ...(heads && { heads }) } as const
  const selections = [selectPositions(about, place, path), selectHeads(about, place, path)].filter((selection) => selection !== undefined)
  checkSize({ difference }, { hookPoint, path })
  const means: Float64Array[] = []
  for (const side of ['of', 'from'] as const) {
    const inputs = await loadInputs(
      context,
      { inputs: difference[side].map((image) => ({ image })), preprocessing, path: `${path}.difference.${side}` },
      call,
    )
    means.push(await meanOf(context, { model, inputs, hookPoint, selections }, call))
  }
  const [of, from] = means as [Float64Array, Float64Array]
  return Float32Array.from(of, (value, at) => value - from[at]!)
}

function checkSize({ difference: { of, from } }: DifferenceVector, { hookPoint, path }: { hookPoint: HookPointInfo; path: string }): void {
  const given = 4 * Math.max(of.length, from.length) * elementCount(hookPoint.shape.slice(1).map(Number))
  const maximum = fixedLimits.readBytes
  if (given <= maximum) return
  throw new RequestError('LIMIT_EXCEEDED', {
    limit: 'readBytes',
    given,
    maximum,
    what: `bytes of ${path}`,
    instead: 'Name fewer pictures.',
  })
}

interface ToRead {
  readonly model: ModelRecord
  readonly inputs: RunInputs
  readonly hookPoint: HookPointInfo
  readonly selections: readonly AxisSelection[]
}

/** Over everything but the last axis, in float64. */
async function meanOf({ host }: DirectionContext, { model, inputs, hookPoint, selections }: ToRead, call: Call): Promise<Float64Array> {
  const { activations } = await host.run({ model: modelSource(model), inputs, read: [hookPoint.name], edits: [] }, call.signal)
  const { data } = selections.reduce<Tensor<'float32'>>(takeRows, activations[hookPoint.name]!)
  const width = hookPoint.shape.at(-1) as number
  const mean = new Float64Array(width)
  const nVectors = data.length / width
  for (const [at, value] of data.entries()) mean[at % width]! += value / nVectors
  return mean
}
