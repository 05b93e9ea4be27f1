/** From the numbers of each token to sums over a batch, of all tokens and of each kind apart, in float64. */

import type { Tensor } from '../tensor.js'
import type { Clusters, Sums } from './evaluation-shard.js'
import { tokenKinds } from './feature-record.js'
import { channelNumbers, kindMean, latentNumbers, tokenNumbers } from './measure-graph.js'
import { nTokens, type StudiedTokens } from './studied-sae.js'

type Measured = Readonly<Record<string, Tensor>>

const numbers = (measured: Measured, name: string) => measured[name]!.data as Float32Array

/** As torch.nn.functional.cosine_similarity. */
const COSINE_FLOOR = 1e-8

/**
 * Sums over tokens, `<name>` over all and `<kind>.<name>` over those of a kind; `prismaEv` and `prismaCosine` are means of the batch, and
 * `batches` counts it.
 */
export function reconstructionSums(measured: Measured, tokens: StudiedTokens): Sums {
  const [error, square, predicted, dot, distance, l0] = (['error', 'square', 'predictedSquare', 'dot', 'distance', 'l0'] as const).map(
    (name) => numbers(measured, tokenNumbers[name]),
  ) as [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array, Float32Array]
  const perPicture = nTokens(tokens)
  const kindOf = Array.from({ length: perPicture }, (_, token) => tokens.kinds.find(({ from, to }) => token >= from && token < to)!.kind)
  const sums: Record<string, number> = {}
  const add = (name: string, value: number) => {
    sums[name] = (sums[name] ?? 0) + value
  }
  let explained = 0
  for (let row = 0; row < error.length; row++) {
    const cosine = cosineOf(dot[row]!, square[row]!, predicted[row]!)
    const kind = kindOf[row % perPicture]!
    for (const prefix of ['', `${kind}.`]) {
      add(`${prefix}tokens`, 1)
      add(`${prefix}error`, error[row]!)
      add(`${prefix}cosine`, cosine)
      add(`${prefix}l0`, l0[row]!)
    }
    add('square', square[row]!)
    add('predictedSquare', predicted[row]!)
    add('dot', dot[row]!)
    // A token that is zero has no ratio.
    add('normRatio', square[row] === 0 ? 0 : Math.sqrt(predicted[row]! / square[row]!))
    add('normRatioTokens', square[row] === 0 ? 0 : 1)
    explained += 1 - error[row]! / distance[row]!
  }
  let imageL0 = 0
  for (const active of numbers(measured, latentNumbers.imageL0)) imageL0 += active
  const width = measured[channelNumbers.dot]!.data.length
  return { ...sums, imageL0, channels: width, prismaEv: explained / error.length, prismaCosine: channelCosine(measured), batches: 1 }
}

/** The zero vector points where another one does, and nowhere else. */
function cosineOf(dot: number, square: number, predicted: number): number {
  if (square === 0 || predicted === 0) return square === predicted ? 1 : 0
  return dot / Math.sqrt(square * predicted)
}

/** The mean over channels of the cosine along the tokens of the batch. */
function channelCosine(measured: Measured): number {
  const [square, predicted, dot] = [channelNumbers.square, channelNumbers.predictedSquare, channelNumbers.dot].map((name) =>
    numbers(measured, name),
  )
  let sum = 0
  for (let d = 0; d < dot!.length; d++)
    sum += dot![d]! / (Math.max(Math.sqrt(square![d]!), COSINE_FLOOR) * Math.max(Math.sqrt(predicted![d]!), COSINE_FLOOR))
  return sum / dot!.length
}

export function clustersOf(measured: Measured, tokens: StudiedTokens): Clusters {
  const distances = numbers(measured, tokenNumbers.kindDistance)
  const perPicture = nTokens(tokens)
  const nImages = distances.length / perPicture
  return Object.fromEntries(
    tokenKinds.flatMap((kind) => {
      const range = tokens.kinds.find((each) => each.kind === kind)
      if (!range) return []
      let scatter = 0
      for (let image = 0; image < nImages; image++) {
        for (let token = range.from; token < range.to; token++) scatter += distances[image * perPicture + token]!
      }
      return [[kind, { n: nImages * nTokens(range), mean: Float32Array.from(numbers(measured, kindMean(kind))), scatter }]]
    }),
  )
}
