/**
 * From targets as a user names them to directions along a model's output. A text is what zero-shot classification makes of a label: the
 * embeddings of its prompts averaged, of length 1.
 */

import type { ModelRecord } from '../catalog/catalog.js'
import type { Target } from '../engine/analyses/targets.js'
import { EngineError } from '../engine/errors.js'
import { nearest } from '../engine/nearest.js'
import { embedLabels } from './classify.js'
import { Problems, RequestError } from './errors.js'
import { fixedLimits } from './limits.js'
import type { Call, Context } from './operation.js'
import type { TargetInput, TargetSide } from './schemas/target.js'

/** A class by its index, or a text. */
type Side = { readonly label: string } & (
  | { readonly classIndex: number }
  | { readonly text: string; readonly templates: readonly string[] }
)

type Named = { readonly label: string; readonly sides: readonly Side[] } | { readonly label: string; readonly direction: Float32Array }

/** Targets that a model can answer; `resolveTargets` makes directions of them. */
export interface CheckedTargets {
  readonly model: ModelRecord
  readonly named: readonly Named[]
}

export interface TargetScope {
  readonly model: ModelRecord
  /** Of the targets within the request. */
  readonly path?: string
}

/**
 * Everything that can be known without running. Problems go to `problems`, at `targets[0].text` and the like; what is returned is for
 * `resolveTargets` when there were none.
 */
export function checkTargets(
  targets: readonly TargetInput[],
  { model, path = 'targets' }: TargetScope,
  problems: Problems,
): CheckedTargets {
  const { output } = model.description.vision
  if (output.axes.length !== 2) {
    problems.add(path, refusal(path, `${model.id} does not pool: its answer has a row for each position, and no one score for an image`))
    return { model, named: [] }
  }
  const named = targets.flatMap((target, index) => {
    const at = `${path}[${index}]`
    return problems.collect(at, () => namedTarget(target, { model, path: at })) ?? []
  })
  checkPrompts(named, path, problems)
  return { model, named }
}

/** Texts that were not asked for before go through the text tower. */
export async function resolveTargets(context: Context, { model, named }: CheckedTargets, call: Call): Promise<Target[]> {
  const sides = named.flatMap((each) => ('sides' in each ? each.sides : []))
  const embeddings = await embedSides(context, { model, sides }, call)
  const width = model.description.vision.output.shape[1] as number
  const directionOf = (side: Side) => ('text' in side ? embeddings.get(side)! : unitVector(width, side.classIndex))
  return named.map((each): Target => {
    if ('direction' in each) return each
    const [first, second] = each.sides.map(directionOf) as [Float32Array, Float32Array?]
    return { label: each.label, direction: second ? first.map((value, index) => value - second[index]!) : first }
  })
}

/** @throws INPUT_INVALID, with all problems of the target */
function namedTarget(target: TargetInput, { model, path }: { readonly model: ModelRecord; readonly path: string }): Named {
  if ('direction' in target) return ownDirection(target, { model, path })
  if (!('difference' in target)) return single(sideOf(target, { model, path }))
  const problems = new Problems()
  const sides = target.difference.flatMap((side, index) => {
    const at = `${path}.difference[${index}]`
    return problems.collect(at, () => sideOf(side, { model, path: at })) ?? []
  })
  problems.throwIfAny()
  const [a, b] = sides as [Side, Side]
  if (JSON.stringify(a) === JSON.stringify(b)) {
    throw refusal(`${path}.difference`, `is of ${JSON.stringify(a.label)} and itself, which is 0 for every image`)
  }
  return { label: `${a.label} minus ${b.label}`, sides }
}

const single = (side: Side): Named => ({ label: side.label, sides: [side] })

function ownDirection(
  { direction, label = 'direction' }: Extract<TargetInput, { direction: unknown }>,
  { model, path }: { readonly model: ModelRecord; readonly path: string },
): Named {
  const width = model.description.vision.output.shape[1] as number
  if (direction.length !== width) {
    throw refusal(`${path}.direction`, `has ${direction.length} numbers, and the output of ${model.id} has ${width}`)
  }
  if (direction.every((value) => value === 0)) throw refusal(`${path}.direction`, 'is zero, and so would be every score')
  return { label, direction: Float32Array.from(direction) }
}

