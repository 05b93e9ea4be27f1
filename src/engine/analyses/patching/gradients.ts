/**
 * Towers with the gradient of the metric, taken at hook points whose values are part of the way from the run's own to another's. Times the
 * difference of the two it says how much of the metric's change is each element's: exactly in the limit of small changes (attribution patching),
 * and exactly in sum when averaged along the way (integrated gradients).
 * Nanda (2023), "Attribution Patching"; Sundararajan et al. (2017), "Axiomatic Attribution for Deep Networks".
 */

import type { GraphBuilder } from '../../graph/builder.js'
import { differentiate, gradientName } from '../../graph/differentiate.js'
import { replaceEach } from '../../graph/edit.js'
import type { Graph } from '../../graph/graph.js'
import { GraphEditor } from '../../graph/graph-editor.js'
import { narrowed } from '../../graph/narrow.js'
import { prune } from '../../graph/prune.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import type { ModelDescription } from '../../models/model.js'
import { type Metric, metricNames, metricValue } from './metric.js'
import { lengthsOf, otherInput, otherRowsInput } from './patched-tower.js'

/** float32, `[batch, 1, ...]`: how far from the run's own value (0) to the other's (1) a hook point is. */
export const shareInput = (hookPoint: string) => `path/share/${hookPoint}`
/** The gradient times the difference, summed over a hook point's last axis. */
export const contributionOf = (hookPoint: string) => `contribution/${hookPoint}`

export interface Judged {
  readonly metric: Metric
  readonly description: ModelDescription
}

/**
 * Outputs: the metric of each run, and of each hook point what its elements contribute, `[batch, pos]` or `[batch, pos, head]`. The other runs'
 * values are fed as to a patched tower.
 *
 * @param moves  whether hook points are moved by a share that is fed; else the run is the tower's own
 */
export function contributionsGraph(
  { graph, types, tower }: BuiltTower,
  { hookPoints, moves, judged }: { readonly hookPoints: readonly string[]; readonly moves: boolean; readonly judged: Judged },
): Graph {
  const own = new Map(hookPoints.map((hookPoint) => [hookPoint, hookPoint]))
  const lengths = (hookPoint: string) => lengthsOf(tower.hookPoints.find(({ name }) => name === hookPoint)!)
  const difference = (b: GraphBuilder, hookPoint: string, value: string) => {
    const others = b.input(otherInput(hookPoint), 'float32', ['others', ...lengths(hookPoint)])
    return b.op('Sub', [b.op('Gather', [others, b.input(otherRowsInput, 'int64', ['batch'])], { axis: 0 }), value])
  }
  const edits = hookPoints.map((hookPoint) => ({
    hookPoint,
    edit: ({ builder: b, value }: { builder: GraphBuilder; value: string }) => {
      own.set(hookPoint, value)
      const share = b.input(shareInput(hookPoint), 'float32', ['batch', ...lengths(hookPoint).map(() => 1)])
      return b.op('Add', [value, b.op('Mul', [share, difference(b, hookPoint, value)])])
    },
  }))
  const moved = moves ? replaceEach(graph, edits, types).graph : narrowed(graph, hookPoints, types)
  const backward = differentiated(moved, hookPoints, judged)
  const contributions = appended(backward, 'contributions/', (b) =>
    hookPoints.map((hookPoint) => {
      const parts = b.op('Mul', [gradientName(hookPoint), difference(b, hookPoint, own.get(hookPoint)!)])
      const axes = b.constant({ dtype: 'int64', shape: [1], data: BigInt64Array.of(-1n) })
      return b.named(contributionOf(hookPoint), b.op('ReduceSum', [parts, axes], { keepdims: 0 }))
    }),
  )
  return prune({ ...contributions, outputs: [metricNames.value, ...hookPoints.map(contributionOf)] })
}

/** A tower with the metric, and its gradient at hook points, as outputs. */
export function differentiated(graph: Graph, hookPoints: readonly string[], { metric, description }: Judged): Graph {
  const [output] = graph.outputs as [string]
  const judged = appended(graph, 'metric/', (b) => [b.named(metricNames.value, metricValue(b, output, { metric, description }))])
  return differentiate(judged, metricNames.value, hookPoints)
}

/** Nodes at the end of a graph, which may read any value of it; what `add` returns are its outputs after those it has. */
export function appended(graph: Graph, prefix: string, add: (b: GraphBuilder) => readonly string[]): Graph {
  const editor = new GraphEditor(graph)
  const end = graph.nodes.length
  const b = editor.builderAt(end, prefix)
  const outputs = add(b)
  editor.insert(end, b.nodes(), b.declarations())
  return { ...editor.graph(), outputs: [...graph.outputs, ...outputs] }
}

/** Points on the way from 0 to 1 and their weights, which sum to 1: Gauss-Legendre, exact for polynomials of degree below twice their number. */
export function quadrature(nSteps: number): { readonly at: number; readonly weight: number }[] {
  return Array.from({ length: nSteps }, (_, index) => {
    let x = Math.cos((Math.PI * (index + 0.75)) / (nSteps + 0.5))
    let slope = 0
    for (let round = 0; round < 100; round++) {
      const { value, derivative } = legendre(nSteps, x)
      slope = derivative
      const step = value / derivative
      x -= step
      if (Math.abs(step) < 1e-15) break
    }
    return { at: (1 - x) / 2, weight: 1 / ((1 - x * x) * slope * slope) }
  })
}

/** The Legendre polynomial of a degree and its derivative, by its recurrence. */
function legendre(degree: number, x: number): { value: number; derivative: number } {
  let [before, value] = [1, x]
  for (let n = 2; n <= degree; n++) [before, value] = [value, ((2 * n - 1) * x * value - (n - 1) * before) / n]
  return { value, derivative: (degree * (x * value - before)) / (x * x - 1) }
}
