/** The pieces that an index takes the latents of an SAE in, and the names of what its graph takes and makes. */

import type { Graph } from '../graph/graph.js'
import { type SaeConfig, saeParameters } from '../saes/sae.js'
import { type Tensor, tensor } from '../tensor.js'
import type { TokenKind } from './feature-record.js'

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

/** Which piece a latent is in. */
export const pieceOf = (latent: number) => Math.floor(latent / PIECE)

/** int64, rows `picture * tokens of the kind + token` whose codes are handed out; at least one, since an axis is never of length 0. */
export const sampleInput = (kind: TokenKind) => `${kind}.sample`
/** `[batch, dEmbed]` */
export const EMBEDDINGS = 'embeddings'
/** `[rows, latents]`; `index-codes.ts` says which rows. */
export const codesOutput = ({ prefix }: Piece, kind: TokenKind) => `${prefix}${kind}`
/** `[sampled, latents]` */
export const sampledOutput = ({ prefix }: Piece, kind: TokenKind) => `${prefix}${kind}.sampled`
/** Of top-k latents: `[batch * token, k]`, activations and the latents (int32) that have them; an activation of 0 is none. */
export const ACTIVATIONS = 'activations'
export const LATENTS = 'latents'
export const handsOutActive = ({ activation }: Pick<SaeConfig, 'activation'>) => activation === 'topk'
/** `[latents, dEmbed]`: the sum of the pictures' embeddings, each times its score. */
export const weightedOutput = ({ prefix }: Piece) => `${prefix}weighted`

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
