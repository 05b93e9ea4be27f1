/**
 * A structure worked out once: the graph to compile, and what is needed to feed and read its program ever after without building a graph
 * again.
 */

import { EngineError, type Problem } from '../errors.js'
import { findHookPoints } from '../graph/edit.js'
import type { Graph } from '../graph/graph.js'
import { structureHash } from '../graph/hash.js'
import type { Types } from '../graph/infer.js'
import { prune } from '../graph/prune.js'
import { applyEdits, maskInput } from '../interventions/apply-edits.js'
import type { BuildTower } from '../interventions/built-towers.js'
import type { Edit } from '../interventions/edit.js'
import type { EditedTower, EditingSae, OperandRole } from '../interventions/technique.js'
import type { HookPointInfo } from '../models/model.js'
import { attachSaes, codeOutputs, type ReadSae, saePrefix } from '../saes/attach-saes.js'
import { checkFit } from '../saes/fit-model.js'
import type { SaeConfig } from '../saes/sae.js'
import { type Structure, saesOf } from './engine-worker-calls.js'

export interface PlannedStructure {
  /** The graph's structural hash. */
  readonly program: string
  /** With the hook points of the graph as it is built for this structure. */
  readonly tower: EditedTower
  /** The graph's input that takes pixels or tokens, and its type without the batch axis. */
  readonly input: { readonly name: string; readonly rowShape: readonly number[] }
  /** Values to fetch, what is read in the order of the structure. */
  readonly fetch: { readonly output?: string; readonly activations: readonly string[]; readonly codes: readonly ReadSae[] }
  /** Keys of its SAEs, in the order of `saesOf`. */
  readonly saes: readonly string[]
  readonly roles: Readonly<Record<string, OperandRole>>
  readonly couplesRows: boolean
  readonly needsWholeRequest: boolean
}

export interface PlannedGraph {
  readonly planned: PlannedStructure
  readonly graph: Graph
  readonly types: Types
  /** Of its symbols but the batch, the most that they can be. */
  readonly lengths: Readonly<Record<string, number>>
}

/**
 * @param builtWith  see builtTowers
 * @param configs    of the structure's SAEs, in the order of `saesOf`
 * @throws           HOOK_POINT_UNKNOWN, SAE_MISFIT and every error of editing, with all problems at once
 */
export function planStructure(builtWith: BuildTower, structure: Structure, configs: readonly SaeConfig[] = []): PlannedGraph {
  const { model, read, edits, output: wantsOutput, saes, nRows } = structure
  const touched = [...read, ...edits.map(({ hookPoint }) => hookPoint), ...configs.map(({ hookPoint }) => hookPoint)]
  const { tower: plain, ...built } = builtWith(new Set(touched))
  const sources = saesOf(structure)
  const ofEdits = configs.slice(saes.length)
  const editing = ofEdits.map((config, index): EditingSae => {
    return { config, prefix: saePrefix(saes.length + index), name: sources[saes.length + index]!.key }
  })
  const tower: EditedTower = { ...plain, saes: editing }
  refuseUnknown(read, tower.hookPoints, model)
  for (const [index, config] of configs.slice(0, saes.length).entries()) {
    checkFit(config, { sae: saes[index]!.sae.key, model, hookPoints: tower.hookPoints })
  }
  const edited = applyEdits(built.graph, edits, tower, { types: built.types, nInputs: nRows, model })
  const [output] = built.graph.outputs as [string]
  const values = findHookPoints(edited.graph, read).map(({ firings }) => firings.at(-1)!)
  const readers = saes.map(({ topK, imageTopK, positions, latents }, index) => {
    const selects = { selectsPositions: positions !== undefined, choosesLatents: latents !== undefined }
    return { config: configs[index]!, topK, imageTopK, ...selects }
  })
  const attached = attachSaes(edited.graph, readers, { types: edited.types, hookPoints: tower.hookPoints })
  const codes = attached.read.flatMap((sae) => codeOutputs(sae.values))
  const outputs = [...new Set([...(wantsOutput ? [output] : []), ...values, ...codes])]
  const graph = prune({ ...attached.graph, outputs })
  if (!wantsOutput) refuseUnread(edits, graph)
  const [name] = Object.keys(built.graph.inputs) as [string]
  const rowShape = built.graph.inputs[name]!.shape.slice(1).map(Number)
  const { roles, couplesRows, needsWholeRequest } = edited
  return {
    planned: {
      program: structureHash(graph),
      tower,
      input: { name, rowShape },
      fetch: { ...(wantsOutput && { output }), activations: values, codes: attached.read },
      saes: sources.map(({ key }) => key),
      roles,
      couplesRows,
      needsWholeRequest,
    },
    graph,
    types: attached.types,
    lengths: Object.fromEntries(attached.read.flatMap(axisLengths)),
  }
}

function axisLengths({ positions, latents }: ReadSae): [symbol: string, most: number][] {
  return [positions, latents].flatMap((axis) => (axis ? [[axis.symbol, axis.most] as [string, number]] : []))
}

/** The values that a run of the structure fetches, one after the other. */
export function fetchedValues({ fetch: { output, activations, codes } }: PlannedStructure): string[] {
  return [...(output === undefined ? [] : [output]), ...activations, ...codes.flatMap(({ values }) => codeOutputs(values))]
}

/** An edit that nothing of what is read depends on would seem to have been made. @throws EDIT_INVALID */
function refuseUnread(edits: readonly Edit[], graph: Graph): void {
  const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs))
  const idle = edits.flatMap(({ hookPoint }, index) => (read.has(maskInput(index)) ? [] : [{ index, hookPoint }]))
  const problems = idle.map(({ index, hookPoint }) => {
    return { path: `edits[${index}]`, message: `changes nothing that is read: "${hookPoint}" comes after it` }
  })
  const [first] = problems
  if (first) throw new EngineError('EDIT_INVALID', { path: first.path, problem: `${first.message}.` }, problems)
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
