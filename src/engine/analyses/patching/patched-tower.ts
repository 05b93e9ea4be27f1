/**
 * A tower in which values of other runs can be put at hook points. What is put where is fed: for each run a mask, and which row of the other runs'
 * values it takes. A run with nothing under its masks is the tower's own, bit for bit.
 */

import { replaceEach } from '../../graph/edit.js'
import type { Graph, Node } from '../../graph/graph.js'
import { prune } from '../../graph/prune.js'
import { resumeInput, type SplitGraph, splitByInputs } from '../../graph/split.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import type { HookPointInfo } from '../../models/model.js'

/** int64 `[batch]`: the row of the other runs' values that each run takes. */
export const otherRowsInput = 'patch/rows'
/** bool, the hook point's shape with a last axis of length 1: true where the other run's value is put. */
export const maskInput = (hookPoint: string) => `patch/mask/${hookPoint}`
/** The other runs' values, `[others, ...]`. */
export const otherInput = (hookPoint: string) => `patch/other/${hookPoint}`

/** Lengths of a hook point's axes after the batch. */
export const lengthsOf = ({ shape }: HookPointInfo): number[] => shape.slice(1).map(Number)

/** Axes of one row of a mask. */
export const maskShape = (hookPoint: HookPointInfo): number[] => [...lengthsOf(hookPoint).slice(0, -1), 1]

/** The tower with all of these hook points open to other values. */
export function patchedTower({ graph, types, tower }: BuiltTower, hookPoints: readonly string[]): Graph {
  const edits = hookPoints.map((hookPoint) => {
    const info = tower.hookPoints.find(({ name }) => name === hookPoint)!
    return {
      hookPoint,
      edit: ({ builder: b, value }: Parameters<Parameters<typeof replaceEach>[1][number]['edit']>[0]) => {
        const mask = b.input(maskInput(hookPoint), 'bool', ['batch', ...maskShape(info)])
        const others = b.input(otherInput(hookPoint), 'float32', ['others', ...lengthsOf(info)])
        const rows = b.input(otherRowsInput, 'int64', ['batch'])
        return b.op('Where', [mask, b.op('Gather', [others, rows], { axis: 0 }), value])
      },
    }
  })
  return replaceEach(graph, edits, types).graph
}

/** A tower cut where its pictures no longer decide alone. */
export const splitTower = (graph: Graph): SplitGraph => splitByInputs(graph, ['pixels'])

/**
 * One run of a tower for everything that the second halves of cut towers go on from.
 *
 * Input `pixels`. Outputs: the tower's own, and what `halves` are fed, by the names of their inputs.
 */
export function statesGraph({ graph }: BuiltTower, { halves }: { readonly halves: readonly Graph[] }): Graph {
  const fed = new Set(halves.flatMap(({ inputs }) => Object.keys(inputs)))
  const made = [...Object.keys(graph.inputs), ...graph.nodes.flatMap(({ outputs }) => outputs)]
  // An edited value is fed as it was before its edit.
  const copies = made.flatMap((value) =>
    [resumeInput(value), resumeInput(`${value}@0`)]
      .filter((name) => fed.has(name))
      .map((name): Node => ({ op: 'Identity', inputs: [value], outputs: [name], attributes: {} })),
  )
  const outputs = [...graph.outputs, ...copies.map((node) => node.outputs[0]!)]
  return prune({ ...graph, name: `${graph.name} (states)`, nodes: [...graph.nodes, ...copies], outputs })
}
