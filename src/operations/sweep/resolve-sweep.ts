/**
 * From a sweep as a user asks for it to what is computed: directions with their numbers, targets, the choices of positions. Everything that can be
 * refused without running is, at once.
 */

import type { ModelRecord } from '../../catalog/catalog.js'
import { saeSource } from '../../catalog/sae-source.js'
import type { SweepPlace, SweepTarget } from '../../engine/analyses/steering/sweep-contract.js'
import type { SoughtDirection, SweepSettings } from '../../engine/analyses/steering/sweep-plan.js'
import type { Target } from '../../engine/analyses/targets.js'
import { EngineError } from '../../engine/errors.js'
import type { SaeSource } from '../../engine/host/host.js'
import { steeringVector } from '../../engine/interventions/add.js'
import { selectHeads, selectPositions } from '../../engine/interventions/selection.js'
import { writtenHookPoint } from '../../engine/interventions/spliced-sae.js'
import type { Place } from '../../engine/interventions/technique.js'
import { validateEdits } from '../../engine/interventions/validate-edits.js'
import { fitProblems } from '../../engine/saes/fit-model.js'
import { lengthOf } from '../../engine/vectors.js'
import { checkClassify } from '../classify.js'
import { largestActivation, vectorOf } from '../edits/edit-vectors.js'
import { Problems } from '../errors.js'
import { type DownloadedSae, findDownloadedSae } from '../feature-facts/find-feature.js'
import type { Call, Context } from '../operation.js'
import { type CheckedTargets, checkTargets, resolveTargets } from '../resolve-targets.js'
import { DEFAULT_CONTROLS, type SweepRequest } from '../schemas/sweep.js'
import type { TargetInput } from '../schemas/target.js'
import { findVector } from '../vectors.js'

export interface ResolvedSweep extends Omit<SweepSettings, 'nImages' | 'nCollateral'> {
  readonly model: ModelRecord
  /** As the request has it. */
  readonly unitName: string
  readonly labels: readonly string[]
  /** How long what a strength of 1 adds is. */
  readonly norms: readonly number[]
  /** That directions name by their places. */
  readonly saes: readonly SaeSource[]
}

interface Scope {
  readonly model: ModelRecord
  readonly context: Context
  readonly call: Call
  readonly problems: Problems
  /** Before the names of fields: `input.` in a job. */
  readonly at: string
}

/** @throws all problems at once */
export async function resolveSweep(
  context: Context,
  request: SweepRequest,
  { model, at = '', call }: { readonly model: ModelRecord; readonly at?: string; readonly call: Call },
): Promise<ResolvedSweep> {
  const { op = 'add', unit = 'raw', strengths, positions = ['all'], heads, controls = DEFAULT_CONTROLS, seed = 0 } = request
  const scope: Scope = { model, context, call, problems: new Problems(), at }
  const refuse = (path: string, problem: string) => scope.problems.add(`${at}${path}`, invalid(`${at}${path}`, problem))
  if (op !== 'add' && unit === 'norm')
    refuse('unit', '"norm" is of directions that are added; strengths of features are "raw" or in "maxActivation"')

  const found = await Promise.all(request.directions.map((_, index) => findDirection(request, index, scope)))
  const ownHeads = op === 'add' ? [] : [...new Set(found.map(headOf))]
  if (ownHeads.length > 1)
    refuse('directions', `are of SAEs of several heads (${ownHeads.map((head) => head ?? 'all').join(', ')}); sweep one at a time`)
  const used = ownHeads[0] === undefined ? heads : [ownHeads[0]]
  const places = positions.map((each): SweepPlace => ({ positions: each, ...(used && { heads: used }) }))
  checkPlaces(request, found, scope)
  const checked = checkAnswers(request, scope)
  for (const [index, each] of found.entries()) if (each) checkStrengths(request, { index, found: each }, scope)
  scope.problems.throwIfAny()

  const sound = found as Found[]
  const saes = op === 'add' ? [] : distinct(sound.map(({ sae }) => saeSource(sae!)))
  const { targets, answers } = await resolveAnswers(context, checked, call)
  return {
    ...{ model, op, unit: unit === 'norm' ? 'norm' : 'raw', unitName: unit, strengths, places, targets, nControls: controls, seed, saes },
    ...(answers && { answers }),
    directions: sound.map(({ sought, sae }): SoughtDirection => {
      return { ...sought, ...(op !== 'add' && { sae: saes.findIndex(({ key }) => key === saeSource(sae!).key) }) }
    }),
    labels: request.directions.map(({ label, vector }, index) => label ?? labelOf(vector, index)),
    norms: sound.map(({ sought: { vector, factor = 1 } }) => (unit === 'norm' ? 1 : lengthOf(vector) * factor)),
  }
}

