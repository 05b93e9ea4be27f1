/**
 * What each part of a model writes to a score, as values of a graph: parts write to tokens of the residual stream, and readers read them.
 */

import type { GraphBuilder } from '../../graph/builder.js'
import { reshape, slice, transpose } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import { nPositions, nPrefixTokens } from '../../hook-points.js'
import type { VisionConfig } from '../../models/model.js'
import { int64, scalar } from '../../tensor.js'
import { type Reader, type Rows, throughNorm } from './score-reading.js'

export type PartKind = 'embedding' | 'position' | 'attention' | 'mlp' | 'bias'

/** As answers list it. */
export interface PartName {
  /** A hook point's name without `hook_`, or a parameter's. */
  readonly name: string
  readonly kind: PartKind
  readonly layer?: number
}

/** What a score takes from tokens, by the readers that read any of them: `[batch, rows, nTargets]`. */
export type Reads = readonly { readonly rows: Rows; readonly value: string }[]

export interface TokenPart extends PartName {
  readonly reads: Reads
}

export interface PartSetting {
  readonly graph: Graph
  readonly config: VisionConfig
  readonly readers: readonly Reader[]
}

/** What writes to the residual stream, in the order in which the model computes it; together they write all of it. */
export function listParts(graph: Graph, config: VisionConfig): PartName[] {
  const bias = (name: string, layer?: number): PartName[] => {
    return Object.hasOwn(graph.parameters, name) ? [{ name, kind: 'bias', ...(layer !== undefined && { layer }) }] : []
  }
  const layers = Array.from({ length: config.nLayers }, (_, layer): PartName[] => [
    { name: `blocks.${layer}.attn`, kind: 'attention', layer },
    ...bias(`blocks.${layer}.attn.b_O`, layer),
    ...(config.dMlp === undefined ? [] : [{ name: `blocks.${layer}.mlp`, kind: 'mlp', layer } as const]),
    ...bias(`blocks.${layer}.mlp.b_out`, layer),
  ])
  return [
    { name: 'embed', kind: 'embedding' },
    ...(config.hasCls ? [{ name: 'cls_token', kind: 'embedding' } as const] : []),
    ...(config.nRegisters > 0 ? [{ name: 'register_tokens', kind: 'embedding' } as const] : []),
    { name: 'pos_embed', kind: 'position' },
    ...bias('ln_pre.b'),
    ...layers.flat(),
  ]
}

/** Those that `listParts` lists. */
export function tokenParts(b: GraphBuilder, setting: PartSetting): TokenPart[] {
  const before = readersBeforeNorm(b, setting)
  return listParts(setting.graph, setting.config).map((part) => ({ ...part, reads: readsOf(b, part, { ...setting, before }) }))
}

/** Directions at what attention mixes, `[nTargets, nHeads * dHead]`. */
export function directionsAtZ(b: GraphBuilder, { directions }: Reader, layer: number, { graph, config }: PartSetting): string {
  const written = scaledBy(b, directions, `blocks.${layer}.ls1`, { graph, config })
  return b.op('MatMul', [written, b.parameter(`blocks.${layer}.attn.W_O`, [config.dModel, config.nHeads * config.dHead])])
}

/** Directions at an MLP's neurons, `[nTargets, dMlp]`. */
export function directionsAtNeurons(b: GraphBuilder, { directions }: Reader, layer: number, { graph, config }: PartSetting): string {
  const written = scaledBy(b, directions, `blocks.${layer}.ls2`, { graph, config })
  return b.op('MatMul', [written, b.parameter(`blocks.${layer}.mlp.W_out`, [config.dModel, config.dMlp!])])
}

/** Weights of some of a reader's rows, `[batch, rows, 1]`. */
export function weightsOf(b: GraphBuilder, reader: Reader, rows: Rows): string {
  const { start, end } = reader.rows
  if (rows.start === start && rows.end === end) return reader.weights
  return slice(b, reader.weights, { axis: 1, start: rows.start - start, end: rows.end - start })
}

/** Where a reader's rows and others meet. */
export function meet(a: Rows, b: Rows): Rows | undefined {
  const rows = { start: Math.max(a.start, b.start), end: Math.min(a.end, b.end) }
  return rows.start < rows.end ? rows : undefined
}

/** `[batch, nTargets]` */
export function sumOfPart(b: GraphBuilder, { reads }: Pick<TokenPart, 'reads'>, score: string): string {
  const sums = reads.map(({ value }) => b.op('ReduceSum', [value, b.constant(int64([1], [1]))], { keepdims: 0 }))
  return sums.length === 0 ? zerosLike(b, score) : sums.reduce((sum, value) => b.op('Add', [sum, value]))
}

/** `[batch, pos, nTargets]`, zero for tokens that are not read. */
export function tokensOfPart(b: GraphBuilder, { reads }: TokenPart, { score, length }: { score: string; length: number }): string {
  const padded = reads.map(({ rows, value }) => {
    return b.op('Pad', [value, b.constant(int64([6], [0, rows.start, 0, 0, length - rows.end, 0]))])
  })
  if (padded.length > 0) return padded.reduce((sum, value) => b.op('Add', [sum, value]))
  const zeros = b.op('Unsqueeze', [zerosLike(b, score), b.constant(int64([1], [1]))])
  return b.op('Expand', [zeros, b.constant(int64([3], [1, length, 1]))])
}

