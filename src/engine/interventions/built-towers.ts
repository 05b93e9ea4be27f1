/** A tower's graph as edits and analyses find it, built when it is first wanted. */

import type { Graph } from '../graph/graph.js'
import { inferTypes, type Types } from '../graph/infer.js'
import { hookPointsOf } from '../hook-points.js'
import type { LoadedTower } from '../models/load.js'
import type { TowerDescription } from '../models/model.js'
import type { EditedTower } from './technique.js'

/** A tower's graph before edits. */
export interface BuiltTower {
  readonly tower: EditedTower
  readonly graph: Graph
  readonly types: Types
}

export type BuildTower = (wanted: ReadonlySet<string>) => BuiltTower

/**
 * A tower's graphs by the hook points that are wanted in them. The one without optional hook points, which nearly every structure is made
 * from, is built once.
 */
export function builtTowers({ config, hookPoints }: TowerDescription, buildGraph: LoadedTower['buildGraph']): BuildTower {
  const build = (wanted: ReadonlySet<string>, tower: EditedTower): BuiltTower => {
    const graph = buildGraph(wanted)
    return { tower, graph, types: inferTypes(graph) }
  }
  const plain = build(new Set(), { config, hookPoints })
  const optional = hookPoints.filter((hookPoint) => hookPoint.optional)
  return (wanted) =>
    optional.some(({ name }) => wanted.has(name)) ? build(wanted, { config, hookPoints: hookPointsOf(config, wanted) }) : plain
}
