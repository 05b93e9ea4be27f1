/**
 * How near features are to a text, through the model's own text tower: by what their decoder rows say, and by the pictures they are most active in.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { type ModelRecord, modelSource } from '../../catalog/catalog.js'
import { saeSource } from '../../catalog/sae-source.js'
import { EngineError } from '../../engine/errors.js'
import type { VisionConfig } from '../../engine/models/model.js'
import { reachesAnswer } from '../../engine/saes/decoder-graphs.js'
import type { Tensor } from '../../engine/tensor.js'
import { embedLabels } from '../classify.js'
import type { Call, Context } from '../operation.js'
import type { Embeddings } from './picture-embeddings.js'
import type { SearchedSae } from './searched-saes.js'
import type { TopPictures } from './top-pictures.js'

/** Features that are scored in one step. */
const FEATURES_PER_STEP = 2048

/** A unit vector, `[1, dEmbed]`. @throws INPUT_INVALID for a model without a text tower, TEXT_INVALID */
export async function embedText(context: Context, { model, text }: { model: ModelRecord; text: string }, call: Call) {
  if (!model.description.text || model.description.vision.output.axes.length !== 2) {
    const problem = `needs a model whose text tower says where texts are among pictures, and ${model.id} has none`
    throw new EngineError('INPUT_INVALID', { path: 'text', problem })
  }
  return embedLabels(context, { model, labels: [text], templates: ['{}'] }, call)
}

interface Asked {
  readonly model: ModelRecord
  readonly embedding: Tensor<'float32'>
}

/** Cosine by feature; undefined where the decoder's rows do not reach the embedding. */
export async function decoderScores({ host }: Context, { model, embedding }: Asked, { sae }: SearchedSae, call: Call) {
  if (!reachesAnswer(sae.download.description.config, model.description.vision.config as VisionConfig)) return undefined
  const cosines = await host.decoderCosines({ model: modelSource(model), sae: saeSource(sae), embeddings: embedding }, call.signal)
  return cosines.data
}

/** Cosine of the text with the mean embedding of each feature's pictures, by feature; NaN of one that has none. */
export async function pictureScores(
  width: number,
  { pictures, embeddings, text }: Compared & { readonly pictures: TopPictures },
): Promise<Float32Array> {
  const scores = new Float32Array(width).fill(Number.NaN)
  let nScored = 0
  for (const [index, images] of pictures) {
    scores[index] = meanCosine(images, { embeddings, text })
    if (++nScored % FEATURES_PER_STEP === 0) await nextTurn()
  }
  return scores
}

interface Compared {
  readonly embeddings: Embeddings
  /** A unit vector. */
  readonly text: Float32Array
}

/** Of the text with the mean of the pictures' embeddings; NaN where there is no picture. */
export function meanCosine(images: readonly string[], { embeddings, text }: Compared): number {
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
