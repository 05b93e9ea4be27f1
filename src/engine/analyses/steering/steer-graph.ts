/**
 * The graph of steering: a tower with edits, and at every edited hook point two more things. How much the edits there change what they
 * find; and a switch by which a row has, in the place of what they add, a random direction as long as that at each position.
 */

import type { GraphBuilder } from '../../graph/builder.js'
import { findHookPoints, type MakeEdit, replaceEach } from '../../graph/edit.js'
import { add, multiply, normOver, subtract, sumOver } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import { prune } from '../../graph/prune.js'
import { applyEdits, type EditedGraph } from '../../interventions/apply-edits.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import type { Edit } from '../../interventions/edit.js'
import type { HookPointInfo } from '../../models/model.js'

/** bool `[batch]`: rows that are controls. */
export const controlRows = 'steer.control'
/** `[batch, ...1, length]`: of each row its direction, of length 1; zeros in rows that are no controls. */
export const controlDirection = (hookPoint: string) => `steer.direction/${hookPoint}`
/** Outputs over every axis of the hook point but its last. */
export const sizeOf = (hookPoint: string) => `steer.size/${hookPoint}`
export const lengthBefore = (hookPoint: string) => `steer.before/${hookPoint}`

export interface SteerGraph {
  readonly graph: Graph
  readonly edited: EditedGraph
}

/** @param read  hook points that are outputs, beside the tower's own */
export function steerGraph({ tower, graph, types }: BuiltTower, edits: readonly Edit[], read: readonly string[]): SteerGraph {
  const edited = applyEdits(graph, edits, tower, { types })
  const places = editedHookPoints(edits, tower.hookPoints)
  const switches = places.map((place) => ({ hookPoint: place.name, edit: controlSwitch(place) }))
  const switched = replaceEach(edited.graph, switches, edited.types)
  const values = findHookPoints(switched.graph, read).map(({ firings }) => firings.at(-1)!)
  const measured = places.flatMap(({ name }) => [sizeOf(name), lengthBefore(name)])
  const outputs = [...new Set([...graph.outputs, ...values, ...measured])]
  return { edited, graph: prune({ ...switched.graph, outputs }) }
}

/** Each once, in firing order. */
export function editedHookPoints(edits: readonly Edit[], hookPoints: readonly HookPointInfo[]): HookPointInfo[] {
  return hookPoints.filter(({ name }) => edits.some(({ hookPoint }) => hookPoint === name))
}

function controlSwitch({ name, shape }: HookPointInfo): MakeEdit {
  return ({ builder: b, value, firing, hookPoint }) => {
    const before = `${hookPoint.firings[firing]!}@0`
    const lengths = shape.slice(1).map((length, axis, { length: rank }) => (axis === rank - 1 ? Number(length) : 1))
    const direction = b.input(controlDirection(name), 'float32', [shape[0]!, ...lengths])
    const isControl = b.op('Reshape', [b.input(controlRows, 'bool', [shape[0]!]), ones(b, shape.length)])
    const size = normOver(b, subtract(b, value, before), -1)
    const control = add(b, before, multiply(b, size, direction))
    if (firing === hookPoint.firings.length - 1) {
      b.named(sizeOf(name), withoutLast(b, size))
      b.named(lengthBefore(name), withoutLast(b, normOver(b, before, -1)))
    }
    return b.op('Where', [isControl, control, value])
  }
}

/** The shape `[-1, 1, 1, ...]`. */
const ones = (b: GraphBuilder, rank: number) =>
  b.constant({ dtype: 'int64', shape: [rank], data: BigInt64Array.from({ length: rank }, (_, axis) => (axis === 0 ? -1n : 1n)) })

/** The last axis has length 1. */
const withoutLast = (b: GraphBuilder, x: string) => sumOver(b, x, -1, 0)
