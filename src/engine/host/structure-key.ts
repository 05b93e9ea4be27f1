/**
 * What a request's compiled program depends on, as a short string made without building anything: requests of equal key have equal
 * graphs. Vectors, strengths, positions, heads, pixels and texts are inputs of the graph and leave no trace in it.
 */

import { editStructure } from '../interventions/apply-edits.js'
import type { Edit } from '../interventions/edit.js'
import { techniques } from '../interventions/techniques.js'
import type { TowerName } from '../models/model.js'
import type { Structure } from './engine-worker-calls.js'
import type { RunInputs, RunRequest, SaeRead } from './host.js'

/** What the worker runs: a run that is read at hook points, by SAEs, or both. */
export interface EngineRequest extends RunRequest {
  /** Default true. */
  readonly output?: boolean
  readonly saes?: readonly SaeRead[]
}

/** A structure and, where its requests may share a run with others of the same structure, the key by which they do. */
export interface RequestStructure extends Structure {
  readonly mergeKey: string | undefined
}

/** @param request  what is asked; nothing of it is checked here */
export function structureOf({ model, inputs, read, edits, output = true, saes = [], editSaes = [] }: EngineRequest): RequestStructure {
  const tower = towerOf(inputs)
  const names = [...new Set(read)].sort()
  const readers = saes.map(({ sae, positions, latents, topK, imageTopK }) => {
    return [sae.key, positions !== undefined, topK, imageTopK, latents !== undefined]
  })
  const key = JSON.stringify([tower, names, structureOfEdits(edits), output, readers, editSaes.map((sae) => sae.key)])
  const structure: Structure = { key, model: model.key, tower, read: names, edits, editSaes, output, saes, nRows: rowsOf(inputs) }
  const selected = saes.length > 0 ? JSON.stringify(saes.map(({ positions, latents }) => [positions, latents])) : ''
  return { ...structure, mergeKey: `${model.key} ${key}${selected}` }
}

export function towerOf(inputs: RunInputs): TowerName {
  return inputs.kind === 'text' ? 'text' : 'vision'
}

/** How many inputs a request has: rows of the batch axis. */
export function rowsOf(inputs: RunInputs): number {
  if (inputs.kind === 'text') return inputs.texts.length
  return inputs.kind === 'pictures' ? inputs.pictures.length : (inputs.pixels.shape[0] ?? 0)
}

/** Edits of an operation that does not exist are told apart by their names; the check of edits refuses them. */
function structureOfEdits(edits: readonly Edit[]): string {
  return edits.every(({ op }) => Object.hasOwn(techniques, op)) ? editStructure(edits) : JSON.stringify(edits.map(({ op }) => op))
}
