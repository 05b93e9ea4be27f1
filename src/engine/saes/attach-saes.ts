/**
 * SAEs that read a model: a graph with their codes as further outputs. A hook point that was edited is read as it is after the edits, and
 * what the model itself computes stays as it was.
 */

import { invariant } from '../errors.js'
import type { GraphBuilder } from '../graph/builder.js'
import { findHookPoints } from '../graph/edit.js'
import { wholes } from '../graph/expressions.js'
import type { Graph } from '../graph/graph.js'
import { GraphEditor } from '../graph/graph-editor.js'
import type { Types } from '../graph/infer.js'
import type { HookPointInfo } from '../models/model.js'
import { type CodeCounts, type CodeValues, readCodes } from './read-codes.js'
import type { SaeConfig } from './sae.js'

export interface AttachedSae extends CodeCounts {
  /** One that fits the model (fit-model.ts). */
  readonly config: SaeConfig
  /** Whether only some positions are encoded; which, is an input of the graph. */
  readonly selectsPositions: boolean
  /** Whether latents are chosen, whose activations are read of every token; which, is an input of the graph. */
  readonly choosesLatents: boolean
}

export interface ReadSae {
  readonly values: CodeValues
  /** The input that takes positions along the hook point's second axis, int64 `[symbol]`, and how many there are at most. */
  readonly positions?: AxisInput
  /** The same along the SAE's latents. */
  readonly latents?: AxisInput
}

/** Indices along an axis as an int64 input. */
export interface AxisInput {
  readonly input: string
  readonly symbol: string
  /** The axis' length. */
  readonly most: number
}

/** Before the names of an SAE's parameters, by its place in the list: SAEs of equal configuration then share a program. */
export const saePrefix = (index: number) => `saes[${index}].`

/** @param hookPoints  of the graph */
export function attachSaes(
  graph: Graph,
  saes: readonly AttachedSae[],
  { types, hookPoints }: { readonly types: Types; readonly hookPoints: readonly HookPointInfo[] },
): { readonly graph: Graph; readonly types: Types; readonly read: readonly ReadSae[] } {
  const editor = new GraphEditor(graph, types)
  const read = saes.map((sae, index) => {
    const at = editor.graph().nodes.length
    const b = editor.builderAt(at, `saes[${index}]/`)
    const attached = attach(b, sae, { graph, index, hookPoints })
    editor.insert(at, b.nodes(), b.declarations())
    return attached
  })
  const outputs = read.flatMap(({ values }) => codeOutputs(values))
  return { graph: { ...editor.graph(), outputs: [...graph.outputs, ...outputs] }, types: editor.types, read }
}

/** The values of an SAE's codes in a fixed order. */
export function codeOutputs({ tokens, images, chosen, inputs }: CodeValues): string[] {
  return [
    ...(tokens ? [tokens.activations, tokens.latents] : []),
    ...(images ? [images.activations, images.latents, images.tokens] : []),
    ...(chosen === undefined ? [] : [chosen]),
    inputs,
  ]
}

function attach(
  b: GraphBuilder,
  { config, selectsPositions, choosesLatents, ...counts }: AttachedSae,
  { graph, index, hookPoints }: { graph: Graph; index: number; hookPoints: readonly HookPointInfo[] },
): ReadSae {
  const [{ firings }] = findHookPoints(graph, [config.hookPoint]) as [Graph['hookPoints'][number]]
  const hookPoint = hookPoints.find(({ name }) => name === config.hookPoint)
  invariant(hookPoint, `"${config.hookPoint}" is described`)
  const prefix = saePrefix(index)
  const hasTokens = hookPoint.axes.length > 2
  let x = firings.at(-1)!
  let positions: ReadSae['positions']
  if (hasTokens && selectsPositions) {
    const symbol = `saes${index}Positions`
    positions = { input: b.input(`${prefix}positions`, 'int64', [symbol]), symbol, most: hookPoint.shape[1] as number }
    x = b.op('Gather', [x, positions.input], { axis: 1 })
  }
  const latents = choosesLatents ? chosenLatents(b, { index, prefix, config }) : undefined
  const read = { config, prefix, ...counts, ...(latents && { chosen: latents.input }) }
  const values = readCodes(b, hasTokens ? vectors(b, x, config) : b.op('Unsqueeze', [x, wholes(b, [1])]), read)
  return { values: named(b, values, prefix), ...(positions && { positions }), ...(latents && { latents }) }
}

function chosenLatents(b: GraphBuilder, { index, prefix, config }: { index: number; prefix: string; config: SaeConfig }): AxisInput {
  const symbol = `saes${index}Latents`
  return { input: b.input(`${prefix}latents`, 'int64', [symbol]), symbol, most: config.dSae }
}

/** `[batch, pos, dIn]`, of a hook point with heads one of them or all side by side. */
export function vectors(b: GraphBuilder, x: string, { headIndex, flattensHeads, dIn }: SaeConfig): string {
  if (headIndex !== undefined) {
    return b.op('Squeeze', [b.op('Gather', [x, wholes(b, [headIndex])], { axis: 2 }), wholes(b, [2])])
  }
  return flattensHeads ? b.op('Reshape', [x, wholes(b, [0, 0, dIn])]) : x
}

function named(b: GraphBuilder, { tokens, images, chosen, inputs }: CodeValues, prefix: string): CodeValues {
  const rename = <T extends Readonly<Record<string, string>>>(values: T, kind: string) =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [name, b.named(`${prefix}${kind}.${name}`, value)])) as unknown as T
  return {
    ...(tokens && { tokens: rename(tokens, 'tokens') }),
    ...(images && { images: rename(images, 'images') }),
    ...(chosen !== undefined && { chosen: b.named(`${prefix}chosen`, chosen) }),
    inputs: b.named(`${prefix}inputs`, inputs),
  }
}
