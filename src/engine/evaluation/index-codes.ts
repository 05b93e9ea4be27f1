/** What the graph of an index says of a batch, in one form for all SAEs. */

import type { SaeConfig } from '../saes/sae.js'
import type { Tensor } from '../tensor.js'
import { bitsOf } from './activation-bins.js'
import type { ActiveLatents } from './coactive-sample.js'
import { ACTIVATIONS, codesOutput, handsOutActive, LATENTS, type Piece, pieceOf, pieces, sampledOutput } from './index-pieces.js'
import { nTokens, type StudiedTokens, type TokenRange } from './studied-sae.js'

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
}

export interface IndexCodes {
  /** By piece and kind. */
  readonly pieces: readonly (readonly PieceCodes[])[]
  /** Of a sampled token, by its kind and its place among those of the kind; it is good until the next call. */
  active(kind: number, at: number): ActiveLatents
}

export interface MadeOfBatch {
  readonly config: SaeConfig
  readonly tokens: StudiedTokens
  /** Pictures. */
  readonly batch: number
  /** By kind, the sampled tokens' rows among all of the kind: `picture * tokens of the kind + token`. */
  readonly sampled: readonly (readonly { readonly row: number }[])[]
  /** Outputs of the index's graph. */
  readonly made: Readonly<Record<string, Tensor>>
}

export function indexCodes(of: MadeOfBatch): IndexCodes {
  return handsOutActive(of.config) ? fromActive(of) : fromPieces(of)
}

/** A backend may compute in float64. */
export function floats({ data }: Tensor): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data as Float64Array)
}

/** Rows of some numbers of latents each, one after the other. */
function reader(rows: Float32Array, width: number) {
  let from = 0
  return (n: number) => {
    from += n
    return rows.subarray((from - n) * width, from * width)
  }
}

const widthOf = ({ from, to }: Piece) => to - from

function fromPieces({ config, tokens, batch, made }: MadeOfBatch): IndexCodes {
  const read = (piece: Piece, range: TokenRange): PieceCodes => {
    const next = reader(floats(made[codesOutput(piece, range.kind)]!), widthOf(piece))
    const extremes =
      nTokens(range) === 1
        ? { max: next(batch), min: next(batch) }
        : { max: next(batch), whereMax: next(batch), min: next(batch), whereMin: next(batch) }
    return { ...extremes, count: next(1), sum: next(1), squares: next(1) }
  }
  const all = pieces(config)
  const sampled = tokens.kinds.map(({ kind }) => all.map((piece) => bitsOf(floats(made[sampledOutput(piece, kind)]!))))
  const room = { latents: new Int32Array(config.dSae), bits: new Int32Array(config.dSae) }
  return {
    pieces: all.map((piece) => tokens.kinds.map((range) => read(piece, range))),
    active(kind, at) {
      let n = 0
      for (const [index, { from, to }] of all.entries()) n = addActive(sampled[kind]![index]!, { row: at, from, to }, room, n)
      return { latents: room.latents.subarray(0, n), bits: room.bits.subarray(0, n) }
    },
  }
}

const INFINITY_BITS = 0x7f800000

/**
 * Writes the active latents of a row of `codes` after the `n` that are there: those above 0, which no NaN is. By bits alone, since nearly all
 * of the codes are 0.
 */
function addActive(
  codes: Int32Array,
  { row, from, to }: { row: number; from: number; to: number },
  room: ActiveLatents,
  n: number,
): number {
  const { latents, bits } = room
  let count = n
  for (let latent = from, at = row * (to - from); latent < to; latent++, at++) {
    const code = codes[at]!
    if (code <= 0 || code > INFINITY_BITS) continue
    latents[count] = latent
    bits[count++] = code
  }
  return count
}

/** Sums are of float32 numbers, in the order of the tokens. */
function fromActive({ config, tokens, batch, sampled, made }: MadeOfBatch): IndexCodes {
  const [activations, latents] = [floats(made[ACTIVATIONS]!), made[LATENTS]!.data as Int32Array]
  const cut = pieces(config)
  const all = cut.map((piece) =>
    tokens.kinds.map((range) => withoutActive(floats(made[codesOutput(piece, range.kind)]!), { batch, piece, range })),
  )
  const k = latents.length / (batch * nTokens(tokens))
  const rowOf = (picture: number, token: number) => picture * nTokens(tokens) + token
  for (const [kind, range] of tokens.kinds.entries()) {
    for (let picture = 0; picture < batch; picture++) {
      for (let token = range.from; token < range.to; token++) addToken(kind, picture, token - range.from, rowOf(picture, token))
    }
  }
  return {
    pieces: all,
    active(kind, at) {
      const range = tokens.kinds[kind]!
      const { row } = sampled[kind]![at]!
      const of = rowOf(Math.floor(row / nTokens(range)), range.from + (row % nTokens(range)))
      const [own, bits] = [latents.subarray(of * k, (of + 1) * k), bitsOf(activations.subarray(of * k, (of + 1) * k))]
      const order = Int32Array.from(own.keys())
        .filter((place) => bits[place]! > 0 && bits[place]! <= INFINITY_BITS)
        .sort((a, b) => own[a]! - own[b]!)
      return { latents: order.map((place) => own[place]!), bits: order.map((place) => bits[place]!) }
    },
  }

  function addToken(kind: number, picture: number, token: number, row: number): void {
    for (let place = row * k; place < (row + 1) * k; place++) {
      const code = activations[place]!
      if (code === 0) continue
      const latent = latents[place]!
      const at = pieceOf(latent)
      const { max, whereMax, count, sum, squares } = all[at]![kind]!
      const own = latent - cut[at]!.from
      const ofPicture = picture * count.length + own
      if (code > max[ofPicture]!) {
        max[ofPicture] = code
        if (whereMax) whereMax[ofPicture] = token
      }
      if (code > 0) count[own]!++
      sum[own]! += code
      squares[own]! += Math.fround(code * code)
    }
  }
}

/** Of a piece in which nothing is active yet. @param rows  the lowest pre-activations, and their tokens */
function withoutActive(rows: Float32Array, { batch, piece, range }: { batch: number; piece: Piece; range: TokenRange }): PieceCodes {
  const width = widthOf(piece)
  const next = reader(rows, width)
  const none = (n: number) => new Float32Array(n * width)
  const extremes =
    nTokens(range) === 1
      ? { max: none(batch), min: next(batch) }
      : { max: none(batch), whereMax: none(batch), min: next(batch), whereMin: next(batch) }
  return { ...extremes, count: none(1), sum: none(1), squares: none(1) }
}
