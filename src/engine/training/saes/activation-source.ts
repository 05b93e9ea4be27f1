/**
 * Activations as an SAE is trained on them: one row a token, from any number of hook points in one pass. Nothing after the last of them is
 * computed.
 */

import type { Backend } from '../../backends/backend.js'
import { EngineError } from '../../errors.js'
import type { GraphBuilder } from '../../graph/builder.js'
import { findHookPoints } from '../../graph/edit.js'
import { wholes } from '../../graph/expressions.js'
import type { Graph, HookPoint } from '../../graph/graph.js'
import { inferTypes, type Types } from '../../graph/infer.js'
import { prune } from '../../graph/prune.js'
import { nPrefixTokens } from '../../hook-points.js'
import type { LoadedTower } from '../../models/load.js'
import type { VisionConfig } from '../../models/model.js'
import type { SaeConfig } from '../../saes/sae.js'
import type { Tensor } from '../../tensor.js'
import { extend } from '../extend-graph.js'

/** Which tokens of a picture are trained on: all, CLS alone, or the patches alone (neither CLS nor registers). */
export type Positions = 'all' | 'cls' | 'patches'

/** A hook point as an SAE sees it: one head of it, or its heads side by side. */
export interface HookRead {
  readonly hookPoint: string
  readonly headIndex?: number
}

/** What reads go by: `blocks.2.attn.hook_z`, `blocks.2.attn.hook_z[3]`. */
export function readName({ hookPoint, headIndex }: HookRead): string {
  return headIndex === undefined ? hookPoint : `${hookPoint}[${headIndex}]`
}

/** What an SAE reads: its input, and of a transcoder what it predicts. */
export function readsOf({ hookPoint, headIndex, transcoder }: SaeConfig): readonly [input: HookRead, target?: HookRead] {
  const input = headIndex === undefined ? { hookPoint } : { hookPoint, headIndex }
  return transcoder ? [input, { hookPoint: transcoder.hookPointOut }] : [input]
}

export interface ActivationSource {
  /** Tokens that each picture gives. */
  readonly rowsPerPicture: number
  /** Length of a row, by read. */
  readonly widths: Readonly<Record<string, number>>
  /** @param pixels `[batch, channel, height, width]`. @returns by read, `[batch * rowsPerPicture, width]`, tokens of a picture together */
  read(pixels: Tensor): Promise<Readonly<Record<string, Float32Array>>>
  dispose(): Promise<void>
}

export interface ActivationSourceOptions {
  readonly backend: Backend
  readonly tower: LoadedTower
  readonly config: VisionConfig
  readonly reads: readonly HookRead[]
  readonly positions: Positions
}

/** @throws HOOK_POINT_UNKNOWN; INPUT_INVALID for a hook point that has no such rows */
export async function openActivationSource({
  backend,
  tower,
  config,
  reads,
  positions,
}: ActivationSourceOptions): Promise<ActivationSource> {
  const { graph, rowsPerPicture, widths } = activationGraph(tower.buildGraph(new Set(reads.map(({ hookPoint }) => hookPoint))), {
    config,
    reads,
    positions,
  })
  const names = Object.keys(widths)
  const needed = Object.fromEntries(Object.entries(tower.weights).filter(([name]) => Object.hasOwn(graph.parameters, name)))
  const [program, weights] = await Promise.all([backend.compile(graph, { workspace: 'kept' }), backend.upload(needed)])
  return {
    rowsPerPicture,
    widths,
    async read(pixels) {
      const values = await program.run({ inputs: { pixels }, weights, fetch: names.map(outputName) })
      return Object.fromEntries(names.map((name) => [name, values[outputName(name)]!.data as Float32Array]))
    },
    async dispose() {
      await Promise.all([program.dispose(), weights.dispose()])
    },
  }
}

const outputName = (read: string) => `rows/${read}`

