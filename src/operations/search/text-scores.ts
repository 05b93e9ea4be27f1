/**
 * Where a text is among a model's pictures, through its own text tower, and how near to it features are by what their decoder rows say.
 */

import { type ModelRecord, modelSource } from '../../catalog/catalog.js'
import { saeSource } from '../../catalog/sae-source.js'
import { EngineError } from '../../engine/errors.js'
import type { VisionConfig } from '../../engine/models/model.js'
import { reachesAnswer } from '../../engine/saes/decoder-graphs.js'
import type { Tensor } from '../../engine/tensor.js'
import { embedLabels } from '../classify.js'
import type { Call, Context } from '../operation.js'
import type { SearchedSae } from './searched-saes.js'

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
