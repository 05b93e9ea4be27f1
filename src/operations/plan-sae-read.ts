/** An SAE's part of a run: whether it fits the model, and what of it is read. */

import type { ModelRecord } from '../catalog/catalog.js'
import { saeSource } from '../catalog/sae-source.js'
import { EngineError } from '../engine/errors.js'
import type { SaeRead } from '../engine/host/host.js'
import type { PositionSelector } from '../engine/interventions/edit.js'
import type { HookPointInfo } from '../engine/models/model.js'
import { fitProblems } from '../engine/saes/fit-model.js'
import type { Problems } from './errors.js'
import type { DownloadedSae } from './feature-facts/find-feature.js'
import { selectRows } from './select-rows.js'

export const DEFAULT_TOP_K = 10

export interface PlannedSaeRead {
  readonly sae: DownloadedSae
  readonly hookPoint: HookPointInfo
  /** Undefined for all of them. */
  readonly selected: readonly number[] | undefined
  readonly positions: readonly number[]
  readonly topK: number
  readonly imageTopK: number
}

interface AskedOfSae {
  /** Those that the SAE was trained on unless given. */
  readonly positions?: PositionSelector
  readonly topK: number
  readonly imageTopK: number
}

interface ReadingPlace {
  readonly model: ModelRecord
  readonly problems: Problems
  /** Of the SAE in the request, and of what says its positions. */
  readonly path: string
  readonly positionsPath: string
}

/** @returns undefined when it cannot be read at all; problems go to `problems` */
export function planSaeRead(
  sae: DownloadedSae,
  { model, problems, path, positionsPath, ...asked }: AskedOfSae & ReadingPlace,
): PlannedSaeRead | undefined {
  const { config } = sae.download.description
  const tower = model.description.vision
  const misfit = fitProblems(config, tower.hookPoints)
  if (misfit.length > 0) problems.add(path, new EngineError('SAE_MISFIT', { sae: sae.id, model: model.id, problems: misfit }))
  const hookPoint = tower.hookPoints.find(({ name }) => name === config.hookPoint)
  if (!hookPoint) return undefined
  const positions = (asked.positions ?? sae.positions ?? 'all') as PositionSelector
  const hasPositions = hookPoint.axes.length > 2
  const isSelected = hasPositions || asked.positions !== undefined
  const [selection] = isSelected ? selectRows({ positions }, { hookPoint, tower, problems, path: positionsPath }) : []
  const nPositions = hasPositions ? (hookPoint.shape[1] as number) : 1
  const all = Array.from({ length: nPositions }, (_, position) => position)
  const counts = { topK: Math.min(asked.topK, config.dSae), imageTopK: Math.min(asked.imageTopK, config.dSae) }
  return { sae, hookPoint, selected: selection?.indices, positions: selection?.indices ?? all, ...counts }
}

export function saeReadOf({ sae, selected, topK, imageTopK }: PlannedSaeRead): SaeRead {
  return { sae: saeSource(sae), topK, imageTopK, ...(selected && { positions: selected }) }
}
