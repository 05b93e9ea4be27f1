/**
 * How active features are in a picture, or in one patch of it: one run of the model, which all SAEs read.
 */

import type { ModelRecord } from '../../catalog/catalog.js'
import { EngineError } from '../../engine/errors.js'
import { nPrefixTokens, patchGrid } from '../../engine/hook-points.js'
import type { VisionConfig } from '../../engine/models/model.js'
import { features } from '../features.js'
import type { Call, Context } from '../operation.js'
import type { ImageFeature } from '../schemas/features.js'
import { groupBy } from './group-by.js'
import type { Searched, SearchedSae } from './searched-saes.js'

export interface ImageScores {
  /** The largest activation, by feature; NaN of one that is not active. */
  readonly activations: Float32Array
  /** Where it is largest. */
  readonly where: ReadonlyMap<number, ImageFeature>
}

interface Asked extends Searched {
  readonly image: string
  /** Row and column. */
  readonly patch: readonly number[] | undefined
}

/** By SAE, in their order. @throws INPUT_INVALID for a patch that there is not; IMAGE_UNKNOWN, and what `features` throws */
export async function imageScores(context: Context, { model, saes, image, patch }: Asked, call: Call): Promise<ImageScores[]> {
  const { maxNumbers: _, ...ownCall } = call
  const byPositions = groupBy(saes, ({ sae }) => positionOf(model, sae.download.description.config.hookPoint, patch))
  const found = new Map<SearchedSae, ImageScores>()
  for (const [position, group] of byPositions) {
    const answer = await features.run(
      context,
      {
        saes: group.map(({ sae }) => sae.id),
        inputs: [{ image }],
        model: model.id,
        ...(position !== undefined && { positions: [position] }),
        ...{ topK: 0, imageTopK: Math.max(...group.map(({ sae }) => sae.download.description.config.dSae)) },
      },
      ownCall,
    )
    for (const [at, { width, perImage }] of answer.saes.entries()) {
      const activations = new Float32Array(width).fill(Number.NaN)
      const where = new Map<number, ImageFeature>()
      for (const active of perImage![0]!) {
        activations[active.feature] = active.activation
        where.set(active.feature, active)
      }
      found.set(group[at]!, { activations, where })
    }
  }
  return saes.map((each) => found.get(each)!)
}

/** Along the second axis of a hook point; undefined where no patch is asked for. */
function positionOf(model: ModelRecord, hookPoint: string, patch: readonly number[] | undefined): number | undefined {
  if (patch === undefined) return undefined
  const config = model.description.vision.config as VisionConfig
  const { rows, columns } = patchGrid(config)
  const [row, column] = patch as [number, number]
  const refuse = (problem: string) => new EngineError('INPUT_INVALID', { path: 'patch', problem })
  if (row >= rows || column >= columns) throw refuse(`[${row}, ${column}] is out of range; ${model.id} has ${rows} rows of ${columns}`)
  const axis = model.description.vision.hookPoints.find(({ name }) => name === hookPoint)?.axes[1]
  if (axis !== 'pos' && axis !== 'patch') throw refuse(`goes with SAEs that read patches, and ${hookPoint} has none`)
  return row * columns + column + (axis === 'pos' ? nPrefixTokens(config) : 0)
}
