/**
 * Which part of a hook point an edit applies to: `positions` and `heads` as indices along its axes, and as the mask that the graph reads.
 */

import { EngineError } from '../errors.js'
import type { Axis } from '../graph/graph.js'
import { isVision, nPrefixTokens } from '../hook-points.js'
import { elementCount } from '../tensor.js'
import type { Edit } from './edit.js'
import type { Operand, Place } from './technique.js'

/** Axes that `positions` selects along; on attention scores and patterns, the query's. */
const positionAxes: readonly Axis[] = ['pos', 'patch', 'qPos']

/** Rows along one axis of the hook point. */
export interface AxisSelection {
  /** 0 is the batch axis. */
  readonly axis: number
  readonly indices: readonly number[]
}

/**
 * @param path  of the edit, for errors
 * @returns     undefined for all positions
 * @throws      EDIT_INVALID, POSITION_OUT_OF_RANGE
 */
export function selectPositions({ positions = 'all' }: Edit, { hookPoint, tower }: Place, path: string): AxisSelection | undefined {
  if (positions === 'all') return undefined
  const refuse = (problem: string) =>
    new EngineError('EDIT_INVALID', { path: `${path}.positions`, problem: `${problem} (${hookPoint.name})` })
  const axis = hookPoint.axes.findIndex((name) => positionAxes.includes(name))
  if (axis < 0) throw refuse(`this hook point has no positions: its axes are ${hookPoint.axes.join(', ')}`)
  const length = hookPoint.shape[axis] as number
  if (isMask(positions)) {
    if (positions.length !== length) throw refuse(`the mask has ${positions.length} truth values, and there are ${length} positions`)
    const indices = positions.flatMap((isChosen, position) => (isChosen ? [position] : []))
    if (indices.length === 0) throw refuse('the mask chooses no position, so the edit would apply nowhere')
    return { axis, indices }
  }
  if (Array.isArray(positions)) {
    const outside = (positions as readonly unknown[]).find((position) => !isIndex(position, length))
    if (typeof outside === 'number')
      throw new EngineError('POSITION_OUT_OF_RANGE', { path: `${path}.positions`, position: outside, length })
    const problem = listProblem(positions, outside)
    if (problem) throw refuse(problem)
    return { axis, indices: positions as readonly number[] }
  }
  if (positions !== 'cls' && positions !== 'patches') throw refuse(`expected "all", "cls", "patches" or a list of whole numbers`)
  if (!isVision(tower.config)) throw refuse(`"${positions}" is for pictures; in a text tower, give indices`)
  const hasPatchesOnly = hookPoint.axes[axis] === 'patch'
  if (positions === 'patches') {
    const first = hasPatchesOnly ? 0 : nPrefixTokens(tower.config)
    return { axis, indices: Array.from({ length: length - first }, (_, patch) => first + patch) }
  }
  if (hasPatchesOnly) throw refuse('"cls" selects nothing: this hook point has only patches')
  if (!tower.config.hasCls) throw refuse('"cls" selects nothing: this model has no CLS token')
  return { axis, indices: [0] }
}

/** @returns undefined for all heads. @throws EDIT_INVALID */
export function selectHeads({ heads }: Edit, { hookPoint }: Place, path: string): AxisSelection | undefined {
  if (heads === undefined) return undefined
  const refuse = (problem: string) => new EngineError('EDIT_INVALID', { path: `${path}.heads`, problem: `${problem} (${hookPoint.name})` })
  const axis = hookPoint.axes.indexOf('head')
  if (axis < 0) throw refuse(`this hook point has no head axis: its axes are ${hookPoint.axes.join(', ')}`)
  const nHeads = hookPoint.shape[axis] as number
  if (!Array.isArray(heads)) throw refuse('expected a list of whole numbers')
  const outside = (heads as readonly unknown[]).find((head) => !isIndex(head, nHeads))
  if (typeof outside === 'number') throw refuse(`head ${outside} is out of range; there are heads 0 to ${nHeads - 1}`)
  const problem = listProblem(heads, outside)
  if (problem) throw refuse(problem)
  return { axis, indices: heads }
}

/** True where the edit applies, over the axes it selects along; broadcasts with the hook point's value. */
export function maskOperand(edit: Edit, place: Place, path: string): Operand<'bool'> {
  const selections = [selectPositions(edit, place, path), selectHeads(edit, place, path)]
  const selecting = ['head', ...positionAxes]
  const rowShape = place.hookPoint.shape
    .slice(1)
    .map((length, at) => (selecting.includes(place.hookPoint.axes[at + 1]!) ? Number(length) : 1))
  const data = new Uint8Array(elementCount(rowShape)).fill(1)
  for (const selection of selections) if (selection) keepOnly(data, rowShape, { ...selection, axis: selection.axis - 1 })
  return { role: 'perRow', dtype: 'bool', rowShape, data }
}

function keepOnly(mask: Uint8Array, shape: readonly number[], { axis, indices }: AxisSelection): void {
  const kept = new Set(indices)
  const after = elementCount(shape.slice(axis + 1))
  for (let at = 0; at < mask.length; at++) if (!kept.has(Math.floor(at / after) % shape[axis]!)) mask[at] = 0
}

const isMask = (positions: NonNullable<Edit['positions']>): positions is readonly boolean[] =>
  Array.isArray(positions) && positions.length > 0 && positions.every((each) => typeof each === 'boolean')

function isIndex(value: unknown, length: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < length
}

function listProblem(indices: readonly unknown[], outside: unknown): string | undefined {
  if (outside !== undefined) return 'expected whole numbers'
  if (indices.length === 0) return 'the list is empty, so the edit would apply nowhere'
  const repeated = indices.find((index, at) => indices.indexOf(index) !== at)
  return repeated === undefined ? undefined : `${String(repeated)} is there twice`
}
