/**
 * The two edits that everything else is made of: reading a hook point makes it an output, changing it puts an edited value in its place.
 * Both return a new graph and leave the old one as it was.
 */

import { EngineError } from '../errors.js'
import type { GraphBuilder } from './builder.js'
import type { Graph, HookPoint } from './graph.js'
import { GraphEditor } from './graph-editor.js'
import { inferTypes, type Types } from './infer.js'
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

/** Makes, of the value of a hook point, a new one of the same type. */
export type MakeEdit = (site: EditSite) => string

/**
 * Edits a hook point. `edit` returns the new value, of the same type, for each firing; everything that came after the old value reads
 * the new one, and so does whoever fetches the hook point, because the new value takes the name. The old one is called `name@0` (after
 * a second edit of the same hook point `name@1`, and so on). A quantity that the computation passes by, such as the scale inside a
 * fused LayerNormalization, is first put in its way (write-out.ts).
 *
 * @throws HOOK_POINT_UNKNOWN; EDIT_INVALID when nothing depends on the hook point; SHAPE_MISMATCH when the new value has another type
 */
export function replace(graph: Graph, hookPoint: string, edit: MakeEdit): Graph {
  return replaceEach(graph, [{ hookPoint, edit }]).graph
}

/**
 * Several edits, one after another, at little more than the price of one.
 *
 * @param types  of the graph's values, when they are known already
 * @returns      the edited graph and the types of its values
 * @throws       what `replace` throws
 */
export function replaceEach(
  graph: Graph,
  edits: readonly { readonly hookPoint: string; readonly edit: MakeEdit }[],
  types: Types = inferTypes(graph),
): { readonly graph: Graph; readonly types: Types } {
  const editor = new GraphEditor(graph, types)
  const hookPoints = findHookPoints(
    graph,
    edits.map(({ hookPoint }) => hookPoint),
  )
  let isEdited = false
  for (const [index, hookPoint] of hookPoints.entries()) {
    for (const firing of hookPoint.firings.keys())
      isEdited = replaceFiring(editor, { hookPoint, firing, edit: edits[index]!.edit }) || isEdited
  }
  return isEdited ? { graph: editor.graph(), types: editor.types } : { graph, types }
}

/** @returns false when the edit hands back what it was given, and so has nothing to add */
function replaceFiring(
  editor: GraphEditor,
  { hookPoint, firing, edit }: { hookPoint: HookPoint; firing: number; edit: MakeEdit },
): boolean {
  const name = hookPoint.firings[firing]!
  putInPath(editor, name)
  const original = freeName(editor, name)
  editor.renameOutput(name, original)
  const place = editor.indexOf(editor.producer(original)!) + 1
  const builder = editor.builderAt(place, `${original}/`)
  const type = () => editor.types.get(original)!
  const made = edit({ builder, value: original, type, firing, hookPoint })
  if (made === original) {
    editor.renameOutput(original, name)
    return false
  }
  builder.named(name, made)
  editor.insert(place, builder.nodes(), builder.declarations())
  const [before, after] = [type(), editor.types.get(name)!]
  if (after.dtype !== before.dtype || after.shape.join() !== before.shape.join()) {
    throw new EngineError('SHAPE_MISMATCH', {
      what: `The edited value of "${hookPoint.name}" (${after.dtype}; the original is ${before.dtype})`,
      expected: before.shape,
      actual: after.shape,
    })
  }
  return true
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

/** The first of `name@0`, `name@1`, ... that the graph does not use. */
function freeName(editor: GraphEditor, name: string): string {
  let edits = 0
  while (editor.types.has(`${name}@${edits}`)) edits++
  return `${name}@${edits}`
}
