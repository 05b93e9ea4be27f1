/**
 * The directions that edits name: stored ones, and the rows of features in the decoders of their SAEs.
 */

import { saeSource } from '../../catalog/sae-source.js'
import { EngineError } from '../../engine/errors.js'
import { type Problems, RequestError } from '../errors.js'
import { findDownloadedSae } from '../feature-facts/find-feature.js'
import { findModel } from '../find-model.js'
import { fixedLimits } from '../limits.js'
import type { Call, Context } from '../operation.js'
import type { EditInput, VectorInput } from '../schemas/edit.js'
import { findVector } from '../vectors.js'
import { type DirectionContext, type DirectionPlace, differenceDirection, textDirection } from './direction-vectors.js'
import { largestActivations } from './edit-saes.js'

/** The numbers of each edit's vector, where it has one that can be had; what cannot goes to `problems`. */
export async function editVectors(
  context: DirectionContext,
  edits: readonly EditInput[],
  { model, problems, call }: { readonly model: string; readonly problems: Problems; readonly call: Call },
): Promise<(Float32Array | undefined)[]> {
  if (tooManyPictures(edits, problems)) return edits.map(() => undefined)
  const asked = edits.map(async (edit, index) => {
    if (!('vector' in edit) || edit.vector === undefined) return undefined
    const path = `edits[${index}].vector`
    const unit = edit.op === 'add' ? edit.unit : undefined
    const found = await vectorOf(context, edit.vector, { model, path, place: edit, call })
    if (unit !== 'maxActivation') return found
    const most = await largestActivation(context, edit.vector, `edits[${index}].unit`)
    return found.map((value) => value * most)
  })
  const settled = await Promise.allSettled(asked)
  return settled.map((outcome, index) => {
    if (outcome.status === 'fulfilled') return outcome.value
    return problems.collect(`edits[${index}].vector`, () => {
      throw outcome.reason
    })
  })
}

function tooManyPictures(edits: readonly EditInput[], problems: Problems): boolean {
  const given = edits.reduce((sum, edit) => {
    const vector = 'vector' in edit ? edit.vector : undefined
    return vector && 'difference' in vector ? sum + vector.difference.of.length + vector.difference.from.length : sum
  }, 0)
  const maximum = fixedLimits.differenceImages
  if (given <= maximum) return false
  const instead = 'Name fewer pictures, or keep a direction with POST /v1/vectors and name it by its id.'
  problems.add(
    'edits',
    new RequestError('LIMIT_EXCEEDED', { limit: 'differenceImages', given, maximum, what: 'pictures of differences', instead }),
  )
  return true
}

interface Named {
  readonly model: string
  readonly path: string
  /** Where the vector is put to use. */
  readonly place: DirectionPlace
  readonly call: Call
}

/**
 * @throws VECTOR_UNKNOWN, SAE_UNKNOWN, SAE_NOT_DOWNLOADED, FEATURE_UNKNOWN; INPUT_INVALID for one of another model; what texts and differences
 *         throw (direction-vectors.ts)
 */
export async function vectorOf(context: DirectionContext, vector: VectorInput, { model, path, place, call }: Named) {
  const { catalog, host } = context
  if (Array.isArray(vector)) return Float32Array.from(vector)
  if ('text' in vector) return textDirection(context, vector, { model: await findModel(catalog, model), place, path }, call)
  if ('difference' in vector) return differenceDirection(context, vector, { model: await findModel(catalog, model), place, path }, call)
  const requireModel = (what: string, of: string) => {
    if (of !== model) throw new EngineError('INPUT_INVALID', { path, problem: `${what} is of ${of}, and this runs ${model}` })
  }
  if ('id' in vector) {
    const { values, modelId } = await findVector(catalog, vector.id)
    requireModel(`"${vector.id}"`, modelId)
    return values
  }
  const sae = await findDownloadedSae(catalog, vector.sae)
  requireModel(sae.id, sae.modelId)
  const { dSae } = sae.download.description.config
  if (vector.feature >= dSae) throw new RequestError('FEATURE_UNKNOWN', { sae: sae.id, index: vector.feature, width: dSae })
  return (await host.decoderRows({ sae: saeSource(sae), latents: [vector.feature] })).data
}

/**
 * What an index has seen.
 * @throws INPUT_INVALID where the vector is of no feature, or the feature was never active; FEATURES_UNKNOWN where nothing was indexed
 */
export async function largestActivation({ catalog }: Pick<Context, 'catalog'>, vector: VectorInput, path: string): Promise<number> {
  if (Array.isArray(vector) || !('sae' in vector)) {
    const problem = '"maxActivation" is of a feature; the vector is {"sae": ..., "feature": ...} then'
    throw new EngineError('INPUT_INVALID', { path, problem }, [{ path, message: problem }])
  }
  const [most] = await largestActivations(catalog, { sae: vector.sae, features: [vector.feature] }, () => path)
  return most!
}
