/** Which layers and heads a request is about, and whether what it asks of them is not too much. */

import type { ModelRecord } from '../../catalog/catalog.js'
import { EngineError } from '../../engine/errors.js'
import { nPositions } from '../../engine/hook-points.js'
import type { VisionConfig } from '../../engine/models/model.js'
import { type Problems, RequestError } from '../errors.js'
import { fixedLimits } from '../limits.js'

export interface ChosenHeads {
  readonly config: VisionConfig
  readonly layers: readonly number[]
  readonly heads: readonly number[]
  /** Positions squared. */
  readonly nWeights: number
}

export function chooseHeads(
  { layers, heads }: { readonly layers?: readonly number[]; readonly heads?: readonly number[] },
  model: ModelRecord,
  problems: Problems,
): ChosenHeads {
  const config = model.description.vision.config as VisionConfig
  const all = (length: number) => Array.from({ length }, (_, index) => index)
  checkIndices('layers', layers, { length: config.nLayers, model, problems })
  checkIndices('heads', heads, { length: config.nHeads, model, problems })
  return { config, layers: layers ?? all(config.nLayers), heads: heads ?? all(config.nHeads), nWeights: nPositions(config) ** 2 }
}

function checkIndices(
  path: string,
  indices: readonly number[] | undefined,
  { length, model, problems }: { length: number; model: ModelRecord; problems: Problems },
): void {
  for (const [at, index] of (indices ?? []).entries()) checkIndex(`${path}[${at}]`, index, { length, model, problems })
}

/** Of a layer, a head or a position. */
export function checkIndex(
  path: string,
  index: number | undefined,
  { length, model, problems }: { length: number; model: ModelRecord; problems: Problems },
): void {
  if (index === undefined || index < length) return
  problems.add(path, new EngineError('INPUT_INVALID', { path, problem: `${index} is out of range; ${model.id} has 0 to ${length - 1}` }))
}

/** @param given  weights of attention that are held at once */
export function checkWeights(given: number, { problems, instead }: { readonly problems: Problems; readonly instead: string }): void {
  const maximum = fixedLimits.attentionWeights
  if (given <= maximum) return
  const what = 'weights of attention (heads times positions squared)'
  problems.add('layers', new RequestError('LIMIT_EXCEEDED', { limit: 'attentionWeights', given, maximum, what, instead }))
}
