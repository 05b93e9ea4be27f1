/**
 * Statistics of every latent over a batch, as a graph that hands out numbers of latents and not codes. The encoder is written in pieces of some
 * thousand latents, so that a piece's codes are still in the cache when they are reduced: encoding 49,152 latents at once writes 10 MB a
 * picture to memory.
 *
 * Input `x`, the value of the hook point, and `sample`, rows `token * batch + picture` whose codes are handed out whole.
 */

import { GraphBuilder } from '../graph/builder.js'
import { above, literal, multiply, wholes } from '../graph/expressions.js'
import type { Graph } from '../graph/graph.js'
import { encoderInput, latentsOfInput } from '../saes/encode-decode.js'
import { type SaeConfig, saeParameters } from '../saes/sae.js'
import { type Tensor, tensor } from '../tensor.js'
import type { TokenKind } from './feature-record.js'
import { nTokens, type StudiedTokens, sliceOf, takeVectors } from './studied-sae.js'

/** Latents in a piece: 400 tokens of them are 3 MB. */
const PIECE = 2048

/** Of each picture, `[batch, dSae]`: the largest activation over the tokens of a kind, the lowest pre-activation, and the tokens where they are. */
export const pictureOutputs = ['max', 'whereMax', 'min', 'whereMin'] as const
/** Over the tokens of a kind of all pictures, `[dSae]`. */
export const batchOutputs = ['count', 'sum', 'squares'] as const
export const SAMPLED = 'sampled'

export const kindOutput = (kind: TokenKind, name: (typeof pictureOutputs)[number] | (typeof batchOutputs)[number]) => `${kind}.${name}`

interface Piece {
  readonly prefix: string
  readonly from: number
  readonly to: number
}

/** Top-k latents depend on one another, and are one piece. */
export function pieces({ dSae, activation }: SaeConfig): Piece[] {
  const width = activation === 'topk' ? dSae : PIECE
  return Array.from({ length: Math.ceil(dSae / width) }, (_, at) => ({
    prefix: `pieces[${at}].`,
    from: at * width,
    to: Math.min(dSae, (at + 1) * width),
  }))
}

export function indexGraph(config: SaeConfig, tokens: StudiedTokens): Graph {
  const b = new GraphBuilder('feature index')
  const { dIn } = config
  const value = b.input('x', 'float32', tokens.hookPoint.shape)
  const sample = b.input('sample', 'int64', ['sampled'])
  // Token by token and not picture by picture: the tokens of a kind are then one stretch of rows.
  const vectors = b.op('Transpose', [takeVectors(b, value, { tokens, place: config, width: dIn })], { perm: [1, 0, 2] })
  const site = { prefix: '', axes: ['batch', 'dModel'] } as const
  const input = encoderInput(b, b.op('Reshape', [vectors, wholes(b, [-1, dIn])]), config, site)
  const parts: Record<string, string[]> = {}
  const put = (name: string, made: string) => {
    parts[name] ??= []
    parts[name].push(made)
  }
  for (const { prefix, from, to } of pieces(config)) {
    const dSae = to - from
    const { pre, latentActs } = latentsOfInput(b, input, { ...config, dSae }, { ...site, prefix })
    put(SAMPLED, b.op('Gather', [latentActs, sample], { axis: 0 }))
    const perToken = (rows: string) => b.op('Reshape', [rows, wholes(b, [nTokens(tokens), -1, dSae])])
    const [acts, pres] = [perToken(latentActs), perToken(pre)]
    for (const range of tokens.kinds) {
      const ofKind = (x: string) => sliceOf(b, x, 0, range, nTokens(tokens))
      const [own, ownPre] = [ofKind(acts), ofKind(pres)]
      const overTokens = (op: 'ReduceMax' | 'ReduceMin', x: string) => b.op(op, [x, wholes(b, [0])], { keepdims: 0 })
      const overAll = (x: string) => b.op('ReduceSum', [x, wholes(b, [0, 1])], { keepdims: 0 })
      const firstLargest = (x: string) => b.op('Cast', [b.op('ArgMax', [x], { axis: 0, keepdims: 0 })], { to: 'int32' })
      put(kindOutput(range.kind, 'max'), overTokens('ReduceMax', own))
      put(kindOutput(range.kind, 'min'), overTokens('ReduceMin', ownPre))
      if (nTokens(range) > 1) {
        put(kindOutput(range.kind, 'whereMax'), firstLargest(own))
        put(kindOutput(range.kind, 'whereMin'), firstLargest(b.op('Neg', [ownPre])))
      }
      put(kindOutput(range.kind, 'count'), overAll(above(b, own, literal(b, 0))))
      put(kindOutput(range.kind, 'sum'), overAll(own))
      put(kindOutput(range.kind, 'squares'), overAll(multiply(b, own, own)))
    }
  }
  return b.build(
    Object.entries(parts).map(([name, made]) => b.named(name, made.length === 1 ? made[0]! : b.op('Concat', made, { axis: -1 }))),
  )
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
