/** Directions of the space that a model answers in, as directions of its residual stream (decoder-graphs.ts says how). */

import { answerWidth, streamDirectionsGraph } from '../../saes/decoder-graphs.js'
import type { Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'

export interface StreamDirectionsInput {
  /** `[n, dEmbed]`. */
  readonly embeddings: Tensor<'float32'>
}

/** `[n, dModel]`. */
export const streamDirections: Analysis<StreamDirectionsInput, Tensor<'float32'>> = {
  cost: ({ embeddings }) => ({ rows: 0, bytes: 16 * embeddings.data.length }),

  async run({ model, ready }, { embeddings }) {
    const projection = { config: model.config, hasGain: model.weights.names.has('ln_final.w') }
    const program = await ready(`streamDirections ${answerWidth(model.config)} ${projection.hasGain}`, () =>
      streamDirectionsGraph(projection),
    )
    const values = await program.run({ embeddings })
    return Object.values(values)[0]!
  },
}
