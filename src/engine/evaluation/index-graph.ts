/**
 * Statistics of every latent over a batch, as a graph that hands out numbers of latents and not codes. The latents are taken in pieces of some
 * thousand, each with one output for each kind of token: a runtime that goes through the graph from its outputs has done with a piece's codes
 * before it begins with the next, and they never leave the cache. Encoding 49,152 latents at once writes 10 MB a picture to memory.
 *
 * Inputs: `x`, the value of the hook point; for each kind the tokens whose codes are handed out whole; where pictures are compared, their
 * embeddings at unit length.
 */

import { GraphBuilder } from '../graph/builder.js'
import { above, literal, square, wholes } from '../graph/expressions.js'
import type { Graph } from '../graph/graph.js'
import { type EncoderInput, encoderInput, latentsOfInput, type SaeSite } from '../saes/encode-decode.js'
import { type SaeConfig, saeParameters } from '../saes/sae.js'
import { type Tensor, tensor } from '../tensor.js'
import type { TokenKind } from './feature-record.js'
import { nTokens, type StudiedTokens, sliceOf, type TokenRange, takeVectors } from './studied-sae.js'

/**
 * Latents in a piece. An odd number of cache lines: at a power of two, a latent's values at the tokens of a picture would all fall into the same
 * few places of the cache.
 */
const PIECE = 2064

/** Latents `from` to `to`; `prefix` is before the names of their parameters and outputs. */
export interface Piece {
  readonly prefix: string
  readonly from: number
  readonly to: number
}

export function pieces({ dSae }: Pick<SaeConfig, 'dSae'>): Piece[] {
  return Array.from({ length: Math.ceil(dSae / PIECE) }, (_, at) => ({
    prefix: `pieces[${at}].`,
    from: at * PIECE,
    to: Math.min(dSae, (at + 1) * PIECE),
  }))
}

/** int64, rows `picture * tokens of the kind + token` whose codes are handed out; at least one, since an axis is never of length 0. */
export const sampleInput = (kind: TokenKind) => `${kind}.sample`
/** `[batch, dEmbed]` */
export const EMBEDDINGS = 'embeddings'
/** `[rows, latents]`; `codesOf` says which rows. */
export const codesOutput = ({ prefix }: Piece, kind: TokenKind) => `${prefix}${kind}`
/** `[latents, dEmbed]`: the sum of the pictures' embeddings, each times its score. */
export const weightedOutput = ({ prefix }: Piece) => `${prefix}weighted`

/** What is said of the latents of a piece over the tokens of a kind; the last axis is always the latents. */
export interface PieceCodes {
  /** `[batch, latents]`: the largest activation of each picture, and its token; absent where there is only one. */
  readonly max: Float32Array
  readonly whereMax?: Float32Array
  /** The lowest pre-activation. */
  readonly min: Float32Array
  readonly whereMin?: Float32Array
  /** `[latents]`, over all pictures: tokens at which it is active, the sum of its activations and of their squares. */
  readonly count: Float32Array
  readonly sum: Float32Array
  readonly squares: Float32Array
  /** `[sampled, latents]` */
  readonly sampled: Float32Array
}

/** @param rows  the output for a piece and a kind of token */
export function codesOf(rows: Float32Array, { batch, width, range }: { batch: number; width: number; range: TokenRange }): PieceCodes {
  let from = 0
  const next = (n: number) => {
    from += n
    return rows.subarray((from - n) * width, from * width)
  }
  const extremes =
    nTokens(range) === 1
      ? { max: next(batch), min: next(batch) }
      : { max: next(batch), whereMax: next(batch), min: next(batch), whereMin: next(batch) }
  return { ...extremes, count: next(1), sum: next(1), squares: next(1), sampled: rows.subarray(from * width) }
}