function distinct(sources: readonly SaeSource[]): SaeSource[] {
  return [...new Map(sources.map((source) => [source.key, source])).values()]
}

function labelOf(vector: SweepRequest['directions'][number]['vector'], index: number): string {
  if (Array.isArray(vector)) return `direction ${index}`
  if ('id' in vector) return vector.id
  if ('text' in vector) return vector.minus === undefined ? `"${vector.text}"` : `"${vector.text}" minus "${vector.minus}"`
  return 'difference' in vector ? `difference ${index}` : `${vector.sae}/${vector.feature}`
}

interface Found {
  readonly sought: SoughtDirection
  readonly sae?: DownloadedSae
}

/** Undefined where there are problems with it. */
async function findDirection(request: SweepRequest, index: number, scope: Scope): Promise<Found | undefined> {
  const path = `${scope.at}directions[${index}]`
  try {
    return await directionOf(request, request.directions[index]!, { ...scope, path })
  } catch (error) {
    scope.problems.collect(`${path}.vector`, () => {
      throw error
    })
    return undefined
  }
}

async function directionOf(
  { op = 'add', unit, positions = ['all'], heads }: SweepRequest,
  { vector, hookPoint }: SweepRequest['directions'][number],
  { model, context, call, at, path }: Scope & { readonly path: string },
): Promise<Found> {
  const isFeature = !Array.isArray(vector) && 'sae' in vector
  if (op !== 'add' && !isFeature) throw invalid(`${path}.vector`, `"${op}" is of features; the vector is {"sae": ..., "feature": ...} then`)
  const sae = isFeature ? await findDownloadedSae(context.catalog, vector.sae) : undefined
  const config = sae?.download.description.config
  const stored = !Array.isArray(vector) && 'id' in vector ? await findVector(context.catalog, vector.id) : undefined
  const where = hookPoint ?? stored?.hookPoint ?? (config && writtenHookPoint(config))
  if (where === undefined) throw invalid(`${path}.hookPoint`, 'is missing: say where this is added')
  if (!Array.isArray(vector) && 'difference' in vector && positions.length > 1) {
    throw invalid(`${path}.vector`, 'a difference of images is taken at the positions where it is added; ask for one choice of "positions"')
  }
  const place = { hookPoint: where, positions: positions[0]!, ...(heads && { heads }) }
  const values = await vectorOf(context, vector, { model: model.id, path: `${path}.vector`, place, call })
  const most = unit === 'maxActivation' ? await largestActivation(context, vector, `${at}unit`) : 1
  if (op === 'add') {
    const scaled = most === 1 ? values : values.map((value) => value * most)
    return { sought: { vector: scaled, hookPoint: where }, ...(sae && { sae }) }
  }
  if (where !== writtenHookPoint(config!)) {
    throw invalid(`${path}.hookPoint`, `is ${where}, and ${sae!.id} writes ${writtenHookPoint(config!)}: features are moved there`)
  }
  const misfit = fitProblems(config!, model.description.vision.hookPoints)
  if (misfit.length > 0) throw new EngineError('SAE_MISFIT', { sae: sae!.id, model: model.id, problems: misfit })
  const { latent, factor } = { latent: (vector as { feature: number }).feature, factor: most }
  return { sae: sae!, sought: { vector: values, hookPoint: where, latent, factor } }
}

/** Positions and heads, at every hook point that something is added at. */
function checkPlaces(
  { positions = ['all'], heads, op = 'add' }: SweepRequest,
  found: readonly (Found | undefined)[],
  { model, problems, at }: Scope,
): void {
  const tower = model.description.vision
  const names = new Set(found.flatMap((each) => (each ? [each.sought.hookPoint] : [])))
  for (const name of names) {
    const hookPoint = tower.hookPoints.find((each) => each.name === name)
    if (!hookPoint) continue // told of with its direction
    const place: Place = { hookPoint, tower }
    for (const [index, each] of positions.entries()) {
      collectAs(problems, { from: 'x.positions', to: `${at}positions[${index}]` }, () =>
        selectPositions({ hookPoint: name, op: 'zero', positions: each }, place, 'x'),
      )
    }
    if (heads) {
      collectAs(problems, { from: 'x.heads', to: `${at}heads` }, () => selectHeads({ hookPoint: name, op: 'zero', heads }, place, 'x'))
    }
  }
  const ofOneHead = found.find((each) => headOf(each) !== undefined)
  if (heads && op !== 'add' && ofOneHead) {
    problems.add(`${at}heads`, invalid(`${at}heads`, `${ofOneHead.sae!.id} is of head ${headOf(ofOneHead)}, where its features are moved`))
  }
}