function sideOf(side: TargetSide, { model, path }: { readonly model: ModelRecord; readonly path: string }): Side {
  if ('class' in side) {
    const classIndex = indexOfClass(side.class, model, `${path}.class`)
    return { label: model.description.classLabels?.[classIndex] ?? String(classIndex), classIndex }
  }
  if (!model.description.text) {
    const instead = hasClasses(model)
      ? 'name one of its classes: {"class": ...}'
      : 'give a direction along its output: {"direction": [...]}'
    throw refusal(`${path}.text`, `${model.id} has no text tower; ${instead}`)
  }
  return { label: side.text, text: side.text, templates: side.templates ?? ['{}'] }
}

const hasClasses = ({ description: { vision } }: ModelRecord) => 'patchSize' in vision.config && vision.config.head.kind === 'classes'

function indexOfClass(name: string | number, model: ModelRecord, path: string): number {
  if (!hasClasses(model)) {
    const instead = model.description.text ? 'name a text: {"text": ...}' : 'give a direction along its output: {"direction": [...]}'
    throw refusal(path, `${model.id} is no classifier and has no classes of its own; ${instead}`)
  }
  const nClasses = model.description.vision.output.shape[1] as number
  if (typeof name === 'number') {
    if (name < nClasses) return name
    throw refusal(path, `${name} is out of range; ${model.id} has classes 0 to ${nClasses - 1}`)
  }
  const labels = model.description.classLabels
  if (!labels) throw refusal(path, `the classes of ${model.id} have no names; give an index from 0 to ${nClasses - 1}`)
  const found = labels.flatMap((label, index) => (label === name ? [index] : []))
  if (found.length === 1) return found[0]!
  if (found.length > 1) throw refusal(path, `${found.length} classes are called "${name}": ${found.slice(0, 5).join(', ')}; give an index`)
  const near = nearest(name.slice(0, 200), labels).map((label) => `"${label}"`)
  const hint = near.length > 0 ? `did you mean ${near.join(' or ')}?` : `its classes are 0 to ${nClasses - 1}`
  throw refusal(path, `${model.id} has no class "${name.slice(0, 100)}"; ${hint}`)
}

/** Texts times templates, of all targets together. */
function checkPrompts(named: readonly Named[], path: string, problems: Problems): void {
  const sides = named.flatMap((each) => ('sides' in each ? each.sides : []))
  const given = sides.reduce((sum, side) => sum + ('text' in side ? side.templates.length : 0), 0)
  const maximum = fixedLimits.prompts
  if (given <= maximum) return
  const about = { limit: 'prompts', given, maximum, what: 'texts times templates', instead: 'Use fewer templates.' } as const
  problems.add(path, new RequestError('LIMIT_EXCEEDED', about))
}

/** Texts of equal templates are embedded together. */
async function embedSides(
  context: Context,
  { model, sides }: { readonly model: ModelRecord; readonly sides: readonly Side[] },
  call: Call,
): Promise<Map<Side, Float32Array>> {
  const byTemplates = new Map<string, Extract<Side, { text: string }>[]>()
  for (const side of sides) {
    if (!('text' in side)) continue
    const key = JSON.stringify(side.templates)
    byTemplates.set(key, [...(byTemplates.get(key) ?? []), side])
  }
  const embeddings = new Map<Side, Float32Array>()
  for (const group of byTemplates.values()) {
    const labels = [...new Set(group.map(({ text }) => text))]
    const { shape, data } = await embedLabels(context, { model, labels, templates: group[0]!.templates }, call)
    const width = shape[1]!
    for (const side of group) {
      const row = labels.indexOf(side.text)
      embeddings.set(side, data.slice(row * width, (row + 1) * width))
    }
  }
  return embeddings
}

function unitVector(width: number, index: number): Float32Array {
  const vector = new Float32Array(width)
  vector[index] = 1
  return vector
}

function refusal(path: string, problem: string): EngineError {
  return new EngineError('INPUT_INVALID', { path, problem }, [{ path, message: problem }])
}
