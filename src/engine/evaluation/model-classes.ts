/** Classes by their names, as a model tells pictures apart by them: texts where it has a text tower, its own logits where it is a classifier. */

import type { Backend } from '../backends/backend.js'
import { inWords } from '../datasets/facets.js'
import { EngineError } from '../errors.js'
import type { LoadedModel } from '../models/load.js'
import type { Classes } from './class-scores.js'
import { textClasses } from './text-classes.js'

export interface ModelClasses {
  readonly classes: Classes
  /** In the order of the scores. */
  readonly names: readonly string[]
  /** Of each name that was given, its place in `names`. */
  readonly classOf: readonly number[]
}

export interface ModelClassesOptions {
  readonly names: readonly string[]
  /** With `{}` where the name goes; for texts. */
  readonly templates: readonly string[]
  /** Of the field that the names are from, for refusals. */
  readonly path: string
}

/** @throws INPUT_INVALID when a classifier has other classes; what `textClasses` throws */
export async function modelClasses(
  backend: Backend,
  model: LoadedModel,
  { names, templates, path }: ModelClassesOptions,
): Promise<ModelClasses> {
  if (model.towers.text) {
    const classes = await textClasses(backend, model, { names, templates })
    return { classes, names, classOf: names.map((_, index) => index) }
  }
  return { classes: { kind: 'logits' }, ...amongOwn(model, names, path) }
}

const MAX_SHOWN = 3

/** A classifier's label may be several names with commas between them: `tench, Tinca tinca`. */
function amongOwn({ description }: LoadedModel, names: readonly string[], path: string): Pick<ModelClasses, 'names' | 'classOf'> {
  const refuse = (problem: string) => new EngineError('INPUT_INVALID', { path, problem })
  const { classLabels } = description
  if (!classLabels || description.vision.config.head.kind !== 'classes') {
    throw refuse('the model has neither a text tower nor classes with names, so there is nothing to compare with.')
  }
  const known = new Map<string, number>()
  // from the end: of two with the same name the first counts
  for (let index = classLabels.length - 1; index >= 0; index--) {
    const label = classLabels[index]!
    for (const name of [...label.split(','), label]) known.set(inWords(name), index)
  }
  const unknown = names.filter((name) => !known.has(inWords(name)))
  if (unknown.length > 0) {
    const shown = unknown.slice(0, MAX_SHOWN).map((name) => `"${name}"`)
    const more = unknown.length > MAX_SHOWN ? ` and ${unknown.length - MAX_SHOWN} more` : ''
    throw refuse(`${shown.join(', ')}${more}: the model has no such class.`)
  }
  return { names: classLabels, classOf: names.map((name) => known.get(inWords(name))!) }
}
