/** Attention and MLPs taken apart further: heads, the tokens that heads read from, neurons, and features of SAEs. */

import type { GraphBuilder } from '../../graph/builder.js'
import { reshape, slice, sumOver, transpose } from '../../graph/expressions.js'
import { nPositions } from '../../hook-points.js'
import { decode, encode, type SaeSite } from '../../saes/encode-decode.js'
import type { SaeConfig } from '../../saes/sae.js'
import { int64 } from '../../tensor.js'
import { directionsAtNeurons, meet, type PartSetting, read, sumOfPart, weightsOf } from './score-parts.js'
import type { Reader, Rows } from './score-reading.js'

const axes = (b: GraphBuilder, ...list: number[]) => b.constant(int64([list.length], list))
const added = (b: GraphBuilder, values: readonly string[]) => values.reduce((sum, value) => b.op('Add', [sum, value]))

/** A layer's attention, and of each reader the directions at what it mixes (`directionsAtZ`). */
export interface LayerAttention {
  readonly layer: number
  readonly directions: readonly string[]
}

/** `[batch, head, nTargets]` */
export function headParts(b: GraphBuilder, { layer, directions }: LayerAttention, { config, readers }: PartSetting): string {
  const ofReaders = readers.map((reader, at) => {
    const z = transpose(b, slice(b, `blocks.${layer}.attn.hook_z`, { axis: 1, ...reader.rows }), [0, 2, 1, 3])
    const products = b.op('MatMul', [z, byHead(b, directions[at]!, config)]) // [batch, head, rows, nTargets]
    const weighted = b.op('Mul', [products, b.op('Unsqueeze', [reader.weights, axes(b, 1)])])
    return b.op('ReduceSum', [weighted, axes(b, 2)], { keepdims: 0 })
  })
  return added(b, ofReaders)
}

/**
 * What each head brings from each token that it reads, `[batch, head, kPos, nTargets]`: pattern times value, over all tokens that the score
 * reads. Their sum is what the head writes, because values are mixed linearly.
 */
export function sourceParts(b: GraphBuilder, { layer, directions }: LayerAttention, { config, readers }: PartSetting): string {
  const values = transpose(b, `blocks.${layer}.attn.hook_v`, [0, 2, 1, 3]) // [batch, head, kPos, dHead]
  const ofReaders = readers.map((reader, at) => {
    const written = b.op('MatMul', [values, byHead(b, directions[at]!, config)])
    const pattern = slice(b, `blocks.${layer}.attn.hook_pattern`, { axis: 2, ...reader.rows }) // [batch, head, rows, kPos]
    const weighted = b.op('Mul', [pattern, b.op('Unsqueeze', [reader.weights, axes(b, 1)])])
    const taken = b.op('Unsqueeze', [b.op('ReduceSum', [weighted, axes(b, 2)], { keepdims: 0 }), axes(b, 3)]) // [batch, head, kPos, 1]
    return b.op('Mul', [written, taken])
  })
  return added(b, ofReaders)
}

/** `[nTargets, nHeads * dHead]` as `[head, dHead, nTargets]`. */
function byHead(b: GraphBuilder, directions: string, { nHeads, dHead }: PartSetting['config']): string {
  return transpose(b, reshape(b, directions, [-1, nHeads, dHead]), [1, 2, 0])
}

/** The ones with the largest parts, each `[batch, nTargets, k]`; indices as floats, which are exact below 2^24. */
export interface Largest {
  readonly values: string
  readonly indices: string
  /** Mean over the tokens that the score reads. */
  readonly activations: string
}

/** Neurons of a layer by the size of their parts. */
export function neuronParts(b: GraphBuilder, layer: number, { k, ...setting }: PartSetting & { readonly k: number }): Largest {
  const post = `blocks.${layer}.mlp.hook_post`
  const rows = { start: 0, end: nPositions(setting.config) }
  const parts = setting.readers.map((reader) => {
    return b.op('Mul', [weightedSum(b, post, rows, reader), directionsAtNeurons(b, reader, layer, setting)])
  })
  return largest(b, { parts: added(b, parts), acts: meanOfRead(b, post, rows, setting.readers), k })
}

/** An SAE whose reconstruction is a part of the residual stream. */
export interface ReadFeatures extends Largest {
  /** All features together, `[batch, nTargets]`. */
  readonly features: string
  /** What the decoder adds without features: its bias, the mean that a normalisation took away, a transcoder's skip. */
  readonly bias: string
  /** What the SAE leaves out. */
  readonly error: string
}

/** Where an SAE stands: what it encodes, what it stands for, and the directions there. */
export interface FeatureSite {
  /** `[batch, pos, dIn]` */
  readonly x: string
  /** `[batch, pos, dOut]` */
  readonly y: string
  /** Of each reader, `[nTargets, dOut]`. */
  readonly directions: readonly string[]
}

