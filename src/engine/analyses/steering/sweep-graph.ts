/**
 * The graphs of a sweep. At one hook point each row of a batch adds a direction of its own, times a weight for each position (and head); so a
 * point of a sweep is a row, and nothing of it is in the graph.
 *
 *   x' = x + w d        where w is not 0; elsewhere x stays bit for bit
 */

import { GraphBuilder } from '../../graph/builder.js'
import { replaceEach } from '../../graph/edit.js'
import type { Graph } from '../../graph/graph.js'
import { GraphEditor } from '../../graph/graph-editor.js'
import { prune } from '../../graph/prune.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import { maskOperand } from '../../interventions/selection.js'
import type { Place } from '../../interventions/technique.js'
import { saePrefix } from '../../saes/attach-saes.js'
import { encode } from '../../saes/encode-decode.js'
import type { SaeConfig } from '../../saes/sae.js'
import { scalar } from '../../tensor.js'
import { type Scoring, scores } from '../targets.js'

export const doseInputs = { direction: 'sweep.direction', weight: 'sweep.weight' } as const
/** What `read` names, as it is before the edit. */
export const readOutput = 'sweep.read'

export interface SweepStructure {
  readonly place: Place
  /** A hook point whose value is an output, as it is before the edit: the one that an SAE reads. */
  readonly read?: string
}

/** Shapes of one row of the two inputs. */
export function doseShapes(place: Place): { readonly direction: readonly number[]; readonly weight: readonly number[] } {
  const lengths = place.hookPoint.shape.slice(1).map(Number)
  const axes = place.hookPoint.axes.slice(1)
  return {
    direction: lengths.map((length, axis) => (axis === lengths.length - 1 || axes[axis] === 'head' ? length : 1)),
    weight: maskOperand({ hookPoint: place.hookPoint.name, op: 'zero' }, place, 'sweep').rowShape,
  }
}

/** Outputs: the tower's own, and what is read. @throws EDIT_INVALID when nothing depends on the hook point */
export function sweepGraph({ graph, types }: BuiltTower, { place, read }: SweepStructure): Graph {
  const shapes = doseShapes(place)
  const [batch] = place.hookPoint.shape as [string]
  let before = read
  const edited = replaceEach(
    graph,
    [
      {
        hookPoint: place.hookPoint.name,
        edit({ builder: b, value }) {
          if (read === place.hookPoint.name) before = value
          const weight = b.input(doseInputs.weight, 'float32', [batch, ...shapes.weight])
          const direction = b.input(doseInputs.direction, 'float32', [batch, ...shapes.direction])
          const added = b.op('Add', [value, b.op('Mul', [direction, weight])])
          return b.op('Where', [b.op('Equal', [weight, b.constant(scalar(0))]), value, added])
        },
      },
    ],
    types,
  )
  const [output] = graph.outputs as [string]
  if (before === undefined) return edited.graph
  const editor = new GraphEditor(edited.graph, edited.types)
  const end = edited.graph.nodes.length
  const b = editor.builderAt(end, 'sweep/')
  b.named(readOutput, before)
  editor.insert(end, b.nodes(), b.declarations())
  return prune({ ...editor.graph(), outputs: [output, readOutput] })
}

export const scoresNames = { output: 'output', scores: 'scores' } as const

/** Scores of a tower's outputs, `[batch, dOut]` to `[batch, nTargets]`. */
export function scoresGraph(dOut: number, scoring: Scoring): Graph {
  const b = new GraphBuilder('scores')
  const output = b.input(scoresNames.output, 'float32', ['batch', dOut])
  return b.build([b.named(scoresNames.scores, scores(b, output, { dOut, scoring }))])
}

export const codesInputs = { x: 'x', latents: 'latents' } as const
export const codesOutputs = { activations: 'activations', scale: 'scale' } as const

/**
 * Chosen latents of tokens, `[token, n]`, and by how much what they decode to is scaled, `[token, 1]` or one number for all, where the SAE normalises its input and
 * undoes that.
 * @param config  of the first SAE of the workbench
 */
export function codesGraph(config: SaeConfig): Graph {
  const b = new GraphBuilder('codes')
  const x = b.input(codesInputs.x, 'float32', ['token', config.dIn])
  const latents = b.input(codesInputs.latents, 'int64', ['n'])
  const encoded = encode(b, x, config, { prefix: saePrefix(0), axes: ['batch', 'dModel'] })
  const activations = b.named(codesOutputs.activations, b.op('Gather', [encoded.latentActs, latents], { axis: 1 }))
  const { scale } = encoded.normalized
  const isScaled = scale !== undefined && (config.transcoder?.denormalizes ?? true)
  return b.build(isScaled ? [activations, b.named(codesOutputs.scale, scale)] : [activations])
}