/** @param dEmbed  length of the pictures' embeddings; 0: they are not compared */
export function indexGraph(config: SaeConfig, tokens: StudiedTokens, dEmbed = 0): Graph {
  const b = new GraphBuilder('feature index')
  const value = b.input('x', 'float32', tokens.hookPoint.shape)
  const vectors = takeVectors(b, value, { tokens, place: config, width: config.dIn }) // [batch, token, dIn]
  const embeddings = dEmbed > 0 ? b.input(EMBEDDINGS, 'float32', ['batch', dEmbed]) : undefined
  const kinds = tokens.kinds.map((range) => {
    const own = sliceOf(b, vectors, 1, range, nTokens(tokens))
    const site = { prefix: '', hooks: `${range.kind}.`, axes: ['batch', 'dModel'] } as const
    const input = encoderInput(b, b.op('Reshape', [own, wholes(b, [-1, config.dIn])]), config, site)
    return {
      range,
      sample: b.input(sampleInput(range.kind), 'int64', [`${range.kind}Sampled`]),
      latents: latentsOf(b, input, { config, site }),
    }
  })
  const outputs: string[] = []
  for (const piece of pieces(config)) {
    const maxima = kinds.map(({ range, sample, latents }) => {
      const { pre, latentActs } = latents(piece)
      const width = piece.to - piece.from
      const [max, whereMax] = extreme(b, latentActs, { nTokens: nTokens(range), width, of: 'largest' })
      const [min, whereMin] = extreme(b, pre, { nTokens: nTokens(range), width, of: 'smallest' })
      const total = (x: string) => b.op('ReduceSum', [x, wholes(b, [0])])
      const rows = [
        ...[max, whereMax, min, whereMin].filter((row) => row !== undefined),
        total(above(b, latentActs, literal(b, 0))),
        total(latentActs),
        total(square(b, latentActs)),
        b.op('Gather', [latentActs, sample], { axis: 0 }),
      ]
      outputs.push(b.named(codesOutput(piece, range.kind), b.op('Concat', rows, { axis: 0 })))
      return max
    })
    if (embeddings === undefined) continue
    const scores = maxima.reduce((left, right) => b.op('Max', [left, right]))
    outputs.push(b.named(weightedOutput(piece), b.op('Gemm', [scores, embeddings], { transA: 1 })))
  }
  return b.build(outputs)
}

/** Top-k latents depend on one another: they are encoded whole, and then cut. */
function latentsOf(b: GraphBuilder, input: EncoderInput, { config, site }: { config: SaeConfig; site: SaeSite & { hooks: string } }) {
  if (config.activation !== 'topk') {
    return ({ prefix, from, to }: Piece) =>
      latentsOfInput(b, input, { ...config, dSae: to - from }, { ...site, prefix, hooks: site.hooks + prefix })
  }
  const whole = latentsOfInput(b, input, config, site)
  return (piece: Piece) => ({
    pre: sliceOf(b, whole.pre, 1, piece, config.dSae),
    latentActs: sliceOf(b, whole.latentActs, 1, piece, config.dSae),
  })
}

/**
 * Of each picture and latent the largest or the smallest of `[batch * nTokens, width]`, and where it is, the first of equals: `[batch, width]`
 * each. Picture by picture, since that is what ONNX Runtime shares out among threads.
 */
function extreme(
  b: GraphBuilder,
  x: string,
  { nTokens, width, of }: { nTokens: number; width: number; of: 'largest' | 'smallest' },
): [value: string, where?: string] {
  if (nTokens === 1) return [x]
  const perPicture = b.op('Reshape', [x, wholes(b, [-1, nTokens, width])])
  const value = b.op(of === 'largest' ? 'ReduceMax' : 'ReduceMin', [perPicture, wholes(b, [1])], { keepdims: 0 })
  const where = b.op('ArgMax', [of === 'largest' ? perPicture : b.op('Neg', [perPicture])], { axis: 1, keepdims: 0 })
  return [value, b.op('Cast', [where], { to: 'float32' })]
}

/** The encoder's weights as the pieces have them; the decoder stays away. */
export function pieceWeights(config: SaeConfig, weights: Readonly<Record<string, Tensor>>, graph: Graph): Record<string, Tensor> {
  const own = (name: string) => weights[name] as Tensor<'float32'>
  const shared = Object.fromEntries(
    Object.keys(weights).flatMap((name) => (Object.hasOwn(graph.parameters, name) ? [[name, own(name)]] : [])),
  )
  const all = Object.entries(saeParameters(config)).filter(([name]) => !(name in shared))
  return Object.assign(
    shared,
    ...pieces(config).map(({ prefix, from, to }) =>
      Object.fromEntries(
        all
          .filter(([name]) => Object.hasOwn(graph.parameters, prefix + name))
          .map(([name, shape]) => [prefix + name, shape.length === 0 ? own(name) : columns(own(name), from, to)]),
      ),
    ),
  )
}

/** Of the last axis. */
function columns({ shape, data }: Tensor<'float32'>, from: number, to: number): Tensor<'float32'> {
  const [width, length] = [to - from, shape.at(-1)!]
  if (width === length) return tensor('float32', shape, data)
  const nRows = data.length / length
  const taken = new Float32Array(nRows * width)
  for (let row = 0; row < nRows; row++) taken.set(data.subarray(row * length + from, row * length + to), row * width)
  return tensor('float32', [...shape.slice(0, -1), width], taken)
}