/** Zeros, even where the score is no number. */
function zerosLike(b: GraphBuilder, score: string): string {
  const zero = b.constant(scalar(0))
  return b.op('Where', [b.op('IsNaN', [score]), zero, zero])
}

/** As tokens and positions are read: through `ln_pre` where the model has one, whose scale is frozen too. */
function readersBeforeNorm(b: GraphBuilder, { graph, config, readers }: PartSetting): readonly Reader[] {
  if (!graph.hookPoints.some(({ name }) => name === 'ln_pre.hook_scale')) return readers
  const gain = Object.hasOwn(graph.parameters, 'ln_pre.w') ? 'ln_pre.w' : undefined
  return readers.map(({ rows, weights, directions }) => ({
    rows,
    weights: b.op('Div', [weights, slice(b, 'ln_pre.hook_scale', { axis: 1, ...rows })]),
    directions: throughNorm(b, directions, gain, config.dModel),
  }))
}

function readsOf(b: GraphBuilder, { name, kind, layer }: PartName, setting: PartSetting & { readonly before: readonly Reader[] }): Reads {
  const { config, readers, before } = setting
  const [prefix, length] = [nPrefixTokens(config), nPositions(config)]
  const all = { start: 0, end: length }
  const readEach = (by: readonly Reader[], value: string, rows: Rows, at = (reader: Reader) => reader.directions): Reads => {
    return by.flatMap((reader) => read(b, reader, { value, rows, directions: at(reader) }) ?? [])
  }
  switch (name) {
    case 'embed':
      return readEach(before, 'hook_embed', { start: prefix, end: length })
    case 'cls_token':
      return readEach(before, b.parameter(name, [1, 1, config.dModel]), { start: 0, end: 1 })
    case 'register_tokens': {
      const { nRegisters } = config
      return readEach(before, b.parameter(name, [1, nRegisters, config.dModel]), { start: prefix - nRegisters, end: prefix })
    }
    case 'pos_embed':
      return readEach(before, 'hook_pos_embed', all)
  }
  switch (kind) {
    case 'attention':
      return readWritten(b, `blocks.${layer}.hook_attn_out`, {
        bias: `blocks.${layer}.attn.b_O`,
        layerScale: `blocks.${layer}.ls1`,
        ...setting,
      })
    case 'mlp':
      return readWritten(b, `blocks.${layer}.hook_mlp_out`, {
        bias: `blocks.${layer}.mlp.b_out`,
        layerScale: `blocks.${layer}.ls2`,
        ...setting,
      })
    case 'bias': {
      const layerScale = name.endsWith('.b_O') ? `blocks.${layer}.ls1` : `blocks.${layer}.ls2`
      return readers.map((reader) =>
        readBias(b, reader, { bias: name, directions: scaledBy(b, reader.directions, layerScale, setting), config }),
      )
    }
    default:
      throw new Error(`Invariant violated: "${name}" is not a part`)
  }
}

/** @param value  `[batch or 1, rows, n]`, of these rows of the `pos` axis; directions are `[nTargets, n]` */
export function read(
  b: GraphBuilder,
  reader: Reader,
  { value, rows, directions }: { readonly value: string; readonly rows: Rows; readonly directions: string },
): Reads[number] | undefined {
  const both = meet(reader.rows, rows)
  if (!both) return undefined
  const isAll = both.start === rows.start && both.end === rows.end
  const some = isAll ? value : slice(b, value, { axis: 1, start: both.start - rows.start, end: both.end - rows.start })
  const products = b.op('MatMul', [some, transpose(b, directions, [1, 0])])
  return { rows: both, value: b.op('Mul', [products, weightsOf(b, reader, both)]) }
}

/**
 * What attention or an MLP writes but for its bias, which is a part of its own. The output that the model has computed is read, and not what goes into it:
 * no directions have to be taken through weights.
 */
function readWritten(
  b: GraphBuilder,
  written: string,
  { bias, layerScale, ...setting }: PartSetting & { readonly bias: string; readonly layerScale: string },
): Reads {
  const { config, readers, graph } = setting
  const all = { start: 0, end: nPositions(config) }
  return readers.map((reader) => {
    const { rows, value } = read(b, reader, { value: written, rows: all, directions: reader.directions })!
    if (!Object.hasOwn(graph.parameters, bias)) return { rows, value }
    const ofBias = readBias(b, reader, { bias, directions: scaledBy(b, reader.directions, layerScale, setting), config })
    return { rows, value: b.op('Sub', [value, ofBias.value]) }
  })
}

/** A bias is written to every token alike. */
function readBias(
  b: GraphBuilder,
  { rows, weights }: Reader,
  { bias, directions, config }: { readonly bias: string; readonly directions: string; readonly config: VisionConfig },
): Reads[number] {
  const vector = reshape(b, b.parameter(bias, [config.dModel]), [1, 1, config.dModel])
  return { rows, value: b.op('Mul', [b.op('MatMul', [vector, transpose(b, directions, [1, 0])]), weights]) }
}

function scaledBy(
  b: GraphBuilder,
  directions: string,
  layerScale: string,
  { graph, config }: Pick<PartSetting, 'graph' | 'config'>,
): string {
  return Object.hasOwn(graph.parameters, layerScale) ? b.op('Mul', [directions, b.parameter(layerScale, [config.dModel])]) : directions
}
