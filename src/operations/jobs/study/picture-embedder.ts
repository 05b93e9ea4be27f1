/** Embeds the pictures of a study by another model than the one that is studied. */

import { modelSource } from '../../../catalog/catalog.js'
import { loadModel } from '../../../engine/models/load.js'
import type { Tensor } from '../../../engine/tensor.js'
import type { JobContext } from '../job-kind.js'
import type { OpenStudy } from './open-study.js'

export interface PictureEmbedder {
  /** The model's answers to the pictures of a batch, `[batch, dEmbed]`. */
  at(batch: number): Promise<Tensor<'float32'>>
}

/** Undefined where the model that is studied embeds them itself. Kept for the shards that follow. */
export async function pictureEmbedder(study: OpenStudy, context: JobContext): Promise<PictureEmbedder | undefined> {
  const { model, imageEncoder } = study.subjects
  return imageEncoder.id === model.id ? undefined : context.keep('image-encoder', () => open(study, context))
}

async function open({ backend, subjects, batchesFor }: OpenStudy, { progress, signal }: JobContext): Promise<PictureEmbedder> {
  const { folder, processing } = modelSource(subjects.imageEncoder)
  progress(0, `loading ${subjects.imageEncoder.id}`)
  const { towers, description } = await loadModel(folder, { processing: [...processing], signal })
  const graph = towers.vision.buildGraph(new Set())
  const [output] = graph.outputs as [string]
  const program = await backend.compile(graph, { workspace: 'kept' })
  const weights = await backend.upload(towers.vision.weights)
  const batches = batchesFor(description.preprocessing)
  return {
    at: async (batch) => {
      const { pixels } = await batches.at(batch)
      const made = await program.run({ inputs: { pixels }, weights, fetch: [output] })
      return made[output] as Tensor<'float32'>
    },
  }
}
