/**
 * The two edits that everything else is made of: reading a hook point makes it an output, changing it puts an edited value in its place.
 * Both return a new graph and leave the old one as it was.
 */

import { EngineError, invariant } from '../errors.js'
import { GraphBuilder } from './builder.js'
import type { Graph, HookPoint } from './graph.js'
import { inferTypes } from './infer.js'
import type { ValueType } from './value-type.js'
import { putInPath } from './write-out.js'

/** Makes hook points outputs, in this order after those there are. @throws HOOK_POINT_UNKNOWN naming every unknown one */
export function expose(graph: Graph, hookPoints: readonly string[]): Graph {
  const values = findHookPoints(graph, hookPoints).map(({ firings }) => firings.at(-1)!)
  const added = [...new Set(values)].filter((value) => !graph.outputs.includes(value))
  return added.length === 0 ? graph : { ...graph, outputs: [...graph.outputs, ...added] }
}

/** What an edit is given: a builder at the hook point's place, and the value to make another of. */
export interface EditSite {
  /** Reads whatever is made before the hook point; may declare inputs and parameters, which firings and edits share by name. */
  readonly builder: GraphBuilder
  /** The value as it was. */
  readonly value: string
  /** Its type, found when asked for. */
  type(): ValueType
  /** 0 for the first firing of the hook point. */
  readonly firing: number
  readonly hookPoint: HookPoint
}

/**
 * Edits a hook point. `edit` returns the new value, of the same type, for each firing; everything that came after the old value reads
 * the new one, and so does whoever fetches the hook point, because the new value takes the name. The old one is called `name@0` (after
 * a second edit of the same hook point `name@1`, and so on). A quantity that the computation passes by, such as the scale inside a
 * fused LayerNormalization, is first put in its way (write-out.ts).
 *
 * @throws HOOK_POINT_UNKNOWN; EDIT_INVALID when nothing depends on the hook point; SHAPE_MISMATCH when the new value has another type
 */
export function replace(graph: Graph, hookPoint: string, edit: (site: EditSite) => string): Graph {
  const [found] = findHookPoints(graph, [hookPoint])
  let edited = graph
  for (const [firing, value] of found!.firings.entries()) edited = replaceFiring(edited, found!, { value, firing, edit })
  return edited
}

function replaceFiring(
  unedited: Graph,
  hookPoint: HookPoint,
  { value: name, firing, edit }: { value: string; firing: number; edit: (site: EditSite) => string },
): Graph {
  const graph = putInPath(unedited, name)
  const producer = graph.nodes.findIndex((node) => node.outputs.includes(name))
  invariant(producer >= 0, `hook point "${name}" is not made by a node`)
  const original = freeName(graph, name)
  const kept = renameOutput(graph, producer, { from: name, to: original })
  const builder = GraphBuilder.inside(kept, { index: producer + 1, prefix: `${original}/` })
  const type = () => typesUpTo(kept, producer + 1).get(original)!
  const made = edit({ builder, value: original, type, firing, hookPoint })
  // An edit that hands back what it was given has nothing to add.
  if (made === original) return graph
  const result = builder.named(name, made)
  const nodes = kept.nodes.toSpliced(producer + 1, 0, ...builder.nodes())
  const edited = { ...kept, ...builder.declarations(), nodes }
  const types = typesUpTo(edited, producer + 1 + builder.nodes().length)
  const [before, after] = [types.get(original)!, types.get(result)!]
  if (after.dtype !== before.dtype || after.shape.join() !== before.shape.join()) {
    throw new EngineError('SHAPE_MISMATCH', {
      what: `The edited value of "${hookPoint.name}" (${after.dtype}; the original is ${before.dtype})`,
      expected: before.shape,
      actual: after.shape,
    })
  }
  return edited
}

function typesUpTo(graph: Graph, nNodes: number): ReadonlyMap<string, ValueType> {
  return inferTypes({ ...graph, nodes: graph.nodes.slice(0, nNodes), outputs: [] })
}

/** Finds hook points by their exact names. @throws HOOK_POINT_UNKNOWN */
export function findHookPoints(graph: Graph, names: readonly string[]): readonly HookPoint[] {
  const byName = new Map(graph.hookPoints.map((hookPoint) => [hookPoint.name, hookPoint]))
  const unknown = [...new Set(names)].filter((name) => !byName.has(name))
  if (unknown.length > 0) {
    const known = [...byName.keys()]
    const errors = unknown.map((hookPoint) => new EngineError('HOOK_POINT_UNKNOWN', { hookPoint, model: graph.name, known }))
    const problems = errors.map(({ message, details }) => ({ path: details.hookPoint, message }))
    throw new EngineError('HOOK_POINT_UNKNOWN', errors[0]!.details, problems)
  }
  return names.map((name) => byName.get(name)!)
}

function renameOutput(graph: Graph, index: number, { from, to }: { from: string; to: string }): Graph {
  const node = graph.nodes[index]!
  return { ...graph, nodes: graph.nodes.with(index, { ...node, outputs: node.outputs.map((output) => (output === from ? to : output)) }) }
}

/** The first of `name@0`, `name@1`, ... that the graph does not use. */
function freeName(graph: Graph, name: string): string {
  const taken = new Set(graph.nodes.flatMap((node) => node.outputs))
  let edits = 0
  while (taken.has(`${name}@${edits}`)) edits++
  return `${name}@${edits}`
}