/** The graph up to the last of the hook points; its outputs are rows of tokens. */
export function activationGraph(
  graph: Graph,
  { config, reads, positions }: Pick<ActivationSourceOptions, 'config' | 'reads' | 'positions'>,
): { readonly graph: Graph; readonly rowsPerPicture: number; readonly widths: Readonly<Record<string, number>> } {
  const hookPoints = findHookPoints(
    graph,
    reads.map(({ hookPoint }) => hookPoint),
  )
  const types = inferTypes(graph)
  const planned = new Map(reads.map((read, at) => [readName(read), planRows(hookPoints[at]!, read, { types, config, positions })]))
  const rows = [...planned.values()].map(({ nRows }) => nRows)
  if (new Set(rows).size > 1) {
    throw refuse(
      'hookPoint',
      `${[...planned].map(([name, { nRows }]) => `${name} gives ${nRows}`).join(', ')} rows a picture; they must agree`,
    )
  }
  const extended = extend({ ...graph, outputs: [] }, 'rows/', (b) =>
    [...planned].map(([name, plan]) => b.named(outputName(name), takeRows(b, plan))),
  )
  return {
    graph: prune(extended),
    rowsPerPicture: rows[0] ?? 0,
    widths: Object.fromEntries([...planned].map(([name, { width }]) => [name, width])),
  }
}

interface RowPlan {
  readonly value: string
  /** Along axis 1: the tokens that are taken. Absent: all. */
  readonly tokens?: readonly [from: number, to: number]
  readonly head?: number
  readonly nRows: number
  readonly width: number
}

function planRows(
  hookPoint: HookPoint,
  { headIndex }: HookRead,
  { types, config, positions }: { types: Types; config: VisionConfig; positions: Positions },
): RowPlan {
  const value = hookPoint.firings.at(-1)!
  const [, ...shape] = types.get(value)!.shape as readonly number[]
  const [, ...axes] = hookPoint.axes
  const [kind, ...inner] = axes
  const isPerToken = (kind === 'pos' || kind === 'patch') && (inner.length === 1 || (inner.length === 2 && inner[0] === 'head'))
  if (!isPerToken) throw refuse('hookPoint', `"${hookPoint.name}" [${hookPoint.axes.join(', ')}] has no row for each token`)
  const hasHeads = inner.length === 2
  if (headIndex !== undefined && !hasHeads) throw refuse('headIndex', `"${hookPoint.name}" has no heads`)
  if (headIndex !== undefined && headIndex >= shape[1]!) throw refuse('headIndex', `"${hookPoint.name}" has ${shape[1]} heads, from 0`)
  const width = headIndex === undefined ? shape.slice(1).reduce((product, length) => product * length, 1) : shape[2]!
  const prefix = kind === 'patch' ? 0 : nPrefixTokens(config)
  if (positions === 'cls' && (kind === 'patch' || !config.hasCls)) throw refuse('positions', `"${hookPoint.name}" has no CLS token`)
  const all = shape[0]!
  const tokens: readonly [number, number] = positions === 'cls' ? [0, 1] : positions === 'patches' ? [prefix, all] : [0, all]
  return {
    value,
    ...(tokens[1] - tokens[0] < all && { tokens }),
    ...(headIndex !== undefined && { head: headIndex }),
    nRows: tokens[1] - tokens[0],
    width,
  }
}

/** `[batch * nRows, width]` */
function takeRows(b: GraphBuilder, { value, tokens, head, width }: RowPlan): string {
  const slice = (x: string, axis: number, [from, to]: readonly [number, number]) =>
    b.op('Slice', [x, wholes(b, [from]), wholes(b, [to]), wholes(b, [axis])])
  const chosen = tokens ? slice(value, 1, tokens) : value
  const ofHead = head === undefined ? chosen : slice(chosen, 2, [head, head + 1])
  return b.op('Reshape', [ofHead, wholes(b, [-1, width])])
}

function refuse(path: string, problem: string): EngineError {
  return new EngineError('INPUT_INVALID', { path, problem: `${problem}.` })
}
