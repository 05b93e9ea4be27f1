/**
 * From edits as a user writes them to edits as the engine takes them.
 */

import { EngineError } from '../../engine/errors.js'
import type { SaeSource } from '../../engine/host/host.js'
import type { Edit, PatchSource } from '../../engine/interventions/edit.js'
import type { EditedTower } from '../../engine/interventions/technique.js'
import { validateEdits } from '../../engine/interventions/validate-edits.js'
import type { TowerDescription } from '../../engine/models/model.js'
import { type Problems, RequestError } from '../errors.js'
import type { Call } from '../operation.js'
import type { EditInput } from '../schemas/edit.js'
import { takeRows } from '../select-rows.js'
import type { DirectionContext } from './direction-vectors.js'
import { editSaes } from './edit-saes.js'
import { editVectors } from './edit-vectors.js'
import { type FeatureEditInput, featureEdit } from './resolve-feature-edit.js'

export interface EditScope {
  readonly model: string
  readonly tower: TowerDescription
  readonly nInputs: number
  readonly context: DirectionContext
  readonly call: Call
}

/** For a run: its edits, and the SAEs that they name by their places. */
export interface ResolvedEdits {
  readonly edits: readonly Edit[]
  readonly editSaes: readonly SaeSource[]
}

/** Everything that can be known without running is checked, so that one answer names it all. Problems go to `problems`. */
export async function resolveEdits(edits: readonly EditInput[], scope: EditScope, problems: Problems): Promise<ResolvedEdits> {
  const { model, tower, context, call } = scope
  const vectors = await editVectors(context, edits, { model, problems, call })
  const saes = await editSaes(context.catalog, edits, { model, path: 'edits', problems })
  const resolved: Edit[] = []
  for (const [index, edit] of edits.entries()) {
    const path = `edits[${index}]`
    const made = 'sae' in edit ? await featureEdit(edit, { catalog: context.catalog, saes, path, problems }) : undefined
    const source = edit.op === 'patch' ? problems.collect(`${path}.from`, () => patchSource(edit, scope, `${path}.from`)) : undefined
    if (made) resolved.push(made)
    else if ('sae' in edit) resolved.push(placeOnly(edit, tower))
    else if (edit.op !== 'patch') resolved.push(engineEdit(edit, vectors[index]))
    else resolved.push(source ? { ...targetOf(edit), op: 'patch', source } : placeOnly(edit, tower))
  }
  checkResolved(resolved, { ...scope, tower: { ...tower, saes: saes.described } }, problems)
  return { edits: resolved, editSaes: saes.sources }
}

/** In the place of an edit that is refused already, so that where it points to is checked still, and the others keep their places. */
function placeOnly(edit: Partial<Target>, { hookPoints }: TowerDescription): Edit {
  const nothing = { op: 'scale', strength: 1 } as const
  const { hookPoint } = edit
  return hookPoint === undefined ? { hookPoint: hookPoints[0]!.name, ...nothing } : { ...targetOf({ ...edit, hookPoint }), ...nothing }
}

function checkResolved(resolved: readonly Edit[], { tower, nInputs, model }: EditScope & { tower: EditedTower }, problems: Problems): void {
  try {
    validateEdits(resolved, tower, { nInputs, model })
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    for (const { path, message } of error.problems) {
      // in a request the source of a patch is called `from`
      const at = path.replace('.source.values', '.from').replace('.source', '.from')
      const problem = message.replaceAll(path, at).replace(`${at}: `, '')
      problems.add(at, error.code === 'EDIT_INVALID' ? new EngineError('EDIT_INVALID', { path: at, problem }) : error, problem)
    }
  }
}

type DirectEdit = Exclude<EditInput, FeatureEditInput>
type Target = Pick<DirectEdit, 'hookPoint' | 'positions' | 'heads'>

const targetOf = ({ hookPoint, positions, heads }: Target) => ({
  hookPoint,
  ...(positions !== undefined && { positions }),
  ...(heads && { heads }),
})

/** @param vector  its numbers, where it names some and they could be had; the place of an edit without them is still checked */
function engineEdit(edit: Exclude<DirectEdit, { op: 'patch' }>, vector: Float32Array | undefined): Edit {
  const target = targetOf(edit)
  if ('vector' in edit && edit.vector !== undefined && vector === undefined) return { ...target, op: 'scale', strength: 1 }
  switch (edit.op) {
    case 'add':
      return { ...target, op: 'add', vector: vector!, strength: edit.strength ?? 1, unit: edit.unit === 'norm' ? 'norm' : 'raw' }
    case 'set':
      return 'vector' in edit ? { ...target, op: 'set', vector: vector! } : { ...target, op: 'set', value: edit.value }
    case 'scale':
      return { ...target, op: 'scale', strength: edit.strength }
    case 'zero':
      return { ...target, op: 'zero' }
    case 'mean':
      return { ...target, op: 'mean', ...(vector && { vector }) }
    case 'project-out':
      return { ...target, op: 'project-out', vector: vector! }
    case 'clamp-projection': {
      const { min, max } = edit
      return {
        ...target,
        op: 'clamp-projection',
        vector: vector!,
        ...(min !== undefined && { min }),
        ...(max !== undefined && { max }),
      }
    }
    default:
      return edit satisfies never
  }
}

/** @throws CACHE_UNKNOWN, ACTIVATION_UNKNOWN, EDIT_INVALID */
function patchSource(
  { from, hookPoint }: Extract<EditInput, { op: 'patch' }>,
  { context: { host }, nInputs }: EditScope,
  path: string,
): PatchSource {
  if (from.cache === undefined) return { input: from.input! }
  const cached = host.cached(from.cache)
  if (!cached) throw new RequestError('CACHE_UNKNOWN', { cache: from.cache })
  const held = Object.hasOwn(cached.activations, hookPoint) ? cached.activations[hookPoint]! : undefined
  if (!held) throw new RequestError('ACTIVATION_UNKNOWN', { hookPoint, cache: from.cache, known: Object.keys(cached.activations) })

  const nRows = held.shape[0]!
  const invalid = (problem: string) => new EngineError('EDIT_INVALID', { path, problem })
  if (from.input !== undefined) {
    if (from.input >= nRows) throw invalid(`input ${from.input} is out of range; the cached run has inputs 0 to ${nRows - 1}`)
    return { values: takeRows(held, { axis: 0, indices: [from.input] }) }
  }
  if (nRows !== nInputs && nRows !== 1) {
    throw invalid(`the cached run has ${nRows} inputs and this request has ${nInputs}; choose one of them with "input"`)
  }
  return { values: held }
}
