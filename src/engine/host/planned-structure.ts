/**
 * A structure worked out once: the graph to compile, and what is needed to feed and read its program ever after without building a graph
 * again.
 */

import { EngineError, type Problem } from '../errors.js'
import { expose, findHookPoints } from '../graph/edit.js'
import type { Graph } from '../graph/graph.js'
import { structureHash } from '../graph/hash.js'
import { inferTypes, type Types } from '../graph/infer.js'
import { prune } from '../graph/prune.js'
import { hookPointsOf } from '../hook-points.js'
import { applyEdits } from '../interventions/apply-edits.js'
import type { EditedTower, OperandRole } from '../interventions/technique.js'
import type { LoadedTower } from '../models/load.js'
import type { HookPointInfo, TowerDescription } from '../models/model.js'
import type { Structure } from './engine-worker-calls.js'

export interface PlannedStructure {
  /** The graph's structural hash. */
  readonly program: string
  /** With the hook points of the graph as it is built for this structure. */
  readonly tower: EditedTower
  /** The graph's input that takes pixels or tokens, and its type without the batch axis. */
  readonly input: { readonly name: string; readonly rowShape: readonly number[] }
  /** Values to fetch: the output, then what is read, in the order of the structure. */
  readonly fetch: readonly string[]
  readonly roles: Readonly<Record<string, OperandRole>>
  readonly couplesRows: boolean
  readonly needsWholeRequest: boolean
}

/** A tower's graph before edits. */
export interface BuiltTower {
  readonly tower: EditedTower
  readonly graph: Graph
  readonly types: Types
}

/**
 * A tower's graphs by the hook points that are wanted in them. The one without optional hook points, which nearly every structure is made
 * from, is built once.
 */
export function builtTowers(
  { config, hookPoints }: TowerDescription,
  buildGraph: LoadedTower['buildGraph'],
): (wanted: ReadonlySet<string>) => BuiltTower {
  const build = (wanted: ReadonlySet<string>, tower: EditedTower): BuiltTower => {
    const graph = buildGraph(wanted)
    return { tower, graph, types: inferTypes(graph) }
  }
  const plain = build(new Set(), { config, hookPoints })
  const optional = hookPoints.filter((hookPoint) => hookPoint.optional)
  return (wanted) =>
    optional.some(({ name }) => wanted.has(name)) ? build(wanted, { config, hookPoints: hookPointsOf(config, wanted) }) : plain
}

/**
 * @param builtWith  see builtTowers
 * @throws           HOOK_POINT_UNKNOWN and every error of editing, with all problems at once
 */
export function planStructure(
  builtWith: ReturnType<typeof builtTowers>,
  { model, read, edits, nRows }: Structure,
): { readonly planned: PlannedStructure; readonly graph: Graph; readonly types: Types } {
  const { tower, ...built } = builtWith(new Set([...read, ...edits.map(({ hookPoint }) => hookPoint)]))
  refuseUnknown(read, tower.hookPoints, model)
  const edited = applyEdits(built.graph, edits, tower, { types: built.types, nInputs: nRows, model })
  const [output] = built.graph.outputs as [string]
  const values = findHookPoints(edited.graph, read).map(({ firings }) => firings.at(-1)!)
  const graph = prune(expose(edited.graph, read))
  const [name] = Object.keys(built.graph.inputs) as [string]
  const rowShape = built.graph.inputs[name]!.shape.slice(1).map(Number)
  const { roles, couplesRows, needsWholeRequest } = edited
  return {
    planned: {
      program: structureHash(graph),
      tower,
      input: { name, rowShape },
      fetch: [output, ...values],
      roles,
      couplesRows,
      needsWholeRequest,
    },
    graph,
    types: edited.types,
  }
}

function refuseUnknown(read: readonly string[], hookPoints: readonly HookPointInfo[], model: string): void {
  const known = hookPoints.map(({ name }) => name)
  const names = new Set(known)
  const errors = read
    .filter((name) => !names.has(name))
    .map((hookPoint) => new EngineError('HOOK_POINT_UNKNOWN', { hookPoint, model, known }))
  if (errors.length === 0) return
  const problems: Problem[] = errors.map(({ message, details }) => ({ path: `read: ${details.hookPoint}`, message }))
  throw new EngineError('HOOK_POINT_UNKNOWN', errors[0]!.details, problems)
}
