/**
 * What is measured of an SAE on a batch, as a graph: numbers of each token and of each channel, not the codes. Sums over tokens are taken
 * afterwards, in float64.
 *
 * Inputs `x`, the value of the hook point that is read, and of a transcoder `target`, of the one it predicts. Parameters: the SAE's.
 */

import { GraphBuilder } from '../graph/builder.js'
import { above, literal, meanOver, multiply, square, subtract, sumOver, wholes } from '../graph/expressions.js'
import type { Graph } from '../graph/graph.js'
import { decode, encode } from '../saes/encode-decode.js'
import type { SaeConfig } from '../saes/sae.js'
import type { TokenKind } from './feature-record.js'
import { nTokens, putVectors, type StudiedTokens, sliceOf, takeVectors } from './studied-sae.js'

/** Numbers of each token, `[batch * token]`, the tokens of a picture together. */
export const tokenNumbers = {
  /** |x - x^|^2 */
  error: 'token.error',
  /** |x|^2, |x^|^2, <x, x^> */
  square: 'token.square',
  predictedSquare: 'token.predictedSquare',
  dot: 'token.dot',
  /** |x - m|^2, m the mean of the batch's tokens. */
  distance: 'token.distance',
  /** |x - m|^2, m the mean of the batch's tokens of the same kind. */
  kindDistance: 'token.kindDistance',
  l0: 'token.l0',
} as const

/** Sums over tokens of each channel, `[dOut]`. */
export const channelNumbers = { square: 'channel.square', predictedSquare: 'channel.predictedSquare', dot: 'channel.dot' } as const

/** Latents active anywhere in each picture `[batch]`; the largest activation of each latent `[dSae]`. */
export const latentNumbers = { imageL0: 'image.l0', max: 'latent.max' } as const

/** Mean of the tokens of a kind, `[dOut]`. */
export const kindMean = (kind: TokenKind) => `mean.${kind}`

/** The value of the hook point that is predicted, with the prediction in its place. */
export const replacedOutput = 'replaced'

export interface MeasuredTokens {
  readonly read: StudiedTokens
  /** Of a transcoder those of another hook point. */
  readonly predicted: StudiedTokens
}

/** @param isSpliced  whether the value with the prediction in its place is an output */
export function measureGraph(config: SaeConfig, { read, predicted }: MeasuredTokens, { isSpliced }: { isSpliced: boolean }): Graph {
  const b = new GraphBuilder('sae evaluation')
  const { dIn, dOut, dSae } = config
  const value = b.input('x', 'float32', read.hookPoint.shape)
  const x = b.op('Reshape', [takeVectors(b, value, { tokens: read, place: config, width: dIn }), wholes(b, [-1, dIn])])
  const site = { prefix: '', axes: ['batch', 'dModel'] } as const
  const encoded = encode(b, x, config, site)
  const prediction = decode(b, encoded.latentActs, encoded, config, site)
  const predictedValue = config.transcoder ? b.input('target', 'float32', predicted.hookPoint.shape) : value
  const predictedPlace = config.transcoder ? {} : config
  const vectors = config.transcoder ? takeVectors(b, predictedValue, { tokens: predicted, place: {}, width: dOut }) : undefined
  const target = vectors ? b.op('Reshape', [vectors, wholes(b, [-1, dOut])]) : x
  const perPicture = (rows: string, width: number) => b.op('Reshape', [rows, wholes(b, [-1, nTokens(read), width])])

  const name = (as: string, made: string) => b.named(as, made)
  const perToken = (as: string, made: string) => name(as, sumOver(b, made, -1, 0))
  const perChannel = (as: string, made: string) => name(as, sumOver(b, made, 0, 0))
  const [squares, predictedSquares, dots] = [square(b, target), square(b, prediction), multiply(b, target, prediction)]
  const byKind = kindMeans(b, perPicture(target, dOut), predicted)
  const latents = perPicture(encoded.latentActs, dSae)
  const imageMax = b.op('ReduceMax', [latents, wholes(b, [1])], { keepdims: 0 })
  return b.build([
    perToken(tokenNumbers.error, square(b, subtract(b, target, prediction))),
    perToken(tokenNumbers.square, squares),
    perToken(tokenNumbers.predictedSquare, predictedSquares),
    perToken(tokenNumbers.dot, dots),
    perToken(tokenNumbers.distance, square(b, subtract(b, target, meanOver(b, target, 0)))),
    name(tokenNumbers.kindDistance, b.op('Reshape', [byKind.distances, wholes(b, [-1])])),
    perToken(tokenNumbers.l0, above(b, encoded.latentActs, literal(b, 0))),
    perChannel(channelNumbers.square, squares),
    perChannel(channelNumbers.predictedSquare, predictedSquares),
    perChannel(channelNumbers.dot, dots),
    name(latentNumbers.imageL0, sumOver(b, above(b, imageMax, literal(b, 0)), -1, 0)),
    name(latentNumbers.max, b.op('ReduceMax', [imageMax, wholes(b, [0])], { keepdims: 0 })),
    ...byKind.means,
    ...(isSpliced
      ? [name(replacedOutput, putVectors(b, predictedValue, perPicture(prediction, dOut), { tokens: predicted, place: predictedPlace }))]
      : []),
  ])
}

/** @param x  `[batch, token, dOut]` */
function kindMeans(b: GraphBuilder, x: string, tokens: StudiedTokens): { readonly distances: string; readonly means: readonly string[] } {
  const n = nTokens(tokens)
  const parts = tokens.kinds.map((range) => {
    const ofKind = sliceOf(b, x, 1, range, n)
    const mean = b.op('ReduceMean', [ofKind, wholes(b, [0, 1])])
    return {
      distance: sumOver(b, square(b, subtract(b, ofKind, mean)), -1, 0), // [batch, token]
      mean: b.named(kindMean(range.kind), b.op('Reshape', [mean, wholes(b, [-1])])),
    }
  })
  const distances = parts.map(({ distance }) => distance)
  return {
    distances: distances.length === 1 ? distances[0]! : b.op('Concat', distances, { axis: 1 }),
    means: parts.map(({ mean }) => mean),
  }
}
