/**
 * What counts as a constant when attributions are taken: attention patterns and the scales of LayerNorms as they are in the run. What is left between
 * two places of the residual stream is then linear, but for MLPs.
 */

import type { Graph } from '../../../graph/graph.js'
import { GraphEditor } from '../../../graph/graph-editor.js'
import { bringIntoPath } from '../../../graph/write-out.js'

export interface Freeze {
  readonly attention: boolean
  readonly norms: boolean
}

/** The graph with everything that is frozen in the way of its computation, and the values that are. */
export function frozen(graph: Graph, { attention, norms }: Freeze): { readonly graph: Graph; readonly stopAt: readonly string[] } {
  const firings = (isWanted: (name: string) => boolean) => {
    return graph.hookPoints.filter(({ name }) => isWanted(name)).flatMap((hookPoint) => hookPoint.firings)
  }
  const patterns = attention ? firings((name) => name.endsWith('.attn.hook_pattern')) : []
  const scales = norms ? firings((name) => /(^|\.)(ln\d?|ln_pre|ln_final)\.hook_scale$/.test(name)) : []
  const editor = new GraphEditor(graph)
  for (const scale of scales) bringIntoPath(editor, scale)
  return { graph: editor.graph(), stopAt: [...patterns, ...scales] }
}
