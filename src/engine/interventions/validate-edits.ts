/**
 * Checks edits against the hook points of a tower: everything that is wrong with any of them, at once, each with its path.
 */

import { EngineError, type Problem } from '../errors.js'
import { elementCount } from '../tensor.js'
import { steeringVector } from './add.js'
import { checkContradictions } from './contradictions.js'
import type { Edit, PatchSource } from './edit.js'
import { Findings, type Found } from './findings.js'
import { selectHeads, selectPositions } from './selection.js'
import { type EditedTower, lastLength, type Place } from './technique.js'
import { techniques } from './techniques.js'
import { checkFeatures } from './validate-features.js'

export interface EditContext {
  /** Inputs of the request; `patch` refers to them. Absent: not known yet, and not checked. */
  readonly nInputs?: number
  /** Named in errors. */
  readonly model?: string
  /** Where the edits stand in the request. Default `edits`. */
  readonly path?: string
}

/**
 * @throws HOOK_POINT_UNKNOWN, POSITION_OUT_OF_RANGE, SHAPE_MISMATCH, SAE_MISFIT, EDIT_INVALID: the first problem's code, with all of them in `problems`
 */
export function validateEdits(edits: readonly Edit[], tower: EditedTower, context: EditContext = {}): void {
  const { path = 'edits' } = context
  const found = edits.flatMap((edit, index) => problemsOf(edit, tower, { ...context, path: `${path}[${index}]` }))
  if (found.length === 0) found.push(...contradictionsAmong(edits, tower, path))
  if (found.length === 0) return
  const problems: Problem[] = found.map(({ path: at, error }) => ({ path: at, message: error.message }))
  const first = found[0]!.error
  throw new EngineError(first.code, first.details, problems)
}

function contradictionsAmong(edits: readonly Edit[], tower: EditedTower, path: string): readonly Found[] {
  const findings = new Findings()
  checkContradictions(edits, tower, { findings, path })
  return findings.found
}

function problemsOf(edit: Edit, tower: EditedTower, context: EditContext & { readonly path: string }): Found[] {
  const { path, model = 'this model' } = context
  const findings = new Findings()
  const hookPoint = tower.hookPoints.find(({ name }) => name === edit.hookPoint)
  if (!hookPoint) {
    const known = tower.hookPoints.map(({ name }) => name)
    findings.check(`${path}.hookPoint`, () => {
      throw new EngineError('HOOK_POINT_UNKNOWN', { hookPoint: edit.hookPoint, model, known })
    })
    return findings.found
  }
  const place: Place = { hookPoint, tower }
  findings.check(`${path}.positions`, () => selectPositions(edit, place, path))
  findings.check(`${path}.heads`, () => selectHeads(edit, place, path))
  checkOperation(edit, place, { findings, path, model, nInputs: context.nInputs })
  return findings.found
}

interface Checking {
  readonly findings: Findings
  readonly path: string
  readonly model: string
  readonly nInputs: number | undefined
}

function checkOperation(edit: Edit, place: Place, checking: Checking): void {
  const { findings, path } = checking
  switch (edit.op) {
    case 'add':
      findings.refuseIf(
        edit.unit !== 'raw' && edit.unit !== 'norm',
        `${path}.unit`,
        `"${String(edit.unit)}" is not a unit; expected "raw" or "norm"`,
      )
      findings.checkNumber(edit.strength, `${path}.strength`)
      if (checkVector(edit.vector, place, { ...checking, asDirection: edit.unit === 'norm' }) && Number.isFinite(edit.strength)) {
        const overflows = findOdd(steeringVector(edit)) >= 0
        findings.refuseIf(overflows, `${path}.strength`, `${edit.strength} times the vector is more than float32 holds`)
      }
      return
    case 'set':
      if ('vector' in edit) checkVector(edit.vector, place, { ...checking, asDirection: false })
      else findings.checkNumber(edit.value, `${path}.value`)
      return
    case 'scale':
      findings.checkNumber(edit.strength, `${path}.strength`)
      return
    case 'zero':
      return
    case 'mean':
      if (edit.vector) checkVector(edit.vector, place, { ...checking, asDirection: false })
      return
    case 'project-out':
      checkVector(edit.vector, place, { ...checking, asDirection: true })
      return
    case 'clamp-projection':
      checkVector(edit.vector, place, { ...checking, asDirection: true })
      findings.checkBounds(edit, path)
      return
    case 'patch':
      checkSource(edit.source, place, checking)
      return
    case 'feature-add':
    case 'feature-set':
    case 'feature-scale':
    case 'feature-clamp':
    case 'feature-ablate':
    case 'reconstruct':
      checkFeatures(edit, place, checking)
      return
    default: {
      const { op } = edit satisfies never as { op: string }
      findings.refuseIf(true, `${path}.op`, `"${op}" is not an operation; expected one of ${Object.keys(techniques).join(', ')}`)
    }
  }
}

/** A direction is divided by its length. @returns whether the vector is good */
function checkVector(
  vector: Float32Array,
  place: Place,
  { findings, path, asDirection }: Checking & { readonly asDirection: boolean },
): boolean {
  const { hookPoint } = place
  const before = findings.found.length
  const length = lastLength(place)
  const axis = hookPoint.axes.at(-1)
  const problem = !(vector instanceof Float32Array)
    ? 'expected float32 numbers'
    : vector.length !== length
      ? `it has ${vector.length} numbers; ${hookPoint.name} needs ${length}, the length of its last axis (${axis})`
      : describeOdd(vector)
  findings.refuseIf(problem !== undefined, `${path}.vector`, problem ?? '')
  const isZero = problem === undefined && asDirection && vector.every((value) => value === 0)
  findings.refuseIf(isZero, `${path}.vector`, 'it is zero, so it has no direction')
  return findings.found.length === before
}

/** The place of the first element that is no finite number, or -1. */
function findOdd(values: Float32Array): number {
  for (let at = 0; at < values.length; at++) if (!Number.isFinite(values[at])) return at
  return -1
}

function describeOdd(values: Float32Array): string | undefined {
  const at = findOdd(values)
  return at < 0 ? undefined : `its element ${at} is ${values[at]}; expected finite numbers`
}

function checkSource(source: PatchSource, { hookPoint }: Place, { findings, path, nInputs }: Checking): void {
  if ('input' in source) {
    const { input } = source
    const at = `${path}.source.input`
    const isIndex = Number.isInteger(input) && input >= 0
    findings.refuseIf(!isIndex, at, `it is ${input}; expected a whole number, 0 or more`)
    const isOutside = isIndex && nInputs !== undefined && input >= nInputs
    findings.refuseIf(isOutside, at, `input ${input} is out of range; this request has inputs 0 to ${(nInputs ?? 0) - 1}`)
    return
  }
  const at = `${path}.source.values`
  const { shape, data } = source.values
  const [nRows, ...rest] = shape
  const nWanted = nInputs === undefined || nInputs === 1 ? [nRows] : [1, nInputs]
  const fits = shape.length === hookPoint.shape.length && rest.every((length, axis) => length === hookPoint.shape[axis + 1])
  const isRight = fits && nRows !== undefined && nRows >= 1 && nWanted.includes(nRows) && data.length === elementCount(shape)
  if (!isRight) {
    const expected = [nInputs === undefined || nInputs === 1 ? 1 : `1 or ${nInputs}`, ...hookPoint.shape.slice(1)]
    findings.check(at, () => {
      throw new EngineError('SHAPE_MISMATCH', { what: at, expected, actual: shape })
    })
    return
  }
  findings.refuseIf(data.some(Number.isNaN), at, 'it holds NaN')
}