const headOf = (found: Found | undefined) => found?.sae?.download.description.config.headIndex

/** That the vector fits the hook point, and that no strength takes it beyond float32. */
function checkStrengths(
  { strengths, op = 'add', unit }: SweepRequest,
  { index, found }: { index: number; found: Found },
  scope: Scope,
): void {
  const { model, problems, at } = scope
  const { vector, hookPoint, factor = 1 } = found.sought
  if (op === 'add') {
    const edit = { hookPoint, op, vector, strength: 0, unit: unit === 'norm' ? 'norm' : 'raw' } as const
    const before = problems.any
    collectAs(problems, { from: 'x[0]', to: `${at}directions[${index}]` }, () =>
      validateEdits([edit], model.description.vision, { path: 'x', model: model.id }),
    )
    if (problems.any && !before) return
  }
  const most = vector.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
  for (const [which, strength] of strengths.entries()) {
    const isTooMuch =
      op === 'add'
        ? !steeringVector({ hookPoint, op, vector, strength, unit: unit === 'norm' ? 'norm' : 'raw' }).every(Number.isFinite)
        : !Number.isFinite(Math.fround(strength * factor * Math.max(most, 1)))
    if (!isTooMuch) continue
    const path = `${at}strengths[${which}]`
    problems.add(path, invalid(path, `${strength} times directions[${index}] is more than float32 holds`))
  }
}

interface CheckedAnswers {
  readonly targets: CheckedTargets
  readonly labels?: CheckedTargets
  readonly isClassifier: boolean
}

function checkAnswers({ targets, classify }: SweepRequest, { model, problems, at }: Scope): CheckedAnswers {
  const { config } = model.description.vision
  const isClassifier = 'head' in config && config.head.kind === 'classes'
  if (classify) problems.collect(`${at}classify`, () => checkClassify(classify, model))
  if (!targets && !classify) {
    const instead = model.description.text ? 'or labels to classify by ("classify")' : ''
    problems.add(`${at}targets`, invalid(`${at}targets`, `are missing: say what is asked of the answer ("targets") ${instead}`.trimEnd()))
  }
  const inputs = classify && model.description.text ? labelTargets(classify) : undefined
  const labels = inputs && checkTargets(inputs, { model, path: `${at}classify.labels` }, problems)
  const asked = targets ?? inputs ?? []
  return {
    targets: checkTargets(asked, { model, path: `${at}targets` }, problems),
    ...(labels && { labels }),
    isClassifier,
  }
}

function labelTargets({ labels, template, templates }: NonNullable<SweepRequest['classify']>): TargetInput[] {
  const used = templates ?? (template === undefined ? undefined : [template])
  return labels.map((text) => ({ text, ...(used && { templates: used }) }))
}

/** A target is one of the answers when it is along the same direction. */
async function resolveAnswers(
  context: Context,
  { targets: asked, labels, isClassifier }: CheckedAnswers,
  call: Call,
): Promise<{ targets: SweepTarget[]; answers?: 'classes' | readonly Target[] }> {
  const targets = await resolveTargets(context, asked, call)
  const answers = labels ? await resolveTargets(context, labels, call) : isClassifier ? 'classes' : undefined
  if (!answers) return { targets }
  const answerOf = ({ direction }: Target) =>
    answers === 'classes'
      ? classOf(direction)
      : answers.findIndex((answer) => answer.direction.every((value, at) => value === direction[at]))
  return {
    answers,
    targets: targets.map((target): SweepTarget => {
      const answer = answerOf(target)
      return answer < 0 ? target : { ...target, answer }
    }),
  }
}

/** Of a direction that is 1 along one class and 0 along all others. */
function classOf(direction: Float32Array): number {
  const first = direction.findIndex((value) => value !== 0)
  return direction[first] === 1 && direction.subarray(first + 1).every((value) => value === 0) ? first : -1
}

const invalid = (path: string, problem: string) => new EngineError('INPUT_INVALID', { path, problem }, [{ path, message: problem }])

/** What engine functions refuse, under the names that the request has for it. */
function collectAs(problems: Problems, { from, to }: { readonly from: string; readonly to: string }, check: () => unknown): void {
  try {
    check()
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    const found = error.problems.length > 0 ? error.problems : [{ path: from, message: error.message }]
    for (const { path, message } of found) {
      const at = path.replace(from, to)
      const told = message.replaceAll(path, at).replace(`${at}: `, '')
      problems.add(at, error.code === 'EDIT_INVALID' ? new EngineError('EDIT_INVALID', { path: at, problem: told }) : error, told)
    }
  }
}
