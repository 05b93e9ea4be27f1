/**
 * What `positions` and `heads` of a request keep of a hook point that is read: the same selection as an edit's, refused as input.
 */

import { EngineError } from '../engine/errors.js'
import type { PositionSelector } from '../engine/interventions/edit.js'
import { type AxisSelection, selectHeads, selectPositions } from '../engine/interventions/selection.js'
import type { HookPointInfo, TowerDescription } from '../engine/models/model.js'
import { allocate, elementCount, type Tensor } from '../engine/tensor.js'
import type { Problems } from './errors.js'

export interface RowSelector {
  readonly positions?: PositionSelector
  readonly heads?: readonly number[]
}

export interface SelectionPlace {
  readonly hookPoint: HookPointInfo
  readonly tower: TowerDescription
  readonly problems: Problems
  /** Of the positions in the request. */
  readonly path?: string
}

/** Problems go to `problems`. */
export function selectRows(
  { positions, heads }: RowSelector,
  { hookPoint, tower, problems, path = 'positions' }: SelectionPlace,
): AxisSelection[] {
  const place = { hookPoint, tower }
  const edit = { hookPoint: hookPoint.name, op: 'zero', ...(positions !== undefined && { positions }), ...(heads && { heads }) } as const
  const selections = [
    problems.collect(path, () => asInput(path, () => selectPositions(edit, place, ''))),
    problems.collect('heads', () => asInput('heads', () => selectHeads(edit, place, ''))),
  ]
  return selections.filter((selection) => selection !== undefined)
}

function asInput<T>(path: string, select: () => T): T {
  try {
    return select()
  } catch (error) {
    if (error instanceof EngineError && error.code === 'EDIT_INVALID') {
      throw new EngineError('INPUT_INVALID', { path, problem: (error as EngineError<'EDIT_INVALID'>).details.problem })
    }
    if (error instanceof EngineError && error.code === 'POSITION_OUT_OF_RANGE') {
      throw new EngineError('POSITION_OUT_OF_RANGE', { ...(error as EngineError<'POSITION_OUT_OF_RANGE'>).details, path })
    }
    throw error
  }
}

/** Length of each axis after `selections`; `nInputs` along the batch axis. */
export function selectedShape({ shape }: HookPointInfo, nInputs: number, selections: readonly AxisSelection[]): number[] {
  return shape.map((length, axis) => {
    const selected = selections.find((selection) => selection.axis === axis)
    return selected?.indices.length ?? (typeof length === 'number' ? length : nInputs)
  })
}

/** The rows `indices` of `tensor` along `axis`, in the order given. Copies. */
export function takeRows<T extends Tensor>(tensor: T, { axis, indices }: AxisSelection): T {
  const length = tensor.shape[axis]!
  const inner = elementCount(tensor.shape.slice(axis + 1))
  const outer = elementCount(tensor.shape.slice(0, axis))
  const data = allocate(tensor.dtype, outer * indices.length * inner) as Float32Array
  const source = tensor.data as Float32Array
  let at = 0
  for (let block = 0; block < outer; block++) {
    for (const index of indices) {
      const from = (block * length + index) * inner
      data.set(source.subarray(from, from + inner), at)
      at += inner
    }
  }
  return { ...tensor, shape: tensor.shape.with(axis, indices.length), data }
}