export interface FeatureSetting extends PartSetting {
  readonly sae: SaeConfig
  readonly prefix: string
  readonly k: number
  readonly score: string
}

/** Only tokens that the score reads are encoded. */
export function featureParts(b: GraphBuilder, { x, y, directions }: FeatureSite, setting: FeatureSetting): ReadFeatures {
  const { readers, sae, prefix, k, score } = setting
  const rows = { start: Math.min(...readers.map((each) => each.rows.start)), end: Math.max(...readers.map((each) => each.rows.end)) }
  const count = rows.end - rows.start
  const site: SaeSite = { prefix, axes: ['batch', 'dModel'] }
  const encoded = encode(b, reshape(b, slice(b, x, { axis: 1, ...rows }), [-1, sae.dIn]), sae, site)
  const reconstruction = decode(b, encoded.latentActs, encoded, sae, site)
  const latents = reshape(b, encoded.latentActs, [-1, count, sae.dSae])
  const scaled = scaledLatents(b, latents, { encoded: encoded.normalized, sae, count })
  const decoder = b.parameter(`${prefix}W_dec`, [sae.dSae, sae.dOut])
  const parts = readers.map((reader, index) => {
    return b.op('Mul', [weightedSum(b, scaled, rows, reader), b.op('Gemm', [directions[index]!, decoder], { transB: 1 })])
  })
  const all = added(b, parts)
  const total = (value: string, its: Rows) => {
    const reads = readers.flatMap((reader, index) => read(b, reader, { value, rows: its, directions: directions[index]! }) ?? [])
    return sumOfPart(b, { reads }, score)
  }
  const features = b.op('ReduceSum', [all, axes(b, -1)], { keepdims: 0 })
  const explained = total(reshape(b, reconstruction, [-1, count, sae.dOut]), rows)
  return {
    ...largest(b, { parts: all, acts: b.op('ReduceMean', [readOnly(b, latents, rows, readers), axes(b, 1)], { keepdims: 1 }), k }),
    features,
    bias: b.op('Sub', [explained, features]),
    error: b.op('Sub', [total(y, { start: 0, end: nPositions(setting.config) }), explained]),
  }
}

/** What latents are multiplied with before the decoder's rows count: the normalisation undone. */
function scaledLatents(
  b: GraphBuilder,
  latents: string,
  { encoded, sae, count }: { encoded: { readonly scale?: string }; sae: SaeConfig; count: number },
): string {
  const isUndone = !sae.transcoder || sae.transcoder.denormalizes
  if (encoded.scale === undefined || !isUndone) return latents
  // one factor for all tokens is a scalar, and else there is one for each
  if (sae.normalization === 'expected_average_only_in') return b.op('Mul', [latents, encoded.scale])
  return b.op('Mul', [latents, reshape(b, encoded.scale, [-1, count, 1])])
}

/** `[batch, 1, n]`: a value of tokens, as a reader weighs them. */
function weightedSum(b: GraphBuilder, value: string, rows: Rows, reader: Reader): string {
  const both = meet(reader.rows, rows)!
  const some = slice(b, value, { axis: 1, start: both.start - rows.start, end: both.end - rows.start })
  return sumOver(b, b.op('Mul', [some, weightsOf(b, reader, both)]), 1)
}

function meanOfRead(b: GraphBuilder, value: string, rows: Rows, readers: readonly Reader[]): string {
  return b.op('ReduceMean', [readOnly(b, value, rows, readers), axes(b, 1)], { keepdims: 1 })
}

/** The tokens that any reader reads, one after another. */
function readOnly(b: GraphBuilder, value: string, rows: Rows, readers: readonly Reader[]): string {
  const some = readers.map((reader) => {
    return slice(b, value, { axis: 1, start: reader.rows.start - rows.start, end: reader.rows.end - rows.start })
  })
  return some.length === 1 ? some[0]! : b.op('Concat', some, { axis: 1 })
}

/** @param parts  `[batch, nTargets, n]`; `acts` `[batch, 1, n]` */
function largest(b: GraphBuilder, { parts, acts, k }: { parts: string; acts: string; k: number }): Largest {
  const [, indices] = b.opMany('TopK', [b.op('Abs', [parts]), axes(b, k)], { nOutputs: 2, attributes: { axis: -1 } })
  const everywhere = b.op('Expand', [acts, b.op('Shape', [parts])])
  return {
    values: b.op('GatherElements', [parts, indices!], { axis: 2 }),
    indices: b.op('Cast', [indices!], { to: 'float32' }),
    activations: b.op('GatherElements', [everywhere, indices!], { axis: 2 }),
  }
}
