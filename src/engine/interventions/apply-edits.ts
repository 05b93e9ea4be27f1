/**
 * Edits applied to a graph: at each edited hook point, in the order of the list, whatever comes after reads the edited value.
 *
 * The graph that results depends only on which techniques act at which hook points. Everything else is fed: positions and heads too, as a
 * mask that selects, element by element, between the edited value and the old one, so that where an edit does not apply the value stays
 * bit for bit.
 */

import { invariant } from '../errors.js'
import type { GraphBuilder } from '../graph/builder.js'
import { type MakeEdit, replaceEach } from '../graph/edit.js'
import type { Graph } from '../graph/graph.js'
import { inferTypes, type Types } from '../graph/infer.js'
import { isVision } from '../hook-points.js'
import { float32, type Tensor, tensor } from '../tensor.js'
import type { Edit } from './edit.js'
import { maskOperand } from './selection.js'
import { type EditedTower, type Operand, type OperandRole, type Place, repeatRows, type Technique } from './technique.js'
import { techniqueOf } from './techniques.js'
import { type EditContext, validateEdits } from './validate-edits.js'

export interface EditedGraph {
  readonly graph: Graph
  /** Of the graph's values. */
  readonly types: Types
  /** Feeds for a request of `nRows` inputs, by graph input. @throws what validateEdits throws */
  readonly inputs: (nRows: number) => Record<string, Tensor>
  /** See `editStructure`. */
  readonly structure: string
  /** What becomes of each feed when requests are merged; see merge-inputs.ts. */
  readonly roles: Readonly<Record<string, OperandRole>>
  /** All rows of a request count for each other (`mean`): it runs whole and alone. */
  readonly couplesRows: boolean
  /** A row reads another row of its request (`mean`, `patch` from an input): it runs whole, alone or merged with others. */
  readonly needsWholeRequest: boolean
}

export interface ApplyContext extends Pick<EditContext, 'nInputs' | 'model'> {
  /** Of the graph's values, when they are known already. */
  readonly types?: Types
}

/**
 * @param graph  built with every edited hook point that is optional
 * @param tower  with the hook points of that graph
 * @throws       what validateEdits throws; EDIT_INVALID when nothing depends on an edited hook point
 */
export function applyEdits(
  graph: Graph,
  edits: readonly Edit[],
  tower: EditedTower,
  { types = inferTypes(graph), ...context }: ApplyContext = {},
): EditedGraph {
  validateEdits(edits, tower, { model: graph.name, ...context })
  const prepared = prepare(edits, tower)
  const together = new Set(prepared.map(({ edit, technique }) => technique.rowsTogether?.(edit)))
  const replacements = prepared.map((each) => ({ hookPoint: each.edit.hookPoint, edit: makeEdit(each) }))
  return {
    ...replaceEach(graph, replacements, types),
    inputs: (nRows) => editInputs(edits, tower, nRows),
    structure: editStructure(edits),
    roles: Object.fromEntries(prepared.flatMap(({ operands }) => operands.map(({ input, role }) => [input, role]))),
    couplesRows: together.has('reduce'),
    needsWholeRequest: together.has('reduce') || together.has('gather'),
  }
}

/** What the edited graph depends on: lists of edits of equal structure make, of equal graphs, equal graphs. Made without a graph. */
export function editStructure(edits: readonly Edit[]): string {
  return JSON.stringify(edits.map((edit) => [edit.hookPoint, techniqueOf(edit).form(edit)]))
}

/** The feeds of a list of edits, for any graph of the same structure. @throws what validateEdits throws */
export function editInputs(edits: readonly Edit[], tower: EditedTower, nRows: number): Record<string, Tensor> {
  validateEdits(edits, tower, { nInputs: nRows })
  const feeds = prepare(edits, tower).flatMap(({ operands }) => operands)
  return Object.fromEntries(feeds.map((feed) => [feed.input, tensor(feed.dtype, [nRows, ...feed.rowShape], repeatRows(feed, nRows))]))
}

interface PreparedEdit {
  readonly edit: Edit
  readonly place: Place
  readonly technique: Technique
  readonly operands: readonly NamedOperand[]
}

interface NamedOperand extends Operand {
  /** Within the edit: `delta`. */
  readonly name: string
  /** Of the graph: `edits[0].delta`. */
  readonly input: string
}

const maskName = 'mask'

/** The input of the graph that says where an edit applies: every edit has one. */
export const maskInput = (index: number) => `edits[${index}].${maskName}`

function prepare(edits: readonly Edit[], tower: EditedTower): PreparedEdit[] {
  return edits.map((edit, index) => {
    const hookPoint = tower.hookPoints.find(({ name }) => name === edit.hookPoint)
    invariant(hookPoint, `"${edit.hookPoint}" has been validated`)
    const place = { hookPoint, tower }
    const technique = techniqueOf(edit)
    const path = `edits[${index}]`
    const operands = { [maskName]: maskOperand(edit, place, path), ...technique.operands(edit, place) }
    const named = Object.entries(operands).map(([name, operand]) => ({ ...operand, name, input: `${path}.${name}` }))
    return { edit, place, technique, operands: named }
  })
}

function makeEdit({ edit, place, technique, operands }: PreparedEdit): MakeEdit {
  return ({ builder, value, hookPoint }) => {
    const isDescribed = hookPoint.axes.join() === place.hookPoint.axes.join()
    invariant(isDescribed, `${edit.hookPoint} is [${hookPoint.axes}] in the graph and [${place.hookPoint.axes}] in its description`)
    // A hook point that fires several times declares its inputs once; they are the same for every firing.
    const batch = place.hookPoint.shape[0]!
    const inputs = operands.map(({ name, input, dtype, rowShape }) => [name, builder.input(input, dtype, [batch, ...rowShape])])
    const names: Record<string, string> = Object.fromEntries(inputs)
    const masked = technique.needsFinite && isCausalScores(place) ? isMinusInfinity(builder, value) : undefined
    const finite = masked ? builder.op('Where', [masked, builder.constant(float32([], [0])), value]) : value
    const edited = technique.build(builder, finite, names, { edit, place })
    const kept = masked ? builder.op('Where', [masked, value, edited]) : edited
    return builder.op('Where', [names[maskName]!, kept, value])
  }
}

/** A causal model's scores are minus infinity where it may not look; that is no number to compute with, and must stay. */
function isCausalScores({ hookPoint, tower }: Place): boolean {
  return hookPoint.name.endsWith('.hook_attn_scores') && !isVision(tower.config) && tower.config.causal
}

function isMinusInfinity(builder: GraphBuilder, value: string): string {
  return builder.op('Equal', [value, builder.constant(float32([], [Number.NEGATIVE_INFINITY]))])
}
