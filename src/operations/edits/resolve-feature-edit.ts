/** From an edit of features as a user writes it to one as the engine takes it: strengths in units of an index become activations. */

import type { Edit } from '../../engine/interventions/edit.js'
import { writtenHookPoint } from '../../engine/interventions/spliced-sae.js'
import type { Problems } from '../errors.js'
import type { Context } from '../operation.js'
import type { EditInput } from '../schemas/edit.js'
import { type EditSaes, largestActivations } from './edit-saes.js'

export type FeatureEditInput = Extract<EditInput, { sae: string }>

export interface FeatureEditScope {
  readonly catalog: Context['catalog']
  readonly saes: EditSaes
  /** Of the edit. */
  readonly path: string
  readonly problems: Problems
}

/** @returns undefined where its SAE cannot be used, or a unit is not known, which is among the problems then */
export async function featureEdit(edit: FeatureEditInput, { catalog, saes, path, problems }: FeatureEditScope): Promise<Edit | undefined> {
  const place = saes.places.get(edit.sae)
  if (place === undefined) return undefined
  const target = {
    hookPoint: edit.hookPoint ?? writtenHookPoint(saes.described[place]!.config),
    ...(edit.positions !== undefined && { positions: edit.positions }),
    ...(edit.keepError !== undefined && { keepError: edit.keepError }),
    sae: place,
  }
  const units = await unitsOf(edit, { catalog, path, problems })
  if (units === undefined) return undefined
  const times = (index: number) => units[index]!
  switch (edit.op) {
    case 'feature-add':
      return { ...target, op: edit.op, features: edit.features.map((each, at) => ({ ...each, strength: each.strength * times(at) })) }
    case 'feature-set':
      return { ...target, op: edit.op, features: edit.features.map((each, at) => ({ ...each, value: each.value * times(at) })) }
    case 'feature-clamp':
      return {
        ...target,
        op: edit.op,
        features: edit.features.map(({ feature, min, max }, at) => ({
          feature,
          ...(min !== undefined && { min: min * times(at) }),
          ...(max !== undefined && { max: max * times(at) }),
        })),
      }
    case 'feature-scale':
    case 'feature-ablate':
      return { ...target, op: edit.op, features: edit.features } as Edit
    case 'reconstruct':
      return { ...target, op: edit.op }
    default:
      return edit satisfies never
  }
}

/** What the numbers of each feature are multiples of. */
async function unitsOf(
  edit: FeatureEditInput,
  { catalog, path, problems }: Omit<FeatureEditScope, 'saes'>,
): Promise<readonly number[] | undefined> {
  const features = 'features' in edit ? edit.features.map(({ feature }) => feature) : []
  if (!('unit' in edit) || edit.unit !== 'maxActivation') return features.map(() => 1)
  try {
    return await largestActivations(catalog, { sae: edit.sae, features }, (index) => `${path}.features[${index}].feature`)
  } catch (error) {
    return problems.collect(`${path}.unit`, () => {
      throw error
    })
  }
}
