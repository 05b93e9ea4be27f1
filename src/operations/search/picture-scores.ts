/**
 * How near the pictures of features are to a text: by the mean embeddings that their index kept, and where it kept none, by embedding the top
 * pictures now. The two are cosines of different means, so each score says of which it is.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ModelRecord } from '../../catalog/catalog.js'
import type { FeatureSetRecord, FeatureSummary } from '../../catalog/feature-sets.js'
import type { Call, Context } from '../operation.js'
import type { PicturesFrom } from '../schemas/search.js'
import type { Embeddings } from './picture-embeddings.js'
import { type TopPictures, topPicturesOf } from './top-pictures.js'

/** Features that are scored in one step. */
const FEATURES_PER_STEP = 2048

export interface PictureScore {
  /** Null of a feature that has no pictures. */
  readonly pictures: number | null
  readonly picturesFrom: PicturesFrom | null
}

interface Asked {
  readonly model: ModelRecord
  /** A unit vector. */
  readonly text: Float32Array
}

/** Of all features of a set, in order of index; NaN of one that has no pictures. @throws LIMIT_EXCEEDED, and what a run throws */
export async function pictureScores(context: Context, set: FeatureSetRecord, { model, text }: Asked, call: Call): Promise<Float32Array> {
  const { featureEmbeddings, topPictures } = context.pictureEmbeddings
  const scores = new Float32Array(set.width).fill(Number.NaN)
  const kept = await featureEmbeddings.of(context, { set, dEmbed: text.length })
  if (kept) {
    for (let index = 0; index < set.width; index++) {
      scores[index] = rowCosine(kept, { index, text })
      if ((index + 1) % FEATURES_PER_STEP === 0) await nextTurn()
    }
    return scores
  }
  const pictures = await topPictures.of(context, set)
  const embeddings = await embedded(context, { model, pictures }, call)
  let nScored = 0
  for (const [index, images] of pictures) {
    scores[index] = meanCosine(images, { embeddings, text })
    if (++nScored % FEATURES_PER_STEP === 0) await nextTurn()
  }
  return scores
}

interface Some extends Asked {
  readonly features: readonly FeatureSummary[]
}

/** Of some features of a set, by index. */
export async function pictureScoresOf(
  context: Context,
  set: FeatureSetRecord,
  { model, text, features }: Some,
  call: Call,
): Promise<ReadonlyMap<number, PictureScore>> {
  const kept = await context.pictureEmbeddings.featureEmbeddings.of(context, { set, dEmbed: text.length })
  if (kept) return new Map(features.map(({ index }) => [index, scoreOf(rowCosine(kept, { index, text }), 'index')]))
  const pictures = await topPicturesOf(context, set, features)
  const embeddings = await embedded(context, { model, pictures }, call)
  return new Map([...pictures].map(([index, images]) => [index, scoreOf(meanCosine(images, { embeddings, text }), 'top-pictures')]))
}

const scoreOf = (cosine: number, from: PicturesFrom): PictureScore =>
  Number.isNaN(cosine) ? noPictureScore : { pictures: cosine, picturesFrom: from }

export const noPictureScore: PictureScore = { pictures: null, picturesFrom: null }

const embedded = (context: Context, { model, pictures }: { readonly model: ModelRecord; readonly pictures: TopPictures }, call: Call) =>
  context.pictureEmbeddings.of(context, { model, images: [...pictures.values()].flat() }, call)

/** Of a text with a row of unit length; NaN where the row is zero. */
function rowCosine(rows: Float32Array, { index, text }: { readonly index: number; readonly text: Float32Array }): number {
  const row = rows.subarray(index * text.length, (index + 1) * text.length)
  let product = 0
  for (let d = 0; d < text.length; d++) product += row[d]! * text[d]!
  // looked at only where it can be: a row of numbers may be orthogonal to the text
  return product === 0 && row.every((value) => value === 0) ? Number.NaN : product
}

interface Compared {
  readonly embeddings: Embeddings
  readonly text: Float32Array
}

/** Of a text with the mean of the pictures' embeddings; NaN where there is no picture. */
function meanCosine(images: readonly string[], { embeddings, text }: Compared): number {
  const rows = images.map((image) => embeddings.get(image)!)
  let product = 0
  let square = 0
  for (let d = 0; d < text.length; d++) {
    let sum = 0
    for (const row of rows) sum += row[d]!
    product += sum * text[d]!
    square += sum * sum
  }
  return square > 0 ? product / Math.sqrt(square) : Number.NaN
}
