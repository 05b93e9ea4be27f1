/**
 * From an activation to one number for each patch: a channel or the length of its vectors, or a row of attention.
 */

import { type Static, Type } from 'typebox'
import { EngineError } from '../engine/errors.js'
import { matchHookPoints, nPrefixTokens, patchGrid } from '../engine/hook-points.js'
import type { PatchValues } from '../engine/image/patch-values.js'
import type { TowerDescription, VisionConfig } from '../engine/models/model.js'
import type { Tensor } from '../engine/tensor.js'
import type { Problems } from './errors.js'
import { featureFields } from './feature-facts/find-feature.js'
import { HookPointName } from './schemas/tensor.js'

const Index = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })
const described = (description: string) => Type.Optional(Type.Unsafe<number>({ ...Index, description }))

const ActivationReadingShape = Type.Object(
  {
    hookPoint: HookPointName,
    channel: described('Which element of the last axis; without it, the length (L2 norm) of each vector. Not for attention.'),
    head: described(
      'Which head; needed where the hook point has heads, but for attention, where without it the mean of all heads is taken.',
    ),
    query: described('For attention scores and patterns: the position whose row is shown; CLS unless given, where there is one.'),
  },
  { additionalProperties: false },
)

const FeatureReadingShape = Type.Object(
  { sae: featureFields.sae, feature: Type.Unsafe<number>({ ...featureFields.index, description: 'Index of a latent of the SAE.' }) },
  { additionalProperties: false },
)

export const PatchReadingShape = Type.Union([ActivationReadingShape, FeatureReadingShape], {
  title: 'PatchReading',
  description: 'One number for each patch: of an activation (`hookPoint`), or how active a feature is (`sae` and `feature`).',
})

export type PatchReadingInput = Static<typeof ActivationReadingShape>

/** A reading that fits its hook point. */
export interface PatchReading {
  readonly hookPoint: string
  readonly channel: number | undefined
  readonly head: number | undefined
  readonly query: number | undefined
  readonly config: VisionConfig
  /** Rows before the first patch at this hook point; the first of them is CLS where the model has one. */
  readonly nPrefix: number
}

/** Problems go to `problems`; undefined when there are any. */
export function planPatchReading(
  input: PatchReadingInput,
  { tower, model, path }: { readonly tower: TowerDescription; readonly model: string; readonly path: string },
  problems: Problems,
): PatchReading | undefined {
  const found = problems.collect(`${path}.hookPoint`, () => named(input.hookPoint, { tower, model, path: `${path}.hookPoint` }))
  if (!found) return undefined
  const { name, axes, shape } = found
  const config = tower.config as VisionConfig
  let isRefused = false
  const refuse = (field: string, problem: string) => {
    isRefused = true
    problems.add(`${path}.${field}`, new EngineError('INPUT_INVALID', { path: `${path}.${field}`, problem }))
  }
  const lengthOf = (axis: (typeof axes)[number]) => (axes.includes(axis) ? (shape[axes.indexOf(axis)] as number) : undefined)
  const isAttention = axes.includes('kPos')
  const [nHeads, nQueries] = [lengthOf('head'), lengthOf('qPos')]
  const nChannels = isAttention ? undefined : (shape.at(-1) as number)

  if (!isAttention && !axes.includes('pos') && !axes.includes('patch')) {
    refuse('hookPoint', `${name} has nothing for each patch: its axes are ${axes.join(', ')}`)
    return undefined
  }
  const within = (field: 'channel' | 'head' | 'query', length: number | undefined) => {
    const given = input[field]
    if (given === undefined) return
    if (length === undefined) refuse(field, `${name} has none: its axes are ${axes.join(', ')}`)
    else if (given >= length) refuse(field, `${given} is out of range; ${name} has 0 to ${length - 1}`)
  }
  within('channel', nChannels)
  within('head', nHeads)
  within('query', nQueries)
  if (nHeads !== undefined && !isAttention && input.head === undefined) refuse('head', `is missing: ${name} has heads 0 to ${nHeads - 1}`)
  if (isAttention && input.query === undefined && !config.hasCls) {
    refuse('query', `is missing: this model has no CLS token; its positions are 0 to ${nQueries! - 1}`)
  }
  if (isRefused) return undefined
  const nPrefix = axes.includes('patch') ? 0 : nPrefixTokens(config)
  const query = isAttention ? (input.query ?? 0) : undefined
  return { hookPoint: name, channel: input.channel, head: input.head, query, config, nPrefix }
}

/** One hook point, by its whole name. */
function named(hookPoint: string, { tower, model, path }: { tower: TowerDescription; model: string; path: string }) {
  const known = tower.hookPoints.find(({ name }) => name === hookPoint)
  if (known) return known
  if (!hookPoint.includes('*')) matchHookPoints([hookPoint], tower.hookPoints, { model, path })
  throw new EngineError('INPUT_INVALID', { path, problem: 'names several hook points; a heatmap shows one' })
}

/** @param activation  `[1, ...]`, one input's */
export function readPatches(activation: Tensor<'float32'>, reading: PatchReading): PatchValues {
  const ofPosition = reading.query === undefined ? vectorNumbers(activation, reading) : attentionRow(activation, reading)
  const { rows, columns } = patchGrid(reading.config)
  const cls = reading.nPrefix > 0 && reading.config.hasCls ? ofPosition[0] : undefined
  return { rows, columns, values: ofPosition.slice(reading.nPrefix), ...(cls !== undefined && { cls }) }
}

/** One number for each position of `[1, pos, d]` or `[1, pos, head, d]`. */
function vectorNumbers({ shape, data }: Tensor<'float32'>, { channel, head }: PatchReading): Float32Array {
  const length = shape.at(-1)!
  const nHeads = shape.length === 4 ? shape[2]! : 1
  return Float32Array.from({ length: shape[1]! }, (_, position) => {
    const from = (position * nHeads + (head ?? 0)) * length
    if (channel !== undefined) return data[from + channel]!
    let squares = 0
    for (let at = from; at < from + length; at++) squares += data[at]! ** 2
    return Math.sqrt(squares)
  })
}

/** What one query gives each position, of `[1, head, qPos, kPos]`: of a head, or the mean of all. */
function attentionRow({ shape, data }: Tensor<'float32'>, { head, query }: PatchReading): Float32Array {
  const [, nHeads, nQueries, nKeys] = shape as [number, number, number, number]
  const heads = head === undefined ? Array.from({ length: nHeads }, (_, index) => index) : [head]
  return Float32Array.from({ length: nKeys }, (_, key) => {
    const sum = heads.reduce((total, index) => total + data[(index * nQueries + query!) * nKeys + key]!, 0)
    return sum / heads.length
  })
}
